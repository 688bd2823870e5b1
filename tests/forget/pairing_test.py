"""How retain samples are paired with those to forget, and several retain sets with weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import facts
from ue_jax.forget import compromise, graddiff, requests, rmu
from ue_jax.parallel import sweep
from ue_jax.train import loop

PLAIN = dict(rate=1.0, steps=1, optimizer="sgd")


@pytest.fixture
def several(bigram):
  """The bigram request with three sets to keep; the first row of `near` has one target, the others two."""
  data = bigram.data
  sets = {"forget": data.sets["forget"], "near": np.array([0, 2]), "retain": np.array([2, 4]), "world": np.array([4])}
  return bigram._replace(data=Data(data.arrays, sets))


def nll(request, name):
  """The mean over TARGETS of a set, by a loop."""
  table = np.asarray(request.subject.params, np.float64)
  log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))
  ids, mask = (request.data.arrays[key][request.data.sets[name]] for key in ("ids", "mask"))
  each = [log_p[row[t - 1], row[t]] for row, m in zip(ids, mask) for t in np.flatnonzero(m)]
  return -np.mean(each), len(each)


def stepped(method, request):
  state = method.init(jax.random.key(0), request)
  return jax.jit(method.step)(state, method.batch(0, request, 0))


@pytest.mark.parametrize("weights", [{"near": 0.5, "retain": 0.4, "world": 0.1}, {"world": 2.0, "near": 0.0}])
def test_every_set_is_a_term_over_its_own_targets_with_its_weight(several, weights):
  _, metrics = stepped(graddiff.method(gamma=0.5, alpha=3.0, retain_sets=weights, **PLAIN), several)
  assert set(metrics) == {"forget", "loss", *weights}
  want = -0.5 * nll(several, "forget")[0] + 3.0 * sum(w * nll(several, name)[0] for name, w in weights.items())
  np.testing.assert_allclose(metrics["loss"], want, rtol=1e-5)
  for name in weights:
    value, targets = nll(several, name)
    np.testing.assert_allclose(metrics[name].total / metrics[name].weight, value, rtol=1e-5)
    assert float(metrics[name].weight) == targets
  assert nll(several, "near")[1] == 3  # ragged: the mean of the means of its two rows would be another number


def test_one_set_of_weight_one_gives_the_bits_of_the_plain_retain_term(tokens):
  settings = dict(rate=1e-2, steps=3, forget_batch=6, retain_batch=7)
  ends = [
    loop.fit(graddiff.method(**settings, **more), tokens, mode="one").params
    for more in ({}, dict(retain_sets={"retain": 1.0}), dict(retain_sets={"retain": 0.5}))
  ]
  plain, same, half = (tree.fingerprint(params) for params in ends)
  assert plain == same != half


def test_weights_are_traced(several):
  factory = lambda w: graddiff.method(retain_sets={"near": w, "world": 1.0 - w}, rate=0.1, steps=3, optimizer="sgd")
  together = sweep.sweep(factory, sweep.grid(w=(0.1, 0.9)), several, mode="vmap")
  alone = [loop.fit(factory(w), several, mode="one").params for w in (0.1, 0.9)]
  for got, want in zip(together, alone):
    np.testing.assert_allclose(got.params, want, rtol=1e-5)
  assert float(jnp.max(jnp.abs(alone[0] - alone[1]))) > 1e-3


def test_the_gradient_of_two_gradient_methods_is_the_weighted_sum(several):
  move = lambda sets: stepped(compromise.method("retain", rate=1.0, clip=0.0, retain_sets=sets), several)
  (both, metrics), (near, _), (world, _) = map(move, ({"near": 0.3, "world": 0.6}, {"near": 1.0}, {"world": 1.0}))
  start = several.subject.params
  np.testing.assert_allclose(both.params - start, 0.3 * (near.params - start) + 0.6 * (world.params - start), atol=1e-6)
  want = 0.3 * nll(several, "near")[0] + 0.6 * nll(several, "world")[0] - nll(several, "forget")[0]
  np.testing.assert_allclose(metrics["loss"], want, rtol=1e-5)


def test_representation_methods_take_several_sets_too(tokens):
  rows = tokens.data.sets["retain"]
  asked = tokens._replace(data=Data(tokens.data.arrays, {**tokens.data.sets, "a": rows[:8], "b": rows[8:]}))
  method = rmu.method(retain_sets={"a": 0.5, "b": 2.0}, alpha=3.0, **PLAIN)
  state, _ = stepped(method, asked)
  _, metrics = jax.jit(method.step)(state, method.batch(0, asked, 1))
  mean = {name: float(metrics[name].total / metrics[name].weight) for name in ("forget", "a", "b")}
  assert mean["a"] > 0 and mean["b"] > 0  # the model has moved
  assert float(metrics["loss"]) == pytest.approx(mean["forget"] + 3 * (0.5 * mean["a"] + 2 * mean["b"]), rel=1e-4)


def drawn(tokens, pairing, steps=30, **sizes):
  method = graddiff.method(pairing=pairing, **{"forget_batch": 4, "retain_batch": 8, **sizes})
  some = [method.batch(3, tokens, t) for t in range(steps)]
  return [(batch["forget"]["row"], batch["retain"]["row"]) for batch in some]


def test_cyclic_visits_every_row_equally_often(tokens):
  n = len(tokens.data.sets["retain"])
  rows = np.concatenate([retain for _, retain in drawn(tokens, "cyclic", steps=n)])
  assert np.bincount(rows, minlength=n).tolist() == [8] * n


def test_random_draws_anew_with_replacement(tokens):
  n = len(tokens.data.sets["retain"])
  rows = np.concatenate([retain for _, retain in drawn(tokens, "random", steps=n)])
  counts = np.bincount(rows, minlength=n)
  assert len(counts) == n and counts.sum() == 8 * n
  assert 4 < counts.var() < 14  # binomial: nearly 8
  assert len({tuple(retain) for _, retain in drawn(tokens, "random")}) == 30


def test_one_to_one_gives_every_sample_its_own_partner_for_good(tokens):
  pairs = {(f, r) for forget, retain in drawn(tokens, "one_to_one") for f, r in zip(forget.tolist(), retain.tolist())}
  m = len(tokens.data.sets["forget"])
  assert len(pairs) == len({f for f, _ in pairs}) == len({r for _, r in pairs}) == m
  assert all(len(forget) == len(retain) == 4 for forget, retain in drawn(tokens, "one_to_one"))


def test_anchored_on_retain_what_is_kept_goes_through_its_epochs(tokens):
  n, m = (len(tokens.data.sets[name]) for name in ("retain", "forget"))
  some = drawn(tokens, "random", steps=n, anchor="retain")
  kept = np.concatenate([retain for _, retain in some])
  assert np.bincount(kept, minlength=n).tolist() == [8] * n
  gone = np.bincount(np.concatenate([forget for forget, _ in some]), minlength=m)
  assert gone.sum() == 4 * n and len(set(gone.tolist())) > 1  # drawn, not walked


def test_anchored_on_retain_one_to_one_fixes_a_partner_for_every_row_kept(several):
  draw = requests.batch({"forget": 1, "near": 1, "world": 1}, pairing="one_to_one", anchor="retain")
  some = [draw(0, several, t) for t in range(8)]
  pairs = {(int(batch["near"]["row"][0]), int(batch["forget"]["row"][0])) for batch in some}
  assert len(pairs) == len({kept for kept, _ in pairs}) == 2  # both rows of `near`, each with one partner
  assert all(int(batch["world"]["row"][0]) == 0 for batch in some)


@pytest.mark.parametrize("pairing", ["random", "one_to_one"])
def test_pairings_are_functions_of_seed_and_step_for_every_set(several, pairing):
  draw = requests.batch({"forget": 2, "near": 2, "world": 2}, pairing=pairing)
  for t in (0, 5):
    jax.tree.map(np.testing.assert_array_equal, draw(7, several, t), draw(7, several, t))
  rows = draw(7, several, 0)["world"]["row"]
  assert set(rows) == {0} and len(rows) == (2 if pairing == "one_to_one" else 1)


def test_retaining_the_neighbours_keeps_them(tokens):
  """Persons who have a city or a job in common with somebody forgotten, against retaining the others alone."""
  named = facts.data("kgtiny", near=("born", "job"))
  sets = {name: np.intersect1d(tokens.data.sets["retain"], named.sets[name]) for name in ("neighbour", "far")}
  asked = tokens._replace(data=Data(tokens.data.arrays, {**tokens.data.sets, **sets}, tokens.data.info))
  kept = {}
  for name, weights in (("without", {"far": 1.0}), ("with", {"far": 0.5, "neighbour": 0.5})):
    method = graddiff.method(rate=4e-3, steps=40, forget_batch=16, retain_batch=20, retain_sets=weights)
    changed = loop.fit(method, asked, mode="one", steps_per_call=20)
    scores = utility.scores(asked._replace(subject=changed), ("forget", "neighbour", "far"))
    kept[name] = {key: scores[f"{key}/ex"].value for key in ("forget", "neighbour", "far")}
  assert kept["with"]["neighbour"] >= kept["without"]["neighbour"] + 0.2
  assert kept["with"]["forget"] <= 0.15 and kept["with"]["far"] >= 0.8


def test_sets_to_retain_without_a_retain_term_are_refused():
  with pytest.raises(Invalid, match="method.retain_sets.*'none'"):
    graddiff.method(retain="none", retain_sets={"near": 1.0})
  with pytest.raises(Invalid, match="method.anchor.*'none'"):
    graddiff.method(retain="none", pairing="random", anchor="retain")


@pytest.mark.parametrize("settings, named", [
  (dict(pairing="1:2"), "method.pairing"), (dict(pairing="random", anchor="world"), "method.anchor"),
  (dict(anchor="retain"), "method.anchor.*'cyclic'"), (dict(retain_sets={"near": -1.0}), "method.retain_sets.near"),
  (dict(retain_sets={"forget": 1.0}), "method.retain_sets"),
  (dict(retain_sets={"near": 1.0}, keep=("world",)), "method.keep"), (dict(retain_sets={"absent": 1.0}), "absent"),
])  # fmt: skip
def test_what_cannot_be_paired_is_named(several, settings, named):
  for factory in (graddiff.method, rmu.method, compromise.method):
    with pytest.raises(Invalid, match=named):
      factory(**settings).init(jax.random.key(0), several)
