"""Optimisers, schedules and masks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.train import optim

PARAMS = {"body": {"w": jnp.float32([[1, -2], [0.5, -0.0]])}, "head": {"w": jnp.float32([3, -0.0, 1e-38])}}
GRADS = jax.tree.map(lambda x: jnp.cos(x) + jnp.float32(0.5), PARAMS)


def run(tx, steps=4):
  def step(carry, _):
    params, state = carry
    updates, state = tx.update(GRADS, state, params)
    return (optax.apply_updates(params, updates), state), None

  return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), None, steps)[0][0]


def assert_same(a, b, **kw):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7, **kw), a, b)


@pytest.mark.parametrize("ours, theirs", [
  (dict(name="sgd", momentum=0.0), lambda: optax.sgd(0.1)),
  (dict(name="sgd", momentum=0.8, nesterov=True), lambda: optax.sgd(0.1, 0.8, True)),
  (dict(name="adam", b1=0.8), lambda: optax.adam(0.1, b1=0.8)),
  (dict(name="adamw", weight_decay=0.2), lambda: optax.adamw(0.1, weight_decay=0.2)),
  (dict(name="lion", b2=0.99, weight_decay=0.1), lambda: optax.lion(0.1, weight_decay=0.1)),
  (dict(name="rmsprop"), lambda: optax.rmsprop(0.1)),
  (dict(name="sgd", momentum=0.0, clip=0.5), lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1))),
])  # fmt: skip
def test_the_optimisers_are_those_of_optax(ours, theirs):
  with jax.numpy_dtype_promotion("standard"):
    wanted = run(theirs())
  assert_same(run(optim.make(rate=0.1, steps=9, **ours)), wanted)


def test_weight_decay_of_sgd_is_added_to_the_gradient():
  out = run(optim.make("sgd", 0.1, 9, momentum=0.0, weight_decay=0.5), steps=1)
  assert_same(out, jax.tree.map(lambda p, g: p - 0.1 * (g + 0.5 * p), PARAMS, GRADS))


def test_normalised_steps_have_the_length_of_the_rate_whatever_the_gradient_and_its_clip():
  away = jax.tree.map(jnp.subtract, run(optim.make("normalised", 0.1, 9), steps=1), PARAMS)
  np.testing.assert_allclose(optax.global_norm(away), 0.1, rtol=1e-4)
  assert_same(away, jax.tree.map(lambda g: -0.1 * g / optax.global_norm(GRADS), GRADS))
  alone = run(optim.make("normalised", 0.1, 9, clip=1e-3, train="^body"), steps=1)["body"]["w"] - PARAMS["body"]["w"]
  np.testing.assert_allclose(jnp.linalg.norm(alone), 0.1, rtol=1e-4)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_leaves_outside_the_mask_keep_every_bit(name):
  out = run(optim.make(name, 0.1, 9, weight_decay=0.3, clip=1.0, train="^body"))
  bits = lambda x: np.asarray(x).view(np.uint32)
  np.testing.assert_array_equal(bits(out["head"]["w"]), bits(PARAMS["head"]["w"]))
  assert (np.asarray(out["body"]["w"]) != np.asarray(PARAMS["body"]["w"])).all()


def test_entries_outside_of_where_keep_every_bit_and_the_others_move_as_if_alone():
  hit = {"body": {"w": jnp.array([[True], [False]])}, "head": {"w": jnp.array([False, False, True])}}
  tx = optim.make("adamw", 0.1, weight_decay=0.1)
  whole, part = run(tx), run(optim.where(tx, hit))
  for name, there in (("body", hit["body"]["w"]), ("head", hit["head"]["w"])):
    want = np.where(there, whole[name]["w"], PARAMS[name]["w"])  # adamw treats every entry for itself
    assert want.tobytes() == np.asarray(part[name]["w"]).tobytes(), "decay and -0.0 included"


def test_clipping_sees_the_trained_leaves_only():
  out = run(optim.make("sgd", 1.0, 9, momentum=0.0, clip=0.25, train="head"), steps=1)
  np.testing.assert_allclose(np.linalg.norm(out["head"]["w"] - PARAMS["head"]["w"]), 0.25, rtol=1e-5)


def test_a_mask_that_matches_nothing_names_leaves_that_exist():
  with pytest.raises(Invalid, match="train.trainable.*body/w"):
    optim.make(train="layer_9").init(PARAMS)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_traced_rate_gives_what_a_number_gives(name):
  make = lambda rate: optim.make(name, rate, 20, schedule="cosine", warmup=3, final=0.1)
  many = jax.jit(jax.vmap(lambda rate: run(make(rate))))(jnp.float32([0.1, 0.01]))
  for i, rate in enumerate((0.1, 0.01)):
    assert_same(jax.tree.map(lambda x, i=i: x[i], many), run(make(rate)))


@pytest.mark.parametrize("schedule, theirs", [
  ("constant", lambda: optax.join_schedules([optax.linear_schedule(0, 1, 10), lambda t: 1.0], [10])),
  ("cosine", lambda: optax.warmup_cosine_decay_schedule(0, 1, 10, 100, end_value=0.2)),
  ("linear", lambda: optax.join_schedules([optax.linear_schedule(0, 1, 10), optax.linear_schedule(1, 0.2, 90)], [10])),
  ("step", lambda: optax.join_schedules(
    [optax.linear_schedule(0, 1, 10), optax.piecewise_constant_schedule(1.0, {45: 0.1, 68: 0.1})], [10])),
])  # fmt: skip
def test_unit_schedules_are_those_of_optax(schedule, theirs):
  ours = optim.unit(schedule, 100, warmup=10, final=0.2)
  at = [0, 1, 5, 9, 10, 11, 40, 56, 70, 90, 99, 100, 150]
  with jax.numpy_dtype_promotion("standard"):
    wanted = [float(theirs()(t)) for t in at]
  np.testing.assert_allclose([float(ours(jnp.int32(t))) for t in at], wanted, atol=1e-6)


def test_the_rate_scales_the_schedule():
  tx = optim.make("sgd", 0.5, 10, momentum=0.0, schedule="linear", warmup=2)
  state, sizes = tx.init(PARAMS), []
  for _ in range(4):
    updates, state = tx.update(GRADS, state, PARAMS)
    sizes.append(float(-updates["head"]["w"][0] / GRADS["head"]["w"][0]))
  np.testing.assert_allclose(sizes, [0, 0.25, 0.5, 0.4375], atol=1e-6)


@pytest.mark.parametrize("wrong, field", [
  (dict(name="adamm"), "optimizer"), (dict(rate=-1.0), "rate"), (dict(schedule="cos"), "schedule"),
  (dict(rate=float("nan")), "rate"), (dict(warmup=9, steps=9), "warmup"), (dict(clip=-1.0), "clip"),
  (dict(weight_decay=-0.1), "weight_decay"),
])  # fmt: skip
def test_wrong_values_are_named(wrong, field):
  with pytest.raises(Invalid, match=f"train.{field}"):
    optim.make(**{"steps": 10, **wrong})


def test_a_traced_clip_of_zero_clips_nothing_like_a_plain_zero():
  grads = {"w": jnp.full((3,), 5.0)}

  def moved(clip):
    tx = optim.make("sgd", 0.1, clip=clip, momentum=0.0)
    return tx.update(grads, tx.init(grads), grads)[0]["w"]

  np.testing.assert_allclose(jax.jit(moved)(0.0), moved(0.0))
  np.testing.assert_allclose(jax.jit(moved)(1.0), moved(1.0))
  assert not np.allclose(moved(0.0), moved(1.0))


def test_an_infinite_rate_is_refused():
  with pytest.raises(Invalid, match="train.rate"):
    optim.make("sgd", float("inf"))
