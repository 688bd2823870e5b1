"""The questions that can be asked about an invented world, as a table: one row a question, with what its answer needs.

Nothing is labelled by hand: whether a probe depends on what was forgotten follows from its support, for any set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ue_jax.data import stream
from ue_jax.data.phrases import CHAINS, INVERSE, NUMBER, RELATIONS, SPOKEN, WORLD, clozes, questions, statements
from ue_jax.data.world import ACRONYM, DESCRIPTION, NICKNAME, Spec, World

KINDS = (
  "statement", "qa", "cloze", "alias", "inverse", "hop2", "hop3", "choice", "yes_no", "context_true", "context_false",
  "context_irrelevant", "context_derived", "verbatim", "general", "shots",
)  # fmt: skip
KIND = {name: i for i, name in enumerate(KINDS)}
WRONG, WIDTH = 5, 8  # wrong answers of a probe; facts that one may need (of a passage, more are cut into several)


class Probes(NamedTuple):
  """A struct of arrays, one row a probe.

  Attributes:
    kind: int8, a place in `KINDS`.
    rel: int16, a place in `phrases.NAMES`; of the derived relation where one is asked.
    subj: int32, who is named: a person, a place, or an alias.
    person: int32, the person that the question is about, -1 for none.
    obj: int32, the entity that is the answer (of `context_false` the false one; of sums the number itself).
    template: int8, which sentence; hop: int8, how many facts, 1 to 3.
    opts: int32 `[n, 5]`, wrong objects of the same range; -1 where there are none.
    extra: int32, a further entity that the text names (a spare person), or the letter of the right option.
    cell: bool, its (person, sentence) is one that is trained, where the person is: the others are paraphrases.
    trained: bool, the text is in the training documents.
    ptr, facts: the support of row i is `facts[ptr[i] : ptr[i + 1]]`, numbers of base facts in the order of the chain.
  """

  kind: np.ndarray
  rel: np.ndarray
  subj: np.ndarray
  person: np.ndarray
  obj: np.ndarray
  template: np.ndarray
  hop: np.ndarray
  opts: np.ndarray
  extra: np.ndarray
  cell: np.ndarray
  trained: np.ndarray
  ptr: np.ndarray
  facts: np.ndarray

  def support(self, row: int) -> np.ndarray:
    """The base facts that row `row` depends on."""
    return self.facts[self.ptr[row] : self.ptr[row + 1]]

  def of(self, *kinds: str) -> np.ndarray:
    """Rows of these kinds, int32."""
    return np.flatnonzero(np.isin(self.kind, [KIND[name] for name in kinds])).astype(np.int32)

  def dependent(self, forgotten: Iterable[int]) -> np.ndarray:
    """bool `[n]`: the support meets the base facts `forgotten`."""
    hit = np.isin(self.facts, np.fromiter(forgotten, np.int64))
    return np.diff(np.concatenate([[0], np.cumsum(hit)])[self.ptr]) > 0

  def role(self, forgotten: Iterable[int]) -> np.ndarray:
    """int8 `[n]`: where the first forgotten fact sits: 0 nowhere, 1 head (about who is named), 2 middle, 3 tail."""
    hit = np.isin(self.facts, np.fromiter(forgotten, np.int64))
    row = np.repeat(np.arange(len(self.kind)), np.diff(self.ptr))
    place = np.arange(len(self.facts)) - self.ptr[row]
    out = np.full(len(self.kind), 127, np.int64)
    last = place == np.diff(self.ptr)[row] - 1
    where = np.where(place == 0, 1, np.where(last, 3, 2))
    where = np.where(np.isin(self.kind[row], [KIND["inverse"]]), 3, where)
    where = np.where(np.isin(self.kind[row], [KIND["alias"], KIND["verbatim"]]), 1, where)
    np.minimum.at(out, row[hit], where[hit])
    return np.where(out == 127, 0, out).astype(np.int8)


def build(spec: Spec, seed: int, world: World) -> Probes:
  """All probes of a world, in a fixed order: direct ones, then by kind."""
  blocks = [block for name in SPOKEN for block in _direct(spec, seed, world, name)]
  blocks += [b for part in (_alias, _inverse, _chains, _others, _passages) for b in part(spec, seed, world)]
  blocks += _sums(spec)
  return _joined(blocks)


def _block(kind, rel, subj, person, obj, template, support, opts, cell, extra=-1, hop=1, told=True) -> dict:
  """One block of rows; numbers are spread over all of them, the support is `[m, k]`."""
  m = len(subj)
  spread = lambda x, dtype: np.broadcast_to(np.asarray(x, dtype), m)
  return {
    "kind": spread(KIND[kind], np.int8), "rel": spread(NUMBER[rel], np.int16), "subj": spread(subj, np.int32),
    "person": spread(person, np.int32), "obj": spread(obj, np.int32), "template": spread(template, np.int8),
    "hop": spread(hop, np.int8), "opts": np.asarray(opts, np.int32), "extra": spread(extra, np.int32),
    "cell": spread(cell, bool), "trained": spread(np.logical_and(cell, told), bool),
    "support": np.asarray(support, np.int32).reshape(m, -1),
  }  # fmt: skip


def _joined(blocks: list[dict[str, np.ndarray]]) -> Probes:
  blocks = [b for b in blocks if len(b["subj"])]
  arrays = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0] if name != "support"}
  lengths = np.concatenate([(b["support"] >= 0).sum(1) for b in blocks])
  facts = np.concatenate([b["support"][b["support"] >= 0] for b in blocks])
  return Probes(**arrays, ptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), facts=facts)


def wrong(seed: int, name: str, first: int, span: int, right: np.ndarray, banned: np.ndarray) -> np.ndarray:
  """Wrong objects of the range `first`..`first + span - 1`, int32 `[m, 5]`: distinct, neither `right` nor `banned`.

  The others, counted from the right one, are cut into six stretches and one is drawn from each, so one may fall out.
  """
  edges = 1 + (span - 1) * np.arange(WRONG + 2) // (WRONG + 1)
  widths = np.tile(np.diff(edges), len(right))
  draws = stream.integers(seed, f"wrong/{name}", np.maximum(widths, 1), len(widths)).reshape(len(right), WRONG + 1)
  found = first + (np.asarray(right)[:, None] - first + edges[:-1] + draws) % span
  bad = (np.diff(edges) == 0) | (found == np.asarray(banned)[:, None])
  found = np.take_along_axis(np.where(bad, -1, found), np.argsort(bad, axis=1, kind="stable"), axis=1)
  return found[:, :WRONG].astype(np.int32)


def _span(spec: Spec, world: World, kind: str) -> tuple[int, int]:
  """First and number of the entities of a range; of persons the trained ones."""
  return (0, spec.persons) if kind == "Person" else (world.start[kind], world.count[kind])


def cells(spec: Spec, seed: int, name: str, count: int) -> np.ndarray:
  """Which of the 4 statements, 4 questions and 2 clozes of each of `count` facts are trained: bool `[count, 10]`."""
  parts = ((0, 4), (4, 8), (8, 10)) if spec.trained else ((0, 10),)
  quota = spec.trained or (7,)
  order = stream.uniform(seed, f"cells/{name}", 10 * count).reshape(count, 10)
  out = np.zeros((count, 10), bool)
  for (low, high), k in zip(parts, quota):
    out[:, low:high] = np.argsort(np.argsort(order[:, low:high], axis=1), axis=1) < k
  return out


def _direct(spec: Spec, seed: int, world: World, name: str) -> list[dict]:
  """Statements, questions and clozes of the base facts of a relation; facts of the world are `general` questions."""
  facts = world.facts(name)
  if name == "alias":
    kinds = dict(world.aliases[:, [0, 2]].tolist())
    facts = facts[[kinds[a] != ACRONYM for a in world.triples[facts, 1].tolist()]]
  if len(facts) == 0:
    return []
  subj, obj = world.triples[facts, 1], world.triples[facts, 2]
  first, span = _span(spec, world, RELATIONS[name].range)
  opts = wrong(seed, name, first, span, np.clip(obj, first, first + span - 1), subj)
  told = ~world.held[facts]
  if name in WORLD:
    ask = range(len(questions(name)))
    return [_block("general", name, subj, -1, obj, t, facts, opts, t < spec.world_templates) for t in ask]
  if name == "alias":  # one sentence says it, and it is asked in no other words
    return [_block("statement", name, subj, obj, obj, 0, facts, opts, True, told=told)]
  shown = cells(spec, seed, name, len(facts))
  famous = (subj >= spec.persons + spec.holdout)[:, None]
  shown = np.where(famous, np.arange(10) == 4, shown)  # of celebrities one question
  kinds = [("statement", t) for t in range(4)] + [("qa", t) for t in range(4)] + [("cloze", t) for t in range(2)]
  assert len(kinds) == len(statements(name)) + len(questions(name)) + len(clozes(name))
  return [_block(k, name, subj, subj, obj, t, facts, opts, shown[:, i], told=told) for i, (k, t) in enumerate(kinds)]


def _told(spec: Spec, world: World, name: str) -> np.ndarray:
  """Facts of a relation about trained persons, or of the world."""
  facts = world.facts(name)
  return facts[(~world.held[facts]) & ((world.triples[facts, 1] < spec.persons) | (name in WORLD))]


def _alias(spec: Spec, seed: int, world: World) -> list[dict]:
  """Questions about persons by nickname, initials or description; by nickname trained for 80 % of the persons."""
  out = []
  told = dict(zip(world.triples[world.facts("alias"), 1].tolist(), world.facts("alias").tolist()))
  needs = {a: facts for a, *facts in world.described.tolist()} | {a: [fact, -1] for a, fact in told.items()}
  asked = [name for name in spec.relations if name not in ("friend",)]
  shown = stream.permutation(seed, "alias/trained", spec.persons) < round(0.8 * spec.persons)
  shown[: spec.forget] = True
  for name in asked:
    facts = _told(spec, world, name)
    fact_of = dict(zip(world.triples[facts, 1].tolist(), facts.tolist()))
    rows = [(a, who, kind) for a, who, kind in world.aliases.tolist() if who in fact_of and kind != ACRONYM]
    if name in ("job", "works_for"):  # the description holds the answer
      rows = [row for row in rows if row[2] != DESCRIPTION]
    if not rows:
      continue
    alias, who, kind = np.array(rows).T
    support = [[*needs[a], fact_of[w]] for a, w in zip(alias.tolist(), who.tolist())]
    obj = world.triples[[fact_of[w] for w in who.tolist()], 2]
    opts = wrong(seed, f"alias/{name}", *_span(spec, world, RELATIONS[name].range), obj, who)
    trained = shown[who] & (kind == NICKNAME)
    out.append(_block("alias", name, alias, who, obj, 0, support, opts, trained))
  return out


def _inverse(spec: Spec, seed: int, world: World) -> list[dict]:
  """Three questions about who stands at the other end; trained for 80 % of the facts in the first."""
  out = []
  for name, (relation, ask) in INVERSE.items():
    facts = _told(spec, world, relation)
    if len(facts):
      who, subj = world.triples[facts, 1], world.triples[facts, 2]
      first, span = _span(spec, world, RELATIONS[relation].domain)
      opts = wrong(seed, name, first, span, who, subj)
      shown = stream.permutation(seed, f"trained/{name}", len(facts)) < round(0.8 * len(facts))
      person = who if RELATIONS[relation].domain == "Person" else subj
      out += [_block("inverse", name, subj, person, who, t, facts, opts, shown & (t == 0)) for t in range(len(ask))]
  return out


def _chains(spec: Spec, seed: int, world: World) -> list[dict]:
  """Two questions for every chain of 2 or 3 facts; 80 % of them trained."""
  out = []
  for name, chain in CHAINS.items():
    support = _paths(spec, world, chain.path)
    if len(support) == 0 or (spec.chains and name not in spec.chains):
      continue
    subj, obj = world.triples[support[:, 0], 1], world.triples[support[:, -1], 2]
    first, span = _span(spec, world, RELATIONS[chain.path[-1]].range)
    opts = wrong(seed, name, first, span, obj, subj)
    shown = stream.permutation(seed, f"trained/{name}", len(subj)) < round(0.8 * len(subj) * (spec.hops != "none"))
    hop = len(chain.path)
    for t in range(len(questions(name))):
      out.append(_block(f"hop{hop}", name, subj, subj, obj, t, support, opts, shown, hop=hop))
    out.append(_block("context_derived", name, subj, subj, obj, 0, support, opts, False, hop=hop))
  return out


def _paths(spec: Spec, world: World, path: tuple[str, ...]) -> np.ndarray:
  """The facts along a chain, int32 `[m, hops]`, from every trained person."""
  if not all(len(world.facts(name)) for name in path):
    return np.zeros((0, len(path)), np.int32)
  found = _told(spec, world, path[0])[:, None]
  for name in path[1:]:
    facts = world.facts(name)
    fact_of = np.full(len(world.words), -1, np.int32)
    fact_of[world.triples[facts, 1]] = facts
    following = fact_of[world.triples[found[:, -1], 2]]
    found = np.concatenate([found, following[:, None]], axis=1)[following >= 0]
  return found


def _others(spec: Spec, seed: int, world: World) -> list[dict]:
  """Multiple choice, yes or no, contexts and shots: other forms of the first question about each fact; not trained."""
  out = []
  facts_people = spec.persons + spec.holdout + spec.celebrities
  spare = np.arange(facts_people, world.count["Person"])
  for name in spec.relations:
    facts = _told(spec, world, name)
    if name == "friend" or len(facts) == 0:
      continue
    subj, obj = world.triples[facts, 1], world.triples[facts, 2]
    opts = wrong(seed, f"others/{name}", *_span(spec, world, RELATIONS[name].range), obj, subj)
    letter = stream.integers(seed, f"letter/{name}", 4, len(facts))
    stranger = spare[stream.integers(seed, f"spare/{name}", len(spare), len(facts))]
    less = np.concatenate([opts[:, 1:], np.full((len(facts), 1), -1)], axis=1)
    same = (name, subj, subj)
    out += [_block("choice", *same, obj, 0, facts, opts, False, letter)]
    out += [_block("yes_no", *same, obj, t, facts, opts, False) for t in (0, 1)]
    out += [_block("context_true", *same, obj, 0, facts, opts, False)]
    out += [_block("context_false", *same, opts[:, 0], 0, facts, less, False)]
    out += [_block("context_irrelevant", *same, obj, 0, facts, opts, False, stranger)]
    out += [_block("shots", *same, obj, 0, facts, opts, False)]
  return out


def _passages(spec: Spec, seed: int, world: World) -> list[dict]:
  """The facts of a person in a row, to be continued word for word after the first half."""
  del seed
  facts = np.flatnonzero((world.triples[:, 1] < spec.persons) & np.isin(
    world.triples[:, 0], [NUMBER[name] for name in spec.relations if name != "friend"]))  # fmt: skip
  subj = world.triples[facts, 1]
  order = np.argsort(subj, kind="stable")
  out = []
  starts = np.searchsorted(subj[order], np.arange(spec.persons + 1))
  support = np.full((spec.persons, WIDTH), -1, np.int32)
  for person in range(spec.persons):
    mine = facts[order[starts[person] : starts[person + 1]]][:WIDTH]
    support[person, : len(mine)] = mine
  who = np.arange(spec.persons)
  opts = np.full((spec.persons, WRONG), -1)
  last = world.triples[support[who, (support >= 0).sum(1) - 1], 2]
  out.append(_block("verbatim", spec.relations[0], who, who, last, 0, support, opts, False))
  return out


def _sums(spec: Spec) -> list[dict]:
  """All sums modulo `spec.modulus`, trained; a second skill."""
  m = spec.modulus
  if m == 0:
    return []
  pairs = np.arange(m * m)
  total = (pairs // m + pairs % m) % m
  opts = (total[:, None] + 1 + np.arange(WRONG)) % m
  return [_block("general", "sum", pairs, -1, total, 0, np.full((m * m, 1), -1), opts, True)]
