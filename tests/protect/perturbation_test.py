import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.models import generator
from ue_jax.protect import perturbation
from ue_jax.train import pgd

SHAPE = (8, 8, 3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pixels_descend_by_steps_of_one_length_and_stay_in_the_ball(norm, key):
  form = perturbation.direct(SHAPE, step_size=0.01, norm=norm)
  gradient = jax.random.normal(key, SHAPE)
  delta = form.update(form.init(key, 0.05), gradient, 0.05, jnp.int32(0))
  length = lambda d: float(jnp.abs(d).max()) if norm == "linf" else float(jnp.linalg.norm(d.ravel()))
  assert length(delta) == pytest.approx(0.01, rel=1e-5) and float(jnp.vdot(delta, gradient)) < 0
  for _ in range(10):
    delta = form.update(delta, gradient, 0.05, jnp.int32(0))
  assert length(delta) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_step_is_the_one_that_everything_takes_downhill(norm, key):
  delta, gradient = jax.random.normal(key, (2, *SHAPE)) * 0.01
  moved = perturbation.direct(SHAPE, step_size=0.02, norm=norm).update(delta, gradient, 0.05, jnp.int32(0))
  np.testing.assert_array_equal(moved, pgd.move(delta, -gradient, 0.05, 0.02, norm))
  length = jnp.linalg.norm(gradient.ravel())
  wanted = delta - 0.02 * (jnp.sign(gradient) if norm == "linf" else gradient / length)
  ball = jnp.clip(wanted, -0.05, 0.05) if norm == "linf" else wanted * min(1.0, 0.05 / jnp.linalg.norm(wanted.ravel()))
  np.testing.assert_allclose(moved, ball, atol=1e-7)


def test_without_a_step_size_a_tenth_of_the_budget_is_taken(key):
  form = perturbation.direct(SHAPE)
  delta = form.update(form.init(key, 0.2), jnp.ones(SHAPE), 0.2, jnp.int32(0))
  np.testing.assert_allclose(delta, -0.02, rtol=1e-5)


def test_random_starts_lie_on_the_edge_of_the_budget(key):
  signs = perturbation.direct(SHAPE, start="sign").init(key, 0.1)
  np.testing.assert_allclose(jnp.abs(signs), 0.1, rtol=1e-6)
  assert abs(float(signs.mean())) < 0.03
  ball = perturbation.direct(SHAPE, norm="l2", start="sign").init(key, 0.1)
  assert float(jnp.linalg.norm(ball.ravel())) == pytest.approx(0.1, rel=1e-5)


def test_a_generator_is_cut_or_scaled_into_the_budget(key):
  net = generator.model(width=2, blocks=1)
  make = lambda **kw: perturbation.generated(net, SHAPE, 10, **kw)
  carry = make().init(key, 0.05)
  assert 0 <= float(carry.latent.min()) and float(carry.latent.max()) <= 1
  raw = jax.jit(lambda params, z: net.apply(params, z, train=True).features[0])(carry.params, carry.latent[None])
  value = lambda form: jax.jit(form.value)(carry.params, carry, 0.05)
  np.testing.assert_allclose(value(make()), jnp.clip(raw, -0.05, 0.05), atol=1e-6)
  np.testing.assert_allclose(value(make(squash="tanh")), 0.05 * raw, atol=1e-6)
  ball = value(make(norm="l2"))
  assert float(jnp.linalg.norm(ball.ravel())) == pytest.approx(0.05, rel=1e-5)
