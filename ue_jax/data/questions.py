"""Your own files of questions, multiple choice, passages to continue, or plain text, to be forgotten and to be kept.

The forms are those of `records`: TOFU and MUSE questions, WMDP and MMLU choices, RWKU queries, MUSE passages, corpora.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import records, text

LETTERS = "ABCDEFGHIJ"


def data(
  forget: str = "", retain: str = "", holdout: str = "", form: str = "qa", tokens: str = "words", length: int = 0,
  encode: Callable[[str], Sequence[int]] | None = None, pad: int = text.PAD, eos: int = text.EOS,
) -> Data:  # fmt: skip
  """Files as token sequences.

  Args:
    forget, retain: paths of what is to be forgotten and what is to be kept.
    holdout: path of the same sort of texts that is never trained, for membership inference; empty: none.
    form: a key of `records.FORMS` other than `lines`.
    tokens: `words` (the vocabulary is that of the files) or `bytes`.
    length: of the sequences; 0: the power of two that holds the longest. Plain text is cut into pieces of it (2048 is
      usual; 0: 128).
    encode: a tokeniser of your own, text -> ids, in place of `tokens`.
    pad, eos: the ids of padding and end of that tokeniser.

  Returns:
    Data with `ids` int32 and `mask` float32 `[n, length]`: the targets are the answer and the end, the continuation,
    the right letter, or of plain text every token but the first of a piece. `item` int32 `[n]` (which record of its
    file), `index`. Sets: `train` = `forget` + `retain`, and `holdout`.

  Raises:
    Invalid: for a file that is missing or wrong (`records.read`), or an unknown form or tokeniser.
  """
  require(form in records.FORMS and form != "lines", "data.form", form, f"choose one of {sorted(records.FORMS)[:-1]}")
  paths = {"forget": forget, "retain": retain, **({"holdout": holdout} if holdout else {})}
  for name, path in paths.items():
    require(path != "", f"data.{name}", path, "give the path of a file")
  found = {name: records.read(path, form) for name, path in paths.items()}
  made = _passages if form == "passage" else _pairs
  arrays, where, vocabulary = made(found, form, tokens, length, encode, pad, eos)
  sets = {name: np.flatnonzero(where == name).astype(np.int32) for name in found}
  for name, rows in sets.items():
    require(len(rows) > 0, f"data.{name}", paths[name], "give a file with texts of at least two tokens")
  sets["train"] = np.concatenate([sets["forget"], sets["retain"]])
  arrays["index"] = np.arange(len(where), dtype=np.int32)
  return Data(arrays, sets, {"source": f"questions/{form}", "vocabulary": vocabulary, "pad": pad, "eos": eos})


def ask(record: dict, form: str) -> tuple[str, str]:
  """(prompt, answer) of a record."""
  if form == "continuation":
    return record["question"], record["answer"]
  if form == "choice":
    require(len(record["choices"]) <= len(LETTERS), "choices", len(record["choices"]), f"give up to {len(LETTERS)}")
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, record["choices"]))
    return f"{record['question']}\n{options}\nAnswer:", LETTERS[record["answer"]]
  return f"Question: {record['question']}\nAnswer:", record["answer"]


def _pairs(found, form, tokens, length, encode, pad, eos):
  pairs = [ask(record, form) for part in found.values() for record in part]
  encode, vocabulary = text.encoder(tokens, (part for pair in pairs for part in pair), encode)
  out = text.render(pairs, encode, length, pad=pad, eos=eos, space=" ")
  width = length or text.bucket(out["ids"].shape[1])
  grow = lambda x, fill: np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=fill)
  item = np.concatenate([np.arange(len(part)) for part in found.values()]).astype(np.int32)
  where = np.repeat(list(found), [len(part) for part in found.values()])
  arrays = {"ids": grow(out["ids"], pad), "mask": grow(out["m"], 0), "answer": out["ans_pos"], "item": item}
  return arrays, where, vocabulary


def _passages(found, form, tokens, length, encode, pad, eos):
  del form, eos
  every = [record["text"] for part in found.values() for record in part]
  encode, vocabulary = text.encoder(tokens, every, encode)
  ids, mask, item, where = [], [], [], []
  for name, part in found.items():
    for number, record in enumerate(part):
      pieces, targets = text.chunks(encode(record["text"]), length or 128)
      ids.append(np.where((targets > 0) | (np.arange(pieces.shape[1]) == 0), pieces, pad))
      mask.append(targets)
      item += [number] * len(pieces)
      where += [name] * len(pieces)
  arrays = {"ids": np.concatenate(ids).astype(np.int32), "mask": np.concatenate(mask)}
  return arrays | {"item": np.array(item, np.int32)}, np.array(where), vocabulary
