"""Steps on pixels whose best result is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.train import pgd

SHAPE, EPS = (3, 4, 4, 2), 0.1
RNG = np.random.default_rng(0)
SLOPE = jnp.asarray(RNG.normal(size=SHAPE), jnp.float32)
GREY = jnp.full(SHAPE, 0.5)


def linear(delta, key):
  del key
  return jnp.sum(SLOPE * delta, axis=(1, 2, 3))


def run(fn=pgd.ascend, loss=linear, x=GREY, start="zeros", eps=EPS, step_size=0.03, steps=30, **kw):
  return jax.jit(lambda eps: fn(loss, x, start, eps, step_size, steps, **kw))(eps)


def norms(delta):
  return np.sqrt(np.square(np.asarray(delta, np.float64)).sum((1, 2, 3)))


@pytest.mark.parametrize("fn, sign", [(pgd.ascend, 1), (pgd.descend, -1)])
def test_a_linear_loss_ends_at_its_optimum_in_the_cube_and_in_the_ball(fn, sign):
  np.testing.assert_allclose(run(fn), sign * EPS * np.sign(SLOPE), atol=1e-7)
  unit = np.asarray(SLOPE) / norms(SLOPE)[:, None, None, None]
  np.testing.assert_allclose(run(fn, norm="l2"), sign * EPS * unit, atol=1e-6)


@pytest.mark.parametrize("norm, length", [("linf", lambda d: np.abs(d).max((1, 2, 3))), ("l2", norms)])
def test_a_step_has_the_length_that_was_asked_for_in_every_picture(norm, length):
  scales = jnp.asarray([1.0, 1e-20, 1e15])[:, None, None, None]  # the squares of the second vanish in float32
  delta = pgd.move(jnp.zeros(SHAPE), scales * SLOPE, 1.0, 0.03, norm)
  np.testing.assert_allclose(length(np.asarray(delta)), 0.03, rtol=1e-5)
  np.testing.assert_allclose(delta, pgd.move(jnp.zeros(SHAPE), SLOPE, 1.0, 0.03, norm), rtol=1e-5)


@pytest.mark.parametrize("norm", pgd.NORMS)
def test_pictures_stay_in_their_box_and_perturbations_in_their_ball(norm):
  x = jnp.asarray(RNG.choice([0.0, 0.02, 0.97, 1.0], SHAPE), jnp.float32)
  delta = np.asarray(run(x=x, norm=norm, eps=0.3, step_size=0.1))
  assert (np.asarray(x) + delta).min() >= 0 and (np.asarray(x) + delta).max() <= 1
  assert (np.abs(delta).max() if norm == "linf" else norms(delta).max()) <= 0.3 + 1e-6
  if norm == "linf":  # the best point of both is known
    wanted = np.clip(np.asarray(x) + 0.3 * np.sign(SLOPE), 0, 1) - np.asarray(x)
    np.testing.assert_allclose(delta, wanted, atol=1e-6)


@pytest.mark.parametrize("norm", pgd.NORMS)
@pytest.mark.parametrize("start", ["zeros", "uniform", jnp.full(SHAPE, 0.2)])
def test_without_a_budget_nothing_moves(norm, start, key):
  delta = run(start=start, eps=0.0, norm=norm, key=key, restarts=2, steps=3)
  np.testing.assert_array_equal(delta, jnp.zeros(SHAPE))


def test_a_gradient_of_zero_leaves_the_perturbation_where_it_is():
  flat = lambda delta, key: 0 * jnp.sum(delta, axis=(1, 2, 3))
  start = pgd.project(0.01 * SLOPE, EPS, "l2")
  for norm in pgd.NORMS:
    np.testing.assert_allclose(run(loss=flat, start=start, norm=norm, steps=5), start, rtol=1e-6)
  assert float(jnp.abs(pgd.direction(jnp.zeros(SHAPE), "l2")).max()) == 0


def waves(delta, key):
  """Many hills of unlike height in every value."""
  del key
  return jnp.sum(jnp.sin(60 * delta + SLOPE) + 3 * delta, axis=(1, 2, 3))


def test_restarts_are_never_worse_than_the_first_run_and_sometimes_better(key):
  take = lambda n: waves(run(loss=waves, start="uniform", step_size=0.01, steps=20, key=key, restarts=n), None)
  one, two, many = take(1), take(2), take(6)
  assert (two >= one - 1e-5).all() and (many >= two - 1e-5).all() and (many > one + 0.1).any()


def test_each_picture_keeps_its_own_best_of_the_restarts(key):
  hill = jnp.asarray([0.05, -0.05, 0.02])[:, None, None, None]
  ends = jnp.stack([jnp.full(SHAPE, v) for v in (0.05, -0.05, 0.02)])
  seen = lambda delta, key: -jnp.sum(jnp.abs(delta - hill), axis=(1, 2, 3))
  best = run(loss=seen, start=ends[0], steps=0, restarts=8, key=key)
  np.testing.assert_allclose(best[0], ends[0, 0], atol=1e-7)  # begins at its best
  others = [run(loss=seen, start="uniform", steps=0, restarts=n, key=key) for n in (1, 8)]
  assert (seen(others[1], None) >= seen(others[0], None)).all() and (seen(best, None) >= seen(ends[0], None)).all()


@pytest.mark.parametrize("norm", pgd.NORMS)
def test_random_starts_fill_the_ball_evenly(norm, key):
  delta = np.asarray(pgd.uniform(key, (4000, 1, 2, 1), 0.5, norm))[:, 0, :, 0]
  radius = np.abs(delta).max(1) if norm == "linf" else np.linalg.norm(delta, axis=1)
  assert radius.max() <= 0.5 + 1e-6
  np.testing.assert_allclose(np.quantile(radius, [0.25, 0.5, 0.75]), 0.5 * np.sqrt([0.25, 0.5, 0.75]), atol=0.015)
  np.testing.assert_allclose(delta.mean(0), 0, atol=0.02)


def test_traced_budgets_equal_constants_and_vmap_runs_several_at_once(key):
  budgets = jnp.asarray([0.02, 0.1])
  many = jax.vmap(lambda eps: pgd.ascend(linear, GREY, "uniform", eps, eps / 4, 6, "l2", key, 2))(budgets)
  for eps, found in zip((0.02, 0.1), many):
    np.testing.assert_allclose(pgd.ascend(linear, GREY, "uniform", eps, eps / 4, 6, "l2", key, 2), found, atol=1e-6)


def test_unrolled_steps_equal_the_loop_and_every_step_draws_anew(key):
  noisy = lambda delta, key: jnp.sum(jax.random.normal(key, SHAPE) * delta, axis=(1, 2, 3))
  take = lambda **kw: run(loss=noisy, steps=3, key=key, restarts=2, **kw)
  np.testing.assert_allclose(take(convolutional=True), take(), atol=1e-7)
  one, three = run(loss=noisy, steps=1, key=key), run(loss=noisy, steps=3, key=key)
  assert len(np.unique(np.round(np.abs(three) / 0.03))) > 1 and np.allclose(np.abs(one), 0.03)


def test_bytes_are_pictures_too():
  x = jnp.full(SHAPE, 254, jnp.uint8)
  np.testing.assert_allclose(run(x=x), np.where(SLOPE > 0, 1 / 255, -EPS), atol=1e-6)


@pytest.mark.parametrize("bad, field", [
  ({"norm": "l1"}, "norm"), ({"steps": -1}, "steps"), ({"restarts": 0}, "restarts"), ({"start": "normal"}, "start"),
  ({"restarts": 2}, "key"), ({"start": "uniform"}, "key"),
])  # fmt: skip
def test_what_does_not_fit_is_named(bad, field):
  with pytest.raises(Invalid, match=field):
    run(**bad)
