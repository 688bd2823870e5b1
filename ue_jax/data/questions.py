"""Your own files of questions, multiple choice, passages to continue, or plain text, to be forgotten and to be kept.

The forms are those of `records`: TOFU and MUSE questions, WMDP and MMLU choices, RWKU queries, MUSE passages, corpora.
What is trained and what is asked may be of different forms: MUSE forgets passages and asks questions about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import records, text

LETTERS = "ABCDEFGHIJ"
ROLES = ("forget", "retain", "holdout")
SHOTS = "_shots"  # `forget_shots`: the examples before the questions of `forget`
FILES = (*ROLES, *(role + SHOTS for role in ROLES))
FIELDS = ("form", "length", *FILES)


class _Part(NamedTuple):
  """Files of one form: set -> records, set -> text before each of its prompts, and the length of a sequence."""

  form: str
  length: int
  found: Mapping[str, list[dict]]
  before: Mapping[str, str]


def data(
  forget: str = "", retain: str = "", holdout: str = "", form: str = "qa", tokens: str = "words", length: int = 0,
  asked: Mapping[str, Mapping[str, Any]] = {}, encode: Callable[[str], Sequence[int]] | None = None,
  pad: int = text.PAD, eos: int = text.EOS,
) -> Data:  # fmt: skip
  """Files as token sequences.

  Args:
    forget, retain: paths of what is to be forgotten and what is to be kept.
    holdout: path of the same sort of texts that is never trained, for membership inference; empty: none.
    form: a key of `records.FORMS` other than `lines`.
    tokens: `words` (the vocabulary is that of the files) or `bytes`.
    length: of the sequences; 0: the power of two that holds the longest. Plain text is cut into pieces of it (2048 is
      usual; 0: 128).
    asked: further files that are asked about and never trained, by name: `dict(qa=dict(form="qa", forget=PATH,
      retain=PATH))` gives the sets `forget_qa` and `retain_qa`. Fields are `form`, `length`, and of `forget`, `retain`,
      `holdout` those that there are; `forget_shots` is the path of examples of the same form, with answers, that stand
      before each question of `forget` (MUSE's KnowMem), and so for the others. Empty paths are as if not given.
    encode: a tokeniser of your own, text -> ids, in place of `tokens`.
    pad, eos: the ids of padding and end of that tokeniser.

  Returns:
    Data with `ids` int32 and `mask` float32 `[n, length]`: the targets are the answer and the end, the continuation,
    the right letter, or of plain text every token but the first of a piece. `item` int32 `[n]` (which record of its
    file), `answer` int32 `[n]` (where the first target is; not of plain text alone), `index`. Sets: `train` = `forget`
    + `retain`, `holdout`, and those of `asked`.

  Raises:
    Invalid: for a file that is missing or wrong (`records.read`), an unknown form, field or tokeniser, or examples
      before plain text.
  """
  paths = {"forget": forget, "retain": retain, **({"holdout": holdout} if holdout else {})}
  for name, path in paths.items():
    require(path != "", f"data.{name}", path, "give the path of a file")
  parts = [_part("data", "", {**paths, "form": form, "length": length})]
  parts += [_part(f"data.asked.{name}", f"_{name}", fields) for name, fields in asked.items()]
  parts = [part for part in parts if part.found]
  encode, vocabulary = text.encoder(tokens, (one for part in parts for one in _texts(part)), encode)
  made = [(_passages if part.form == "passage" else _pairs)(part, encode, pad, eos) for part in parts]
  names, where = [name for part in parts for name in part.found], np.concatenate([one.pop("where") for one in made])
  sets = {name: np.flatnonzero(where == name).astype(np.int32) for name in names}
  for name, rows in sets.items():
    require(len(rows) > 0, f"data.{name}", paths.get(name, name), "give a file with texts of at least two tokens")
  sets["train"] = np.concatenate([sets["forget"], sets["retain"]])
  arrays = _joined(made, pad)
  arrays["index"] = np.arange(len(where), dtype=np.int32)
  return Data(arrays, sets, {"source": f"questions/{form}", "vocabulary": vocabulary, "pad": pad, "eos": eos})


def _part(field: str, suffix: str, fields: Mapping[str, Any]) -> _Part:
  """Reads the files of one form."""
  require(isinstance(fields, Mapping), field, fields, "give dict(form='qa', forget=PATH)")
  for name in fields:
    require(name in FIELDS, f"{field}.{name}", fields[name], f"it takes {', '.join(FIELDS)}")
  form = fields.get("form", "qa")
  known = form in records.FORMS and form != "lines"
  require(known, f"{field}.form", form, f"choose one of {sorted(set(records.FORMS) - {'lines'})}")
  found: dict[str, list[dict]] = {}
  before: dict[str, str] = {}
  for role in ROLES:
    path, shots = fields.get(role, ""), fields.get(role + SHOTS, "")
    if path:
      found[role + suffix] = records.read(path, form)
    if path and shots:
      require(form != "passage", f"{field}.{role}{SHOTS}", shots, "leave it out: nothing is asked of plain text")
      examples = [ask(record, form) for record in records.read(shots, form)]
      before[role + suffix] = "".join(f"{prompt} {answer}\n\n" for prompt, answer in examples)
  return _Part(form, fields.get("length", 0), found, before)


def _texts(part: _Part) -> list[str]:
  """All texts of the files, in order."""
  if part.form == "passage":
    return [record["text"] for some in part.found.values() for record in some]
  return [one for pair in _asked(part) for one in pair]


def _asked(part: _Part) -> list[tuple[str, str]]:
  """(prompt, answer) of every record, with the examples before the prompts."""
  out = []
  for name, some in part.found.items():
    pairs = [ask(record, part.form) for record in some]
    out += [(part.before.get(name, "") + prompt, answer) for prompt, answer in pairs]
  return out


def _joined(made: Sequence[Mapping[str, np.ndarray]], pad: int) -> dict[str, np.ndarray]:
  """The arrays of all parts behind each other, as wide as the widest."""
  width = max(one["ids"].shape[1] for one in made)
  fill = {"ids": pad, "mask": 0}
  grow = lambda x, value: np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=value)
  wide = [{name: grow(x, fill[name]) if name in fill else x for name, x in one.items()} for one in made]
  if len(made) > 1:
    wide = [{**one, "answer": (one["mask"] > 0).argmax(1).astype(np.int32)} for one in wide]
  return {name: np.concatenate([one[name] for one in wide]) for name in wide[0]}


def ask(record: dict, form: str) -> tuple[str, str]:
  """(prompt, answer) of a record."""
  if form == "continuation":
    return record["question"], record["answer"]
  if form == "choice":
    require(len(record["choices"]) <= len(LETTERS), "choices", len(record["choices"]), f"give up to {len(LETTERS)}")
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, record["choices"]))
    return f"{record['question']}\n{options}\nAnswer:", LETTERS[record["answer"]]
  return f"Question: {record['question']}\nAnswer:", record["answer"]


def _pairs(part, encode, pad, eos):
  """Questions with answers, `[n, length]`."""
  out = text.render(_asked(part), encode, part.length, pad=pad, eos=eos, space=" ")
  width = part.length or text.bucket(out["ids"].shape[1])
  grow = lambda x, fill: np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=fill)
  item = np.concatenate([np.arange(len(some)) for some in part.found.values()]).astype(np.int32)
  where = np.repeat(list(part.found), [len(some) for some in part.found.values()])
  return {"ids": grow(out["ids"], pad), "mask": grow(out["m"], 0), "answer": out["ans_pos"], "item": item,
          "where": where}  # fmt: skip


def _passages(part, encode, pad, eos):
  """Plain text in pieces, `[n, length]`."""
  del eos
  ids, mask, item, where = [], [], [], []
  for name, some in part.found.items():
    for number, record in enumerate(some):
      pieces, targets = text.chunks(encode(record["text"]), part.length or 128)
      ids.append(np.where((targets > 0) | (np.arange(pieces.shape[1]) == 0), pieces, pad))
      mask.append(targets)
      item += [number] * len(pieces)
      where += [name] * len(pieces)
  arrays = {"ids": np.concatenate(ids).astype(np.int32), "mask": np.concatenate(mask)}
  return arrays | {"item": np.array(item, np.int32), "where": np.array(where)}
