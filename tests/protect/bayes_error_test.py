"""Bayes error: the estimator and its closed form against dense float64, and crafting against noise of equal size."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import embedded
from ue_jax.models import mlp
from ue_jax.protect import bayes_error, bayes_estimate
from ue_jax.train import checkpoint, loop

CLASSES = 3
# Compiled with care: 180 steps over all pairs of 2000 rows.
CARE = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
if "xla_cpu_use_fusion_emitters=false" in os.environ.get("XLA_FLAGS", ""):
  CARE["xla_cpu_use_fusion_emitters"] = True
fast = functools.partial(jax.jit, compiler_options=CARE)
error = jax.jit(bayes_estimate.error, static_argnames=("classes", "similarity", "chunk"))


def cloud(n=60, d=5, seed=0):
  draw = np.random.RandomState(seed)
  labels = draw.randint(0, CLASSES, n)
  return (draw.randn(n, d) + labels[:, None]).astype(np.float32), labels.astype(np.int32)


def oracle(u, labels, sigma=1.0, similarity="rbf", voters=None, floor=1e-8):
  """The estimate in float64, one row after the other."""
  u, total = np.asarray(u, np.float64), 0.0
  for i in range(len(u)):
    others = [j for j in (range(len(u)) if voters is None else voters) if j != i]
    s = [np.exp(-np.sum((u[i] - u[j]) ** 2) / (2 * sigma**2)) if similarity == "rbf" else 1 / (1 + np.exp(-u[i] @ u[j]))
         for j in others]
    votes = np.bincount(labels[others], weights=s, minlength=CLASSES)
    total += 1 - votes.max() / (np.sum(s) + floor)
  return total / len(u)


def dense(u, labels, sigma, similarity, voters):
  """The same for autodiff, with all differences `[n, m, d]`."""
  v = u[voters]
  d = u[:, None] - v[None]
  s = jnp.exp(-jnp.sum(d * d, -1) / (2 * sigma**2)) if similarity == "rbf" else jax.nn.sigmoid(u @ v.T)
  s = jnp.where(jnp.arange(len(u))[:, None] == voters[None], 0, s)
  votes = s @ jax.nn.one_hot(labels[voters], CLASSES, dtype=u.dtype)
  return jnp.mean(1 - jnp.max(votes, 1) / (jnp.sum(s, 1) + 1e-8))


def relative(a, b):
  return np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)


CASES = [("rbf", None), ("logistic", None), ("rbf", np.arange(0, 60, 4))]


@functools.cache
def value_and_slope(similarity, some, chunk):
  u, labels = cloud()
  voters = jnp.arange(0, 60, 4, dtype=jnp.int32) if some else None
  how = dict(anchors=voters, similarity=similarity, chunk=chunk)
  return jax.jit(jax.value_and_grad(lambda u, sigma: bayes_estimate.error(u, labels, CLASSES, sigma, **how), (0, 1)))(
    u, jnp.float32(1)
  )


@pytest.mark.parametrize("similarity, voters", CASES)
def test_the_estimate_is_that_of_a_loop_in_float64(similarity, voters):
  u, labels = cloud()
  wanted = oracle(u, labels, 1.0, similarity, voters)
  got, _ = value_and_slope(similarity, voters is not None, 16)
  assert 0.1 < wanted < 0.6 and abs(float(got) - wanted) < 1e-6


@pytest.mark.parametrize("similarity, voters", CASES)
def test_the_closed_form_is_the_gradient_of_the_dense_form(similarity, voters):
  u, labels = cloud()
  who = jnp.arange(60) if voters is None else jnp.asarray(voters)
  slope = jax.jit(jax.grad(lambda u, sigma: dense(u, labels, sigma, similarity, who), (0, 1)))
  wanted = slope(jnp.asarray(u), jnp.float32(1))
  got = value_and_slope(similarity, voters is not None, 16)[1]
  assert relative(got[0], np.asarray(wanted[0], np.float64)) < 1e-5
  assert abs(float(got[1] - wanted[1])) < 1e-6


@pytest.mark.parametrize("similarity, voters", CASES)
def test_the_closed_form_is_the_slope_in_float64_of_the_mean_and_not_of_the_sum(similarity, voters):
  u, labels = cloud()
  slope, h, u = [], 1e-5, u.astype(np.float64)
  at = [(0, 0), (0, 3), (17, 1), (31, 4), (44, 2), (48, 0)]  # 0, 44 and 48 are rows that vote among a quarter, too
  for row in at:
    ends = []
    for sign in (1, -1):
      moved = u.copy()
      moved[row] += sign * h
      ends.append(oracle(moved, labels, 1.0, similarity, voters))
    slope.append((ends[0] - ends[1]) / (2 * h))
  got = np.asarray(value_and_slope(similarity, voters is not None, 16)[1][0])
  assert relative([got[row] for row in at], np.array(slope)) < 1e-5


@pytest.mark.parametrize("chunk", [7, 1024])
def test_the_size_of_a_block_changes_nothing_but_rounding(chunk):
  for a, b in zip(*(jax.tree.leaves(value_and_slope("rbf", False, rows)) for rows in (16, chunk))):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


def test_no_array_of_all_differences_is_made():
  """Neither is one of all pairs: the largest is a block of rows by all of them."""
  u, labels = cloud(n=256, d=8)
  text = str(jax.make_jaxpr(jax.grad(lambda u: bayes_estimate.error(u, labels, CLASSES, 1.0, chunk=16)))(u))
  assert "[16,256]" in text and "256,256" not in text and "16,256,8" not in text


def test_a_row_far_from_all_others_counts_as_an_error_and_moves_nothing():
  u = jnp.asarray([[0.0], [0.1], [50.0]])
  labels = jnp.asarray([0, 0, 1], jnp.int32)
  value, slope = jax.jit(jax.value_and_grad(lambda u: bayes_estimate.error(u, labels, 2, 0.3)))(u)
  assert float(value) == pytest.approx(1 / 3, abs=1e-6) and np.abs(slope).max() < 1e-12


def test_without_a_floor_only_confused_rows_count_however_far_apart_all_are():
  u, labels = cloud()
  at = jax.jit(jax.value_and_grad(lambda u, scale: bayes_estimate.error(u, labels, CLASSES, scale, floor=0.0)))
  (near, slope), (far, tiny) = (at(jnp.float32(scale) * u, jnp.float32(scale)) for scale in (1.0, 1e-3))
  assert float(near) == pytest.approx(oracle(u, labels, floor=0), abs=1e-6) == float(far)
  assert relative(1e-3 * np.asarray(tiny), np.asarray(slope, np.float64)) < 1e-4
  squares = np.sum((u[:, None].astype(np.float64) - u[None]) ** 2, -1) + np.diag(np.full(60, np.inf))
  voters = lambda floor: float(error(u, labels, CLASSES, 0.02, floor=floor))
  assert squares.min() > 0.01 and voters(1e-8) > 0.9, "rows that stand alone are errors"
  assert voters(0.0) < 0.01, "the nearest neighbour alone votes, so no posterior is below one"


def test_posteriors_are_shares_of_the_votes():
  u, labels = cloud()
  p = np.asarray(jax.jit(bayes_estimate.posterior, static_argnums=2)(u, labels, CLASSES, 1.0))
  np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
  assert np.mean(1 - p.max(1)) == pytest.approx(oracle(u, labels), abs=1e-6)


def test_the_median_width_scales_with_the_points_and_the_estimate_does_not():
  u, labels = cloud()
  distances = np.linalg.norm(u[:, None] - u[None], axis=-1)[np.triu_indices(60, 1)]
  assert float(jax.jit(bayes_estimate.median_distance)(u)) == pytest.approx(np.median(distances), rel=1e-4)
  wide = jax.jit(lambda u: bayes_estimate.error(u, labels, CLASSES, "median"))
  small, large = float(wide(u)), float(wide(64 * u))
  assert small == pytest.approx(large, rel=1e-4)


def test_the_bayes_error_is_concave_in_the_distribution():
  """Exactly, on histograms of 20 cells and 3 classes: mixing in clean data cannot undo it at that level."""
  draw = np.random.RandomState(0)
  for _ in range(1000):
    p, q = draw.dirichlet(np.full(60, 0.3), 2).reshape(2, 20, 3)
    r = draw.rand()
    ends = (1 - r) * bayes_estimate.of_histogram(p) + r * bayes_estimate.of_histogram(q)
    assert bayes_estimate.of_histogram((1 - r) * p + r * q) >= ends - 1e-12
  assert bayes_estimate.of_histogram(np.full((20, 3), 1 / 60)) == pytest.approx(2 / 3)


def test_classes_moved_together_have_a_larger_error_and_the_same_step_at_random_has_not():
  draw = np.random.RandomState(0)
  labels = np.repeat([0, 1], 150).astype(np.int32)
  u = draw.randn(300, 2).astype(np.float32) + np.where(labels, 2, -2)[:, None].astype(np.float32) * [1, 0]
  u = u.astype(np.float32)
  step = np.where(labels, -1, 1)[:, None] * np.array([[1.0, 0.0]], np.float32)
  turned = np.linalg.norm(step, axis=1, keepdims=True) * _directions(draw, 300)
  before, together, random = (float(error(np.float32(x), labels, 2, 0.5)) for x in (u, u + step, u + turned))
  assert together > before + 0.05 and together > random + 0.03


def _directions(draw, n):
  way = draw.randn(n, 2)
  return way / np.linalg.norm(way, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def moons():
  from sklearn.datasets import make_moons

  return lambda noise, seed=42: make_moons(2000, noise=noise, random_state=seed)


@functools.cache
def estimate():
  return fast(lambda x, y, sigma: bayes_estimate.error(x, y, 2, sigma))


@pytest.mark.parametrize("noise, wanted", [(0.2, (0.0272, 0.0344, 0.1019)), (0.3, (0.0783, 0.0881, 0.1433))])
def test_moons_have_the_errors_of_the_reference(moons, noise, wanted):
  x, y = moons(noise)
  got = [estimate()(x.astype(np.float32), y.astype(np.int32), jnp.float32(s)) for s in (0.05, 0.1, 0.3)]
  np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_ascent_raises_the_error_of_moons_above_noise_and_hurts_a_learner_that_mixing_heals(moons):
  """60 signed steps; a learner of 15 neighbours. Half clean rows give it back nearly all: that is what is measured."""
  from sklearn.neighbors import KNeighborsClassifier

  x, y = moons(0.2)
  fresh, named = moons(0.2, 7)
  x, y = x.astype(np.float32), y.astype(np.int32)
  ascend = fast(lambda eps: bayes_estimate.ascend(x, y, 2, eps, 0.1))
  signs = np.random.RandomState(0).choice([-1, 1], x.shape).astype(np.float32)
  value = lambda u: float(estimate()(u, y, jnp.float32(0.1)))
  knows = lambda u: KNeighborsClassifier(15).fit(u, y).score(fresh, named)
  clean = value(x)
  for eps, least in ((0.1, 2.5), (0.2, 3.2), (0.3, 3.2)):
    moved = np.asarray(ascend(jnp.float32(eps)))
    assert np.abs(moved - x).max() <= eps + 1e-6
    assert value(moved) >= least * clean
    assert eps == 0.3 or value(moved) >= value(x + eps * signs) + 0.03
    mixed = np.concatenate([moved[:1000], x[1000:]])
    assert value(mixed) >= (value(moved) + clean) / 2 - 0.01
  assert knows(moved) <= 0.88 and knows(moved) <= knows(x + 0.3 * signs) - 0.05
  assert knows(mixed) >= 0.9


@pytest.fixture(scope="module")
def digits():
  return embedded.data("digits", train=200, test=50)


NET = mlp.model(widths=(32,))
CRAFT = dict(eps=48 / 255, steps=120, inner=6, batch_size=64, rate=0.1, chunk=64)


@functools.cache
def procedure(**how):
  return bayes_error.protect(NET, **{**CRAFT, **how})


@pytest.fixture(scope="module")
def crafted(digits):
  return loop.fit(procedure(), digits, mode="one")


def features_error(data, seed=5):
  """The estimate in the features of another network, trained on the set and stopped early."""
  from ue_jax.train import supervised

  found = loop.fit(supervised.train(NET, steps=60, batch_size=64, rate=3e-3), data, seed=seed, mode="one")
  rows = data.sets["train"]
  _, u = supervised.predict(NET, found.params, found.state, data.arrays["image"][rows])
  return float(error(np.asarray(u / np.abs(u).max()), data.arrays["label"][rows], 10))


def test_crafting_raises_the_error_that_another_network_sees_above_noise_of_equal_size(digits, crafted):
  rows, image = digits.sets["train"], digits.arrays["image"].copy()
  signs = np.random.RandomState(0).choice([-48, 48], image[rows].shape)
  image[rows] = np.clip(image[rows].astype(np.int16) + signs, 0, 255)
  noisy = features_error(Data({**digits.arrays, "image": image}, digits.sets, digits.info))
  clean, moved = features_error(digits), features_error(crafted)
  assert moved > clean + 0.05 and moved > noisy + 0.05


def test_published_bytes_keep_the_budget_and_test_rows_bear_what_a_row_of_their_class_bears(digits, crafted):
  rows, test = digits.sets["train"], digits.sets["test"]
  added = crafted.sets["test_protected"]
  change = lambda after, before: after.astype(int) - digits.arrays["image"][before]
  train = change(crafted.arrays["image"][rows], rows)
  assert 40 <= np.abs(train).max() <= 48
  assert np.abs(change(crafted.arrays["image"][added], test)).max() <= 48
  state = procedure().init(jax.random.key(0), digits)
  value = (state.label[:, None, None, None] + 1).astype(jnp.float32) / 255
  marked = state._replace(delta=jnp.ones_like(state.delta) * value)
  out = procedure().finish(marked, digits)
  room = digits.arrays["image"][test] <= 200
  moved = (out.arrays["image"][out.sets["test_protected"]].astype(int) - digits.arrays["image"][test])[room]
  assert np.array_equal(moved, np.broadcast_to(digits.arrays["label"][test][:, None, None, None] + 1, room.shape)[room])


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(digits, tmp_path):
  short, keeper, seen = procedure(steps=14), checkpoint.Keeper(tmp_path), []
  go = functools.partial(loop.fit, short, digits, steps_per_call=1, mode="one")
  with pytest.raises(loop.Interrupted):
    go(keeper=keeper, stop=lambda: len(seen) >= 8 or seen.append(0))
  assert tree.fingerprint(go(keeper=keeper).arrays["image"]) == tree.fingerprint(go().arrays["image"])


def walk(procedure, data, steps, step=None):
  step = step or jax.jit(procedure.step)
  state, seen = procedure.init(jax.random.key(0), data), []
  for t in range(steps):
    state, metrics = step(state, procedure.batch(0, data, t))
    seen.append(jax.device_get(metrics))
  return state, seen


@functools.cache
def trained_along():
  """A step with a round of three, and the bar at which the network pauses as an argument."""
  how = {**CRAFT, "inner": 3}
  return jax.jit(lambda enough, state, batch: bayes_error.protect(NET, **how, enough=enough).step(state, batch))


def test_the_network_pauses_while_it_is_right_on_enough_and_no_longer(digits):
  at = lambda enough: functools.partial(trained_along(), jnp.float32(enough))
  still, _ = walk(procedure(), digits, 4, at(0))
  state, seen = walk(procedure(), digits, 20, at(0.15))
  start = procedure().init(jax.random.key(0), digits)
  assert tree.fingerprint(still.net.params) == tree.fingerprint(start.net.params) and int(still.net.step) == 4
  assert tree.fingerprint(state.net.params) != tree.fingerprint(start.net.params)
  assert seen[0]["trained"].total == 1 and seen[-1]["trained"].total == 0


def test_pictures_move_after_every_round_only(digits):
  step = functools.partial(trained_along(), jnp.float32(0.95))
  state, seen = walk(procedure(), digits, 2, step)
  assert int(state.rounds) == 0 and not np.any(state.delta)
  state, seen = walk(procedure(), digits, 6, step)
  assert int(state.rounds) == 2 and np.abs(state.delta).max() == pytest.approx(2 * 4.8 / 255, rel=1e-4)
  assert seen[2]["bayes_error"] == seen[4]["bayes_error"] != seen[5]["bayes_error"]


def test_raw_space_raises_its_own_estimate_with_some_voters_and_in_adam_steps(digits):
  for how in (dict(), dict(anchors=100), dict(optimizer="adamw", step_size=0.02, decay=0.0)):
    raw = bayes_error.protect(space="raw", eps=64 / 255, steps=10, sigma=0.5, **how)
    state, _ = walk(raw, digits, 10)
    first = raw.probe(raw.init(jax.random.key(0), digits), digits)["bayes_error"]
    assert raw.probe(state, digits)["bayes_error"] > 1.2 * first, how
    x = np.asarray(state.image) / 255 + np.asarray(state.delta)
    assert np.abs(state.delta).max() <= 64 / 255 + 1e-6 and x.min() >= -1e-6 and x.max() <= 1 + 1e-6


def test_the_first_adam_step_has_the_length_of_the_rate_and_the_decay_pulls_to_black(digits):
  how = dict(space="raw", optimizer="adamw", sigma=0.5, steps=1, eps=1.0)
  plain, _ = walk(bayes_error.protect(decay=0.0, **how), digits, 1)
  pulled, _ = walk(bayes_error.protect(decay=0.1, **how), digits, 1)
  x = np.asarray(plain.image) / 255
  inside = (x > 0.01) & (x < 0.99)
  np.testing.assert_allclose(np.abs(plain.delta)[inside], 1e-3, rtol=1e-2)
  np.testing.assert_allclose((plain.delta - pulled.delta)[inside], 1e-4 * x[inside], rtol=1e-2, atol=1e-7)


def test_blocks_of_pictures_change_nothing_but_rounding():
  x = jnp.arange(70.0).reshape(14, 5)
  for block in (4, 100):
    np.testing.assert_array_equal(bayes_error._blockwise(lambda part: part**2, block, x), x**2)
  np.testing.assert_array_equal(bayes_error._blockwise(lambda part: part**2, 2, x), x**2)
  add = lambda moved, still: (moved[0] + still[0], moved[1] * still[0][:, :1])
  for block in (2, 3, 4, 100):
    first, second = jax.jit(lambda x, b=block: bayes_error._in_place(add, b, (x, x[:, 0:1]), (x**2,)))(x)
    np.testing.assert_array_equal(first, x + x**2)
    np.testing.assert_array_equal(second, x[:, 0:1] ** 3)


@pytest.mark.parametrize("wrong, field", [
  (dict(sigma=0.0), "sigma"), (dict(sigma="mean"), "sigma"), (dict(similarity="cosine"), "similarity"),
  (dict(space="pixels"), "space"), (dict(optimizer="lion"), "optimizer"), (dict(eps=2.0), "eps"),
  (dict(inner=0), "inner"), (dict(chunk=0), "chunk"), (dict(anchors=1), "anchors"), (dict(model=None), "model"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused(wrong, field):
  with pytest.raises(Invalid, match=f"protect.{field}"):
    bayes_error.protect(**{"model": NET, **wrong})


def test_a_labelling_that_is_not_there_or_too_large_for_the_network_is_refused(digits):
  with pytest.raises(Invalid, match="protect.label"):
    bayes_error.protect(NET, label="colour").init(jax.random.key(0), digits)
  with pytest.raises(Invalid, match="model.classes"):
    bayes_error.protect(mlp.model(classes=4)).init(jax.random.key(0), digits)
