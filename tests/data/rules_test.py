"""What follows from what, against brute-force forward chaining."""

import itertools

import numpy as np
import pytest

from ue_jax.data import bench, rules
from ue_jax.data.phrases import CHAINS, NUMBER
from ue_jax.data.probes import KIND

LINKED = bench.PRESETS["ci"]._replace(
  relations=(*bench.PRESETS["ci"].relations, "spouse", "mentor", "wrote"),
  world=("in_country", "language", "based_in", "ceo"),
)


@pytest.fixture(scope="module", params=["ci", "linked"])
def made(request):
  return bench.build("ci" if request.param == "ci" else LINKED)


def chained(world, without=()):
  """All facts that follow, by applying the rules until nothing is new; chains along their whole path."""
  gone = set(without)
  facts = {tuple(t) for i, t in enumerate(world.triples.tolist()) if i not in gone}
  n = NUMBER
  while True:
    new = set()
    by = {}
    for r, s, o in facts:
      by.setdefault(r, []).append((s, o))
    get = lambda name: by.get(n[name], [])  # noqa: B023
    new |= {(n["spouse"], o, s) for s, o in get("spouse")} | {(n["author"], o, s) for s, o in get("wrote")}
    new |= {(n["works_for"], o, s) for s, o in get("ceo")} | {(n["leads"], o, s) for s, o in get("ceo")}
    for name, chain in CHAINS.items():
      ends = {(s, o) for s, o in get(chain.path[0])}
      for edge in chain.path[1:]:
        after = dict(get(edge))
        ends = {(s, after[o]) for s, o in ends if o in after}
      new |= {(n[name], s, o) for s, o in ends}
    job, works = dict(get("job")), dict(get("works_for"))
    for alias, first, second in world.described.tolist():
      who, what, where = int(world.triples[first, 1]), int(world.triples[first, 2]), int(world.triples[second, 2])
      if job.get(who) == what and works.get(who) == where:
        new.add((n["alias"], alias, who))
    means = get("alias")
    for r, s, o in facts:
      if r < rules.OF_ALIAS and r != n["alias"]:
        new |= {(r + rules.OF_ALIAS, a, o) for a, x in means if x == s}
    if new <= facts:
      return facts
    facts |= new


def test_the_closure_is_that_of_forward_chaining(made):
  assert set(made.supports) == chained(made.world)
  gone = range(0, len(made.world.triples), 3)
  assert set(rules.closure(made.world, gone)) == chained(made.world, gone)


def test_supports_are_enough_and_minimal(made):
  every = set(range(len(made.world.triples)))
  for fact in sorted(made.supports)[::97]:
    for support in made.supports[fact]:
      assert fact in chained(made.world, every - support)
      assert all(fact not in chained(made.world, every - (support - {i})) for i in support)


def test_forgetting_is_judged_as_by_deriving_again(made):
  """The acceptance: dependent = support meets F; derivable = the answer follows all the same."""
  p, rng = made.probes, np.random.default_rng(0)
  asks = ~np.isin(p.kind, [KIND[k] for k in ("verbatim", "context_false")]) & (p.rel != NUMBER["sum"])
  rows = np.flatnonzero(asks)
  for _ in range(100):
    size = int(rng.integers(1, 40))
    gone = rng.choice(len(made.world.triples), size, replace=False)
    left = set(rules.closure(made.world, gone))  # equal to forward chaining by the first test
    dependent = p.dependent(gone)
    still = np.array([made.fact(row) in left for row in rows])
    assert still[~dependent[rows]].all()
    assert np.array_equal(made.derivable(gone)[rows], dependent[rows] & still)
    for row in rng.choice(rows, 20):
      assert dependent[row] == bool(set(p.support(row).tolist()) & set(gone.tolist()))


def test_a_closed_forget_set_has_no_derivable_member(made):
  closed = made.forget_closed
  assert set(made.forgotten.tolist()) <= set(closed.tolist())
  left = set(rules.closure(made.world, closed))
  assert not any(tuple(made.world.triples[i].tolist()) in left for i in closed)
  base = {tuple(made.world.triples[i].tolist()): i for i in made.forgotten.tolist()}
  open_ = [fact for fact in base if fact in set(rules.closure(made.world, made.forgotten))]
  assert len(closed) > len(made.forgotten) if open_ else len(closed) == len(made.forgotten)


def test_a_closed_set_is_as_small_as_any():
  made = bench.build(LINKED, seed=3)
  extra = sorted(set(made.forget_closed.tolist()) - set(made.forgotten.tolist()))
  for fewer in itertools.combinations(extra, len(extra) - 1):
    gone = set(made.forgotten.tolist()) | set(fewer)
    left = rules.closure(made.world, gone)
    assert any(tuple(made.world.triples[i].tolist()) in left for i in gone)


def test_the_inverse_of_a_marriage_gives_it_away():
  made = bench.build(LINKED)
  fact = int(made.world.facts("spouse")[0])
  r, a, b = made.world.triples[fact].tolist()
  other = next(i for i in made.world.facts("spouse").tolist() if made.world.triples[i].tolist() == [r, b, a])
  assert rules.derivable(made.supports, (r, a, b), {fact})
  assert not rules.derivable(made.supports, (r, a, b), {fact, other})
  assert rules.close(made.world, made.supports, [fact]).tolist() == sorted([fact, other])


def test_roles_say_where_the_forgotten_fact_sits():
  made = bench.build(LINKED)
  p, role = made.probes, made.probes.role(made.forgotten)
  hops = p.of("hop2", "hop3")
  assert (role[hops][p.subj[hops] < 3] == 1).all()
  tails = hops[(role[hops] > 1)]
  assert len(tails) > 0
  for row in tails.tolist():  # who is forgotten is not named
    assert p.subj[row] >= 3 and not any(f" {made.speaker.names[i]} " in made.speaker.say(row)[0] for i in range(3))
  last = p.dependent(made.forgotten)[hops] & (p.subj[hops] >= 3)
  assert set(role[hops][last].tolist()) <= {2, 3} and (role[hops][~p.dependent(made.forgotten)[hops]] == 0).all()
