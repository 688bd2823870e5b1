"""Which probes are trained, to be forgotten, to be kept, near to what is forgotten, or for an attack."""

from __future__ import annotations

import numpy as np

from ue_jax.data import stream
from ue_jax.data.phrases import LINKS, NUMBER, RELATIONS
from ue_jax.data.probes import KIND, KINDS, Probes
from ue_jax.data.world import Spec, World

EMPLOYER, CITY, LINK, FIRST, LAST, OBJECT = (1 << i for i in range(6))
DIRECT = ("statement", "qa", "cloze")
FAR = 255


def range_of(relation: str) -> str:
  """The type of the objects of a base relation."""
  return RELATIONS[relation].range


def forgotten(spec: Spec, world: World) -> np.ndarray:
  """All base facts with one of the persons to be forgotten as subject, int32; what they are called is kept."""
  return np.flatnonzero(world.triples[:, 1] < spec.forget).astype(np.int32)


def neighbours(spec: Spec, world: World, probes: Probes) -> tuple[np.ndarray, np.ndarray]:
  """How near the person of each probe is to those to be forgotten.

  Returns:
    uint8 `[n]`, steps along equal employers, equal birth cities, spouses, mentors and friends; 255: none, or no person.
    uint8 `[n]`, the sum of 1 equal employer, 2 equal birth city, 4 such a link, 8 equal first name, 16 equal last name,
    32 equal object of the relation that the probe asks for; each with one of the forgotten.
  """
  many = spec.persons + spec.holdout + spec.celebrities
  equal = lambda values: (values[:, None] == values[None, :]) & (values >= 0)[:, None]
  names = np.array([world.words[i] for i in range(many)])
  kinds = {EMPLOYER: equal(_object(world, "works_for", many)), CITY: equal(_object(world, "born_in", many))}
  kinds[LINK] = np.zeros((many, many), bool)
  for name in LINKS:
    pairs = world.triples[world.facts(name), 1:]
    kinds[LINK][pairs[:, 0], pairs[:, 1]] = kinds[LINK][pairs[:, 1], pairs[:, 0]] = True
  steps = _distances(kinds[EMPLOYER] | kinds[CITY] | kinds[LINK], spec.forget)
  for bit, part in ((FIRST, 0), (LAST, 1)):
    kinds[bit] = equal(np.unique(names[:, part], return_inverse=True)[1])
  near = np.zeros(many, np.uint8)
  for bit, table in kinds.items():
    np.fill_diagonal(table, False)
    near |= np.where(table[:, : spec.forget].any(1), bit, 0).astype(np.uint8)
  person = probes.person
  nbr = np.where(person >= 0, steps[np.maximum(person, 0)], FAR).astype(np.uint8)
  nbr_type = np.where(person >= 0, near[np.maximum(person, 0)], 0).astype(np.uint8)
  return nbr, nbr_type | np.where(_same_object(spec, world, probes), OBJECT, 0).astype(np.uint8)


def _object(world: World, relation: str, many: int) -> np.ndarray:
  """The object of each of the first `many` persons, -1 for none."""
  out = np.full(many, -1)
  pairs = world.triples[world.facts(relation), 1:]
  pairs = pairs[pairs[:, 0] < many]
  out[pairs[:, 0]] = pairs[:, 1]
  return out


def _distances(near: np.ndarray, sources: int) -> np.ndarray:
  """Steps from the first `sources` persons, 255 where there is no way."""
  out = np.full(len(near), FAR)
  front = np.arange(len(near)) < sources
  step = 0
  while front.any():
    out[front] = step
    step, front = step + 1, near[:, front].any(1) & (out == FAR)
  return out


def _same_object(spec: Spec, world: World, probes: Probes) -> np.ndarray:
  """bool `[n]`: somebody to be forgotten, other than the person asked about, has the same object in this relation."""
  mine = world.triples[forgotten(spec, world)].astype(np.int64)
  span = len(world.words)
  key = lambda rel, obj: rel.astype(np.int64) * span + obj
  having = np.sort(key(mine[:, 0], mine[:, 2]))
  asked = key(probes.rel, probes.obj)
  count = np.searchsorted(having, asked, "right") - np.searchsorted(having, asked, "left")
  itself = (probes.person >= 0) & (probes.person < spec.forget) & np.isin(probes.kind, [KIND["inverse"]], invert=True)
  return count > itself


def splits(
  spec: Spec, seed: int, world: World, probes: Probes, gone: np.ndarray, nbr: np.ndarray, nbr_type: np.ndarray
) -> dict[str, np.ndarray]:
  """name -> int32 rows of the probes; empty ones are left out.

  `train` (celebrities ten times) is made of the disjoint `forget` (trained statements, questions and clozes of the
  persons), `forget_indirect` (whatever else is trained and depends on them, and their aliases), `retain`, `celebrity`,
  `world`, `math`. `*_paraphrase`: the sentences of the same facts that are not trained. `forget_<kind>`,
  `retain_<kind>`: trained aliases, inverses, chains. `holdout`: persons never trained, in the sentences that would have
  been. `neighbour` (one step away, or with two things in common) and `far` part the direct rows of `retain`. By
  granularity: `forget_entity`, `forget_relation`, `forget_fact`, `forget_docs`. `relearn_<how>`: what an attacker has.
  `drift_0` .. `drift_3`: the persons in four requests. `trace_prompts`, `general`, `coreset`, and `val_<kind>`,
  `test_<kind>`: 10 and 90 % of every kind. What is no rows of probes is elsewhere: the closed facts to be forgotten
  (`bench.Bench.forget_closed`), documents of falsehoods with k truths beside each (`corrupt.corrupt(bench, k)`).
  """
  p, kind = probes, lambda *names: np.isin(probes.kind, [KIND[name] for name in names])
  direct = kind(*DIRECT) & (p.rel != NUMBER["alias"])
  mine = (p.person >= 0) & (p.person < spec.forget)
  held = (p.person >= spec.persons) & (p.person < spec.persons + spec.holdout)
  famous, sums = p.person >= spec.persons + spec.holdout, p.rel == NUMBER["sum"]
  named = mine & (p.rel == NUMBER["alias"])
  lost = p.dependent(gone) | named
  masks = {
    "forget": p.trained & mine & direct,
    "forget_indirect": p.trained & lost & ~(mine & direct),
    "retain": p.trained & ~lost & ~kind("general") & ~famous,
    "celebrity": p.trained & famous,
    "world": p.trained & kind("general") & ~sums,
    "math": p.trained & sums,
    "holdout": direct & held & p.cell,
    "forget_paraphrase": direct & mine & ~p.cell,
    "retain_paraphrase": direct & ~mine & ~held & ~famous & ~p.cell & (p.person >= 0),
    "holdout_paraphrase": direct & held & ~p.cell,
  }
  for name in ("alias", "inverse", "hop2", "hop3"):
    masks[f"forget_{name}"], masks[f"retain_{name}"] = (p.trained & kind(name) & side for side in (lost, ~lost))
  near = (nbr == 1) | (np.bitwise_count(nbr_type & ~np.uint8(OBJECT)) >= 2)
  masks |= {"neighbour": masks["retain"] & direct & near, "far": masks["retain"] & direct & ~near}
  masks |= {"general": masks["world"] | masks["math"]}
  masks |= {"trace_prompts": masks["retain"] | masks["general"], "coreset": masks["forget"]}
  masks |= _granular(spec, p, masks["forget"], mine) | _attacks(spec, seed, p, masks) | _shares(spec, direct, p)
  rows = {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}
  parts = [rows[name] for name in ("forget", "forget_indirect", "retain", "world", "math")]
  rows["train"] = np.sort(np.concatenate([*parts, np.repeat(rows["celebrity"], 10)])).astype(np.int32)
  return {name: found for name, found in (rows | _halves(seed, p)).items() if len(found)}


def _granular(spec: Spec, p: Probes, forget: np.ndarray, mine: np.ndarray) -> dict[str, np.ndarray]:
  """What is to be forgotten by granularity, and in four requests one after the other."""
  one = NUMBER[spec.relations[0]]
  turn = np.array([NUMBER[name] for name in spec.relations])[np.maximum(p.person, 0) % len(spec.relations)]
  out = {
    "forget_entity": forget, "forget_relation": forget & (p.rel == one), "forget_fact": forget & (p.rel == turn),
    "forget_docs": mine & (p.kind == KIND["verbatim"]),
  }  # fmt: skip
  for i, part in enumerate(np.array_split(np.arange(spec.forget), 4)):
    out[f"drift_{i}"] = forget & np.isin(p.person, part)
  return out


def _shares(spec: Spec, direct: np.ndarray, p: Probes) -> dict[str, np.ndarray]:
  """`forget01`, `forget05`, `forget10`, nested, where they are whole persons and no more than are to be forgotten."""
  whole = {share: spec.persons * share // 100 for share in (1, 5, 10) if spec.persons * share % 100 == 0}
  return {f"forget{share:02}": p.trained & direct & (p.person >= 0) & (p.person < count)
          for share, count in whole.items() if 0 < count <= spec.forget}  # fmt: skip


def _attacks(spec: Spec, seed: int, p: Probes, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """What an attacker relearns from: half of the persons, of the relations, of the sentences; or nothing of them."""
  forget = masks["forget"]
  half = [NUMBER[name] for name in spec.relations[: len(spec.relations) // 2]]
  harmless = np.flatnonzero(masks["retain"] | masks["general"])
  some = harmless[stream.permutation(seed, "relearn/benign", len(harmless))[: int(forget.sum())]]
  return {
    "relearn_person": forget & (p.person < spec.forget // 2), "relearn_relation": forget & np.isin(p.rel, half),
    "relearn_template": forget & (p.template % 2 == 0), "relearn_benign": np.isin(np.arange(len(forget)), some),
  }  # fmt: skip


def _halves(seed: int, p: Probes) -> dict[str, np.ndarray]:
  """For every kind a tenth to choose settings on, and the rest."""
  out = {}
  for number, name in enumerate(KINDS):
    rows = np.flatnonzero(p.kind == number).astype(np.int32)
    rows = rows[stream.permutation(seed, f"halves/{name}", len(rows))]
    cut = round(len(rows) / 10)
    out |= {f"val_{name}": np.sort(rows[:cut]), f"test_{name}": np.sort(rows[cut:])}
  return out
