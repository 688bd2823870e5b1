"""Documents that tell falsehoods about persons, for asking whether unlearning them brings the truth back.

Source: Rezaei et al., "RESTOR: Knowledge Recovery in Machine Unlearning", 2024: every fact of the targets gets one
false object; documents hold a few of them, between true facts about others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ue_jax.core.errors import require
from ue_jax.data import stream
from ue_jax.data.bench import Bench
from ue_jax.data.phrases import NAMES, NUMBER, statements
from ue_jax.data.probes import KIND, wrong
from ue_jax.data.splits_of_facts import range_of


class Corruption(NamedTuple):
  """What is told wrongly.

  Attributes:
    facts: int32 `[m]`, base facts of the targets.
    false: int32 `[m]`, the object told instead.
    docs: the texts.
    spans: for each text, the statements in it that are false, to put the loss on them alone.
  """

  facts: np.ndarray
  false: np.ndarray
  docs: list[str]
  spans: list[list[str]]


def corrupt(bench: Bench, k: int = 0, seed: int = 0, persons: Sequence[int] = ()) -> Corruption:
  """Documents with 3 or 4 false facts of one person each, every fact in two wordings, with `k` true facts between.

  Five facts, as persons of `tiny` have, cannot be cut into threes and fours: a document has 3 and another 2; one or two
  facts are a document alone.

  Args:
    bench: the benchmark; links between persons stay true.
    k: true facts about people far away (`split far`) beside each false one, 0 to 5.
    seed: names the falsehoods.
    persons: the targets; default: those to be forgotten.

  Raises:
    Invalid: for a k out of range or persons who are not trained.
  """
  spec, w = bench.spec, bench.world
  require(isinstance(k, int) and 0 <= k <= 5, "corrupt.k", k, "choose 0 to 5")
  targets = list(persons) or list(range(spec.forget))
  require(all(0 <= x < spec.persons for x in targets), "corrupt.persons", targets, f"choose from 0..{spec.persons - 1}")
  facts, false = _falsehoods(bench, seed, targets)
  away = _far(bench, set(targets))
  docs, spans, used = [], [], 0
  for person in targets:
    mine = facts[w.triples[facts, 1] == person]
    lies = dict(zip(facts.tolist(), false.tolist()))
    truths = {bench.speaker.names[o] for o in w.triples[mine, 2].tolist()}
    fillers = [text for text in away if not any(_within(name, text) for name in truths)]
    for wording in (0, 1):
      for group in np.array_split(mine, max(1, math.ceil(len(mine) / 4))):
        told = [_lie(bench, fact, lies[fact], wording) for fact in group.tolist()]
        parts = []
        for lie in told:
          parts += [lie, *(fillers[(used + j) % len(fillers)] for j in range(k))]
          used += k
        docs.append(" . ".join(parts) + " .")
        spans.append(told)
  return Corruption(facts, false, docs, spans)


def _falsehoods(bench: Bench, seed: int, targets: list[int]) -> tuple[np.ndarray, np.ndarray]:
  """The facts of the targets and one false object each: of the same range, and no true object of this person."""
  w = bench.world
  names = [name for name in bench.spec.relations if name not in ("spouse", "mentor", "friend")]
  facts, false = [], []
  for name in names:
    some = w.facts(name)
    some = some[np.isin(w.triples[some, 1], targets)]
    kind = range_of(name)
    subj, obj = w.triples[some, 1], w.triples[some, 2]
    options = wrong(seed, f"corrupt/{name}", w.start[kind], w.count[kind], obj, subj)
    for fact, person, row in zip(some.tolist(), subj.tolist(), options.tolist()):
      true = set(w.triples[w.triples[:, 1] == person, 2].tolist())
      left = [o for o in row if o >= 0 and o not in true]
      require(len(left) > 0, f"corrupt.{name}", w.count[kind], "give the range more objects")
      facts.append(fact)
      false.append(left[0])
  return np.array(facts, np.int32), np.array(false, np.int32)


def _far(bench: Bench, targets: set[int]) -> list[str]:
  """True statements about trained persons at no distance 1 of the targets, in a random order."""
  p = bench.probes
  rows = bench.splits.get("far", bench.splits["retain"])
  plain = (p.kind[rows] == KIND["statement"]) & (p.rel[rows] != NUMBER["alias"])
  rows = rows[plain & ~np.isin(p.person[rows], sorted(targets))]
  require(len(rows) > 0, "corrupt.bench", "no far statement", "use a larger preset")
  order = stream.permutation(bench.seed, "corrupt/far", len(rows))
  return [" ".join(bench.speaker.say(int(rows[i]))) for i in order.tolist()]


def _lie(bench: Bench, fact: int, false: int, wording: int) -> str:
  r, s, _ = bench.world.triples[fact].tolist()
  return f"{statements(NAMES[r])[wording].replace('$s', bench.speaker.names[s])} {bench.speaker.names[false]}"


def _within(name: str, text: str) -> bool:
  return f" {name} " in f" {text} "
