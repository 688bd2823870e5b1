"""Files of questions, answers and texts, as the public benchmarks publish them; whatever is wrong is said in one line.

A file holds one JSON object a line, or one JSON list of them. Lines end with a line feed, maybe after a carriage
return; other separators (U+2028, U+0085, a form feed) are characters of a text. Forms (fields beside these are kept as
they are):

| form | fields | published by |
| --- | --- | --- |
| `qa` | `question`, `answer`; maybe `paraphrased_answer`, `paraphrased_question`, `perturbed_answer`s | TOFU, MUSE |
| `choice` | `question`, `choices` (list), `answer` (position in it) | WMDP, MMLU |
| `query` | `query`, `answer` | RWKU |
| `continuation` | `prompt`, `gt` | MUSE (verbatim memorisation) |
| `passage` | `text`; or bare strings | MUSE and WMDP corpora |
| `lines` | one text a line, no JSON | TOFU's refusals |
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from ue_jax.core.errors import Invalid, require

FORMS = {
  "qa": ("question", "answer"), "choice": ("question", "choices", "answer"), "query": ("query", "answer"),
  "continuation": ("prompt", "gt"), "passage": ("text",), "lines": (),
}  # fmt: skip
LISTS = ("choices", "perturbed_answer")
OPTIONAL = ("paraphrased_answer", "paraphrased_question", "perturbed_answer")


def read(path: str, form: str = "qa") -> list[dict[str, Any]]:
  """The records of a file, checked.

  Args:
    path: of the file.
    form: a key of `FORMS`. Records of `query` get `question` too, those of `continuation` `question` and `answer`,
      those of `lines` have `text`.

  Raises:
    Invalid: naming file and line, for a file that is missing, empty, not UTF-8 or not JSON, and for a record without a
      field, with an empty text, or with a field of another type.
  """
  require(form in FORMS, "data.form", form, f"choose one of {sorted(FORMS)}")
  text = _text(path)
  if form == "lines":
    found = [(i + 1, {"text": line.strip()}) for i, line in enumerate(text.split("\n")) if line.strip()]
  else:
    found = _objects(path, text)
  require(len(found) > 0, path, "no record", "give a file with at least one")
  return [_checked(f"{path}:{line}", record, form) for line, record in found]


def _text(path: str) -> str:
  file = pathlib.Path(path)
  require(file.is_file(), "data.path", str(path), f"there is no file {file.name}: give the path of one that exists")
  try:
    return file.read_bytes().decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise Invalid(str(path), f"byte {error.start} is no UTF-8", "save the file as UTF-8") from None


def _objects(path: str, text: str) -> list[tuple[int, Any]]:
  """(line, value) of every object; of a list, its position counts as the line."""
  if text.lstrip().startswith("["):
    try:
      whole = json.loads(text)
    except json.JSONDecodeError as error:
      raise Invalid(f"{path}:{error.lineno}", error.msg, "repair the JSON") from None
    return list(enumerate(whole, 1))
  out = []
  for number, line in enumerate(text.split("\n"), 1):
    if line.strip():
      try:
        out.append((number, json.loads(line)))
      except json.JSONDecodeError as error:
        raise Invalid(f"{path}:{number}", line.strip(), f"repair the JSON of this line: {error.msg}") from None
  return out


def _checked(where: str, record: Any, form: str) -> dict[str, Any]:
  if form == "passage" and isinstance(record, str):
    record = {"text": record}
  require(isinstance(record, dict), where, record, f"give an object with the fields {list(FORMS[form])}")
  for name in FORMS[form]:
    require(name in record, where, sorted(record), f"add the field '{name}'")
  for name in {*FORMS[form], *(set(OPTIONAL) & set(record))}:
    _check_field(where, name, record, form)
  if form in ("query", "continuation"):
    question, answer = FORMS[form]
    return {**record, "question": record[question], "answer": record[answer]}
  if isinstance(record.get("perturbed_answer"), str):
    record = {**record, "perturbed_answer": [record["perturbed_answer"]]}
  return record


def _check_field(where: str, name: str, record: dict[str, Any], form: str) -> None:
  value = record[name]
  if form == "choice" and name == "answer":
    count = len(record["choices"]) if isinstance(record["choices"], list) else 0
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count
    require(right, f"{where} {name}", value, f"give the position of the right choice, 0 to {count - 1}")
    return
  many = value if name in LISTS and isinstance(value, list) else [value]
  require(len(many) > (name == "choices"), f"{where} {name}", value, "give at least one text (of choices two)")
  for one in many:
    require(isinstance(one, str), f"{where} {name}", one, "give a text")
    require(one.strip() != "", f"{where} {name}", one, "give a text that is not empty")
