import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.forget import likeness
from ue_jax.parallel import spread

RNG = np.random.default_rng(0)
C, D = (RNG.uniform(0, 2, n).astype(np.float32) for n in (5, 7))


def test_phi_is_the_sum_of_exp_of_m_over_m_plus_one_and_lies_between_n_and_e_n():
  e, o = RNG.normal(size=(2, 6, 4)).astype(np.float32)
  mask = np.float32([1, 1, 0, 1, 1, 0])
  m = np.sum((np.float64(o) - e) ** 2, axis=1)
  np.testing.assert_allclose(likeness.phi(o, e, mask), np.sum(mask * np.exp(m / (m + 1))), rtol=1e-5)
  assert float(likeness.phi(e, e, mask)) == 4
  assert 4 * np.e * 0.999 < float(likeness.phi(e + 1e3, e, mask)) <= 4 * np.e * (1 + 1e-6)


def test_apart_is_one_minus_the_cosine():
  e = np.float32([[1, 0], [1, 0], [1, 0], [0, 0]])
  before = np.float32([[3, 0], [0, 2], [-1, 0], [1, 1]])
  np.testing.assert_allclose(likeness.apart(e, before), [0, 1, 2, 1], atol=1e-6)
  slope = jax.jit(jax.grad(lambda x: jnp.sum(likeness.apart(x, jnp.asarray(before)))))(jnp.asarray(e))
  assert np.isfinite(slope).all()  # a row of zeros, too


def oracle(c, d, tau):
  return np.sum(c - np.log(np.sum(np.exp(d / tau))))


def test_the_alignment_has_the_value_and_the_gradient_of_its_formula():
  ones = lambda x: np.ones(len(x), np.float32)
  for tau in (0.02, 5.0):
    value = likeness.alignment(C, D, ones(C), ones(D), tau)[1]
    np.testing.assert_allclose(value, oracle(np.float64(C), np.float64(D), tau), rtol=1e-4)
  slope = jax.jit(jax.grad(lambda c, d: likeness.alignment(c, d, ones(C), ones(D), 5.0)[0], argnums=(0, 1)))
  gc, gd = slope(C, D)
  weights = np.exp(np.float64(D) / 5)
  np.testing.assert_allclose(gc, np.ones(5), rtol=1e-6)
  np.testing.assert_allclose(gd, -5 / 5 * weights / weights.sum(), rtol=1e-4)


def test_where_nothing_has_moved_it_is_minus_n_r_log_n_f():
  zeros = lambda n: (np.zeros(n, np.float32), np.ones(n, np.float32))
  (c, r), (d, f) = zeros(5), zeros(7)
  np.testing.assert_allclose(likeness.alignment(c, d, r, f, 20.0)[1], -5 * np.log(7), rtol=1e-6)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_parts_on_devices_add_up_and_padding_leaves_no_trace(mode):
  def step(state, batch, axis=None):
    def loss(by):
      r, f = batch["retain"], batch["forget"]
      return likeness.alignment(by * r["x"], by * f["x"] ** 2, r["mask"], f["mask"], 3.0, axis)

    slope, value = jax.grad(loss, has_aux=True)(state)
    return spread.allsum(slope, axis), {"value": value}

  part = lambda x: {"x": x, "mask": np.ones(len(x), np.float32)}
  batch = {"retain": part(C), "forget": part(D)}
  run = lambda how, n: spread.spread(step, mode=how, devices=jax.devices()[:n])(jnp.float32(0.7), batch)
  one, many = run("one", 1), run(mode, 4)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, many)
  np.testing.assert_allclose(one[1]["value"], oracle(0.7 * C, 0.7 * D**2, 3.0), rtol=1e-5)
