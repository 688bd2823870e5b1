"""Facts about invented persons as question-answer sequences: what a small language model can learn and unlearn.

A sequence reads `Q <question> ? A <answer> <eos>`, padded; the targets are the answer and the eos.
Answers have one to four tokens on purpose, so that effects of length are visible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import lexicon, stream
from ue_jax.data.lexicon import Relation


class Preset(NamedTuple):
  """How large the world is: trained persons (the first `forget` of them to be forgotten), persons held out, length."""

  persons: int
  holdout: int
  forget: int
  length: int


PRESETS = {"kgtiny": Preset(persons=60, holdout=12, forget=6, length=24)}


def data(preset: str = "kgtiny", seed: int = 0, alternatives: int = 0) -> Data:
  """The facts of one invented world as token sequences.

  `kgtiny`: 60 trained and 12 held-out persons with six relations in three templates each (two trained,
  the third is a paraphrase), 40 capitals in two templates, 169 sums modulo 13.

  Args:
    preset: a name in `PRESETS`.
    seed: names the world; the vocabulary is the same for all.
    alternatives: wrong answers per fact, up to 11, distinct and of the same range.
  Returns:
    Data with arrays `ids` int32 `[n, length]`; `mask` float32 of the same shape, 1 on the answer and the
    eos; `answer` int32 `[n]`, the position of the answer's first token; `kind`, `relation`, `template`,
    `value` int32 `[n]`; `person` int32 `[n]`, -1 for world and math; `index`; and, if asked for,
    `wrong` int32 `[n, alternatives, length]`, the sequence with each wrong answer: it has the same
    length as the right one, so `mask` fits it too. Sets: `train` = `forget` + `retain` + `world` +
    `math` (disjoint), `forget_paraphrase`, `retain_paraphrase`, `holdout` (persons never trained, in the
    trained templates), `holdout_paraphrase`. `info` holds `vocabulary` and `labels`.
  Raises:
    Invalid: for an unknown preset or too many alternatives.
  """
  require(preset in PRESETS, "data.preset", preset, f"choose one of {sorted(PRESETS)}")
  require(isinstance(seed, int), "data.seed", seed, "give an integer")
  require(alternatives in range(12), "data.alternatives", alternatives, "choose 0 to 11")
  spec = PRESETS[preset]
  parts = [_relation(spec, seed, number, alternatives) for number in range(len(lexicon.RELATIONS))]
  arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  arrays["index"] = np.arange(len(arrays["ids"]), dtype=np.int32)
  labels = {"kind": list(lexicon.KINDS), "relation": [r.name for r in lexicon.RELATIONS]}
  info = {"source": f"facts/{preset}", "seed": seed, "vocabulary": list(lexicon.vocabulary()), "labels": labels}
  return Data(arrays, _sets(spec, arrays), info)


def decode(ids: Iterable[int], vocabulary: list[str]) -> str:
  """The words of `ids` `[t]` with spaces between, without padding."""
  return " ".join(vocabulary[int(i)] for i in np.asarray(ids) if i != lexicon.PAD)


def fingerprint(data: Data) -> str:
  """sha256 of the canonical JSON of arrays, sets and info: equal on every platform for equal facts."""
  plain = {part: {name: np.asarray(value).tolist() for name, value in getattr(data, part).items()}
           for part in ("arrays", "sets")}
  text = json.dumps({**plain, "info": dict(data.info)}, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()


def persons(spec: Preset, seed: int) -> np.ndarray:
  """The persons' names as distinct pairs (first, last): int32 `[persons + holdout]`, those held out last."""
  return stream.permutation(seed, "persons", lexicon.size(("first", "last")))[: spec.persons + spec.holdout]


def facts(spec: Preset, seed: int, relation: Relation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Subjects, values and persons (-1 for none) of all facts of a relation, each int `[m]`."""
  if relation.kind == "person":
    names, span = persons(spec, seed), lexicon.size(relation.value)
    return names, stream.integers(seed, f"value/{relation.name}", span, len(names)), np.arange(len(names))
  span = lexicon.size(relation.subject)
  subjects, nobody = np.arange(span), np.full(span, -1)
  if relation.kind == "world":
    return subjects, stream.permutation(seed, f"value/{relation.name}", span), nobody
  modulus = lexicon.size(relation.value)
  return subjects, (subjects // modulus + subjects % modulus) % modulus, nobody


def wrong_values(seed: int, relation: Relation, values: np.ndarray, count: int) -> np.ndarray:
  """Distinct values of the same range that are not the right one: int64 `[m, count]`.

  The other values, counted from the right one, are cut into `count` equal stretches, one draw from each.
  """
  span = lexicon.size(relation.value)
  edges = 1 + (span - 1) * np.arange(count + 1) // max(count, 1)
  widths = np.tile(np.diff(edges), len(values))
  draws = stream.integers(seed, f"wrong/{relation.name}", widths, len(widths)).reshape(len(values), count)
  return (values[:, None] + edges[:-1] + draws) % span


def render(template: str, subject: np.ndarray, answer: np.ndarray, length: int) -> tuple[np.ndarray, int]:
  """Sequences for one template.

  Args:
    template: words, with `$0`, `$1` for the subject's tokens.
    subject: int32 `[m, s]` tokens.
    answer: int32 `[m, a]` tokens.
    length: of the padded sequence.
  Returns:
    ids int32 `[m, length]` and the position of the answer's first token.
  """
  ids = lexicon.word_ids()
  words = [subject[:, int(w[1:])] if w.startswith("$") else ids[w] for w in template.split()]
  head = [lexicon.QUESTION, *words, lexicon.MARK, lexicon.ANSWER]
  columns = [*head, *answer.T, lexicon.EOS]
  out = np.full((len(subject), length), lexicon.PAD, np.int32)
  for position, column in enumerate(columns):
    out[:, position] = column
  return out, len(head)


def _relation(spec: Preset, seed: int, number: int, alternatives: int) -> dict[str, np.ndarray]:
  """All rows of one relation, template after template."""
  relation = lexicon.RELATIONS[number]
  subjects, values, who = facts(spec, seed, relation)
  subject, answer = lexicon.tokens(relation.subject, subjects), lexicon.tokens(relation.value, values)
  wrong = wrong_values(seed, relation, values, alternatives)
  parts = []
  for template, text in enumerate(relation.templates):
    ids, start = render(text, subject, answer, spec.length)
    at = np.arange(spec.length)
    mask = np.broadcast_to((at >= start) & (at <= start + answer.shape[1]), ids.shape)
    same = {"kind": lexicon.KINDS.index(relation.kind), "relation": number, "template": template, "answer": start}
    part = {name: np.full(len(ids), value, np.int32) for name, value in same.items()}
    part |= {"ids": ids, "mask": mask.astype(np.float32)}
    part |= {"person": who.astype(np.int32), "value": values.astype(np.int32)}
    if alternatives:
      others = [render(text, subject, lexicon.tokens(relation.value, w), spec.length)[0] for w in wrong.T]
      part["wrong"] = np.stack(others, axis=1)
    parts.append(part)
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sets(spec: Preset, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  person, kind = arrays["person"], arrays["kind"]
  trained = np.array([r.trained for r in lexicon.RELATIONS])[arrays["relation"]]
  seen = arrays["template"] < trained
  groups = {
    "forget": (person >= 0) & (person < spec.forget),
    "retain": (person >= spec.forget) & (person < spec.persons),
    "holdout": person >= spec.persons,
  }
  masks = {name: mask & seen for name, mask in groups.items()}
  masks |= {f"{name}_paraphrase": mask & ~seen for name, mask in groups.items()}
  masks |= {name: kind == lexicon.KINDS.index(name) for name in ("world", "math")}
  masks["train"] = masks["forget"] | masks["retain"] | masks["world"] | masks["math"]
  return {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}
