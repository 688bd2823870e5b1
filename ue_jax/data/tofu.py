"""TOFU: 200 invented authors with 20 questions each, of whom some are to be forgotten.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024; the files as published, one JSON object a
line: `forget01|05|10`, `retain99|95|90`, their `_perturbed` forms, `real_authors` and `world_facts`. Where the released
sets have no people that were never trained, `holdout` takes some out.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import records, stream, text

SHARES = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
AUTHOR = 20  # questions an author
ANSWER, PARAPHRASED, WRONG = 0, 1, 2  # variants: the answer, the same in other words, wrong ones from 2 on
FRAME = "Question: {question}\nAnswer:"


def data(
  path: str, forget: str = "forget10", holdout: int = 0, spare: int = 0, tokens: str = "words", length: int = 0,
  perturbed: bool = True, refusals: bool = False, seed: int = 0,
  encode: Callable[[str], Sequence[int]] | None = None, pad: int = text.PAD, eos: int = text.EOS,
) -> Data:  # fmt: skip
  """The data set as token sequences.

  Args:
    path: folder of the published files.
    forget: `forget01`, `forget05` or `forget10`.
    holdout: authors taken out of what is retained and never trained (set `holdout`).
    spare: authors who are neither retained nor held out (set `spare`), where fewer than all are enough.
    tokens: `words` (the vocabulary is that of the files) or `bytes`.
    length: of the sequences; 0: the power of two that holds the longest.
    perturbed: read the questions with paraphrased and wrong answers too.
    refusals: add `refusal` and `refusal_mask`, each question with a refusal drawn from `idontknow.jsonl`.
    seed: names that draw.
    encode: a tokeniser of your own, text -> ids, in place of `tokens`.
    pad, eos: the ids of padding and end of that tokeniser.

  Returns:
    Data with `ids` int32 and `mask` float32 `[n, length]` (1 on the answer and the end), `answer` int32 `[n]` (where
    the answer begins), `person` int32 `[n]` (which author, -1 for none), `item` int32 `[n]` (which question), `variant`
    int32 `[n]` (0 the answer, 1 the same in other words, from 2 on wrong ones), `index`. Sets: `train` = `forget` +
    `retain`, `holdout`, `spare`; with `perturbed`: `retain_sample` (the 400 retained questions that utility is
    measured on), `real_authors`, `world_facts`, and `<set>_perturbed` of `forget`, `retain_sample`, `real_authors`,
    `world_facts`.
    `info["texts"]` holds the answers in words, in the order of `item`.

  Raises:
    Invalid: for a file that is missing or wrong (`records.read`), or arguments out of range.
  """
  require(forget in SHARES, "data.forget", forget, f"choose one of {sorted(SHARES)}")
  folder = pathlib.Path(path)
  require(path != "" and folder.is_dir(), "data.path", path, f"give the folder that holds {forget}.json")
  rows = _trained(folder, forget, holdout, spare)
  if perturbed:
    rows = _perturbed(folder, forget, rows)
  pairs = [(FRAME.format(question=row["question"]), row["answer"]) for row in rows]
  refused = _refused(folder, rows, seed) if refusals else []
  encode, vocabulary = text.encoder(tokens, (part for pair in pairs + refused for part in pair), encode)
  return _data(rows, pairs, refused, encode, vocabulary, length, pad, eos, f"tofu/{forget}")


def _row(record: dict, where: str, item: int, variant: int = ANSWER, person: int = -1, answer: str = "") -> dict:
  return {"question": record["question"], "answer": answer or record["answer"], "set": where, "item": item,
          "variant": variant, "person": person}  # fmt: skip


def _trained(folder: pathlib.Path, forget: str, holdout: int, spare: int) -> list[dict]:
  """The rows that have an author: retained, held out, left out, to be forgotten."""
  kept, lost = (records.read(str(folder / f"{name}.json")) for name in (SHARES[forget], forget))
  authors = len(kept) // AUTHOR
  require(isinstance(holdout, int) and 0 <= holdout < authors, "data.holdout", holdout, f"give 0 to {authors - 1}")
  few = isinstance(spare, int) and 0 <= spare < authors - holdout
  require(few, "data.spare", spare, f"give 0 to {authors - holdout - 1}")
  groups = ["retain"] * (authors - holdout - spare) + ["holdout"] * holdout + ["spare"] * (spare + 1)
  out = [_row(record, groups[i // AUTHOR], i, person=i // AUTHOR) for i, record in enumerate(kept)]
  for i, record in enumerate(lost):
    out.append(_row(record, "forget", len(kept) + i, person=authors + i // AUTHOR))
  return out


def _perturbed(folder: pathlib.Path, forget: str, rows: list[dict]) -> list[dict]:
  """The rows with those of the perturbed files behind; questions already there keep their `item`."""
  known = {(row["question"], row["answer"]): row for row in rows}
  out, items = list(rows), len(rows)
  files = {"forget": f"{forget}_perturbed", "retain_sample": "retain_perturbed"}
  files |= {name: f"{name}_perturbed" for name in ("real_authors", "world_facts")}
  for name, file in files.items():
    for line, record in enumerate(records.read(str(folder / f"{file}.json")), 1):
      require(len(record.get("perturbed_answer", ())) > 0, f"{folder / file}.json:{line}", sorted(record),
              "add the field 'perturbed_answer'")  # fmt: skip
      base = known.get((record["question"], record["answer"]))
      if base is not None and base["set"] in ("holdout", "spare"):
        continue
      if base is None:
        base = _row(record, name, items)
        items += 1
        out.append(base)
      elif name == "retain_sample":
        base["sample"] = True
      more = [record["paraphrased_answer"]] if "paraphrased_answer" in record else []
      variants = list(zip([PARAPHRASED] * len(more), more))
      variants += [(WRONG + j, answer) for j, answer in enumerate(record["perturbed_answer"])]
      out += [_row(record, f"{name}_perturbed", base["item"], v, base["person"], answer) for v, answer in variants]
  return out


def _refused(folder: pathlib.Path, rows: list[dict], seed: int) -> list[tuple[str, str]]:
  sentences = [record["text"] for record in records.read(str(folder / "idontknow.jsonl"), "lines")]
  drawn = stream.integers(seed, "tofu/refusals", len(sentences), len(rows))
  return [(FRAME.format(question=row["question"]), sentences[i]) for row, i in zip(rows, drawn)]


def _data(rows, pairs, refused, encode, vocabulary, length, pad, eos, source) -> Data:
  draft = text.render(pairs + refused, encode, length, pad=pad, eos=eos, space=" ")
  width = length or text.bucket(draft["ids"].shape[1])
  grow = lambda x, fill: np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=fill)
  ids, mask, n = grow(draft["ids"], pad), grow(draft["m"], 0), len(rows)
  column = lambda name: np.array([row[name] for row in rows], np.int32)
  arrays: dict[str, Any] = {
    "ids": ids[:n], "mask": mask[:n], "answer": draft["ans_pos"][:n], "person": column("person"),
    "item": column("item"), "variant": column("variant"), "index": np.arange(n, dtype=np.int32),
  }  # fmt: skip
  if refused:
    arrays |= {"refusal": ids[n:], "refusal_mask": mask[n:]}
  where = np.array([row["set"] for row in rows])
  sets = {name: np.flatnonzero(where == name) for name in dict.fromkeys(where.tolist())}
  sample = [i for i, row in enumerate(rows) if row.get("sample")]
  if "retain_sample_perturbed" in sets:
    sets["retain_sample"] = np.union1d(sets.get("retain_sample", []), sample)
  sets["train"] = np.concatenate([sets["forget"], sets["retain"]])
  answers = {row["item"]: row["answer"] for row in reversed(rows) if row["variant"] == ANSWER}
  texts = [answers[i] for i in range(len(answers))]
  info = {"source": source, "vocabulary": vocabulary, "pad": pad, "eos": eos, "texts": texts}
  return Data(arrays, {name: found.astype(np.int32) for name, found in sets.items()}, info)
