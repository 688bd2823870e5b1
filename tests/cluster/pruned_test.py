"""The pruned iteration against the plain one, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import k_means, lloyd, pruned

N, D, K = 1500, 8, 40  # more centres than `MOVERS`, so that some are not looked at


def groups(seed, spread, many):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(many, D)) * 4
  return centers[rng.integers(0, many, N)] + spread * rng.normal(size=(N, D))


DATA = {
  "separated": lambda: groups(0, 0.3, K),
  "overlapping": lambda: groups(1, 2.0, 12),
  "one cloud": lambda: np.random.default_rng(2).normal(size=(N, D)),
  "heavy tails": lambda: np.random.default_rng(3).standard_cauchy(size=(N, D)).clip(-50, 50),
  "a curve": lambda: np.random.default_rng(4).uniform(size=(N, 1)) * np.arange(1, D + 1) + 0.01 * groups(4, 1.0, 3),
}


@pytest.fixture(scope="module")
def steps():
  return jax.jit(lloyd.step), jax.jit(pruned.step)


@pytest.mark.parametrize("name", DATA)
def test_labels_equal_those_of_the_plain_iteration_in_every_step(name, steps):
  x = jnp.asarray(DATA[name](), jnp.float32)
  x = x - x.mean(0)
  weights = jnp.asarray(np.random.default_rng(5).choice([0.0, 1.0, 2.5], N, p=[0.1, 0.6, 0.3]), jnp.float32)
  problem = pruned.Problem(x, weights, jnp.sum(x * x, 1), jnp.sum(weights > 0, dtype=jnp.int32))
  start = x[jnp.flatnonzero(weights > 0, size=K)]
  a, b = lloyd.begin(x, start), pruned.begin(x, start)
  for _ in range(40):  # past a refresh of the sums
    a, b = steps[0](x, weights, a), steps[1](problem, b)
    np.testing.assert_array_equal(np.asarray(a.labels)[weights > 0], np.asarray(b.labels)[weights > 0])
    np.testing.assert_allclose(a.centers, b.centers, atol=2e-4)


def test_most_distances_are_left_out(steps):
  """After some steps, bounds keep most rows away from the centres; a bound that never holds would keep none away."""
  x = jnp.asarray(groups(6, 1.0, K), jnp.float32)
  x = x - x.mean(0)
  problem = pruned.Problem(x, jnp.ones(N), jnp.sum(x * x, 1), jnp.int32(N))
  state = pruned.begin(x, x[:K])
  for _ in range(12):
    state = steps[1](problem, state)
  at_rest = float(jnp.mean((state.upper <= state.lower).astype(jnp.float32)))
  own = jnp.sqrt(jnp.sum((x - state.centers[state.labels]) ** 2, 1))
  assert at_rest > 0.75
  # bounds held at the centres from before the last movement
  assert bool(jnp.all(own <= state.upper + state.moves[state.labels]))


def test_empty_clusters_are_filled(steps):
  x = jnp.asarray(DATA["one cloud"](), jnp.float32)
  x = x - x.mean(0)
  problem = pruned.Problem(x, jnp.ones(N), jnp.sum(x * x, 1), jnp.int32(N))
  a, b = lloyd.begin(x, x[jnp.zeros(K, int)]), pruned.begin(x, x[jnp.zeros(K, int)])
  for _ in range(5):
    a, b = steps[0](x, problem.weights, a), steps[1](problem, b)
    assert np.bincount(b.labels, minlength=K).min() > 0
  np.testing.assert_array_equal(a.labels, b.labels)


@pytest.mark.parametrize("engine", ["plain", "pruned"])
def test_devices_do_not_change_the_partition(engine, key):
  x = DATA["overlapping"]().astype(np.float32)[:1499]  # not a multiple of four: padded
  fit = lambda devices: k_means.fit(x, K, key=key, start=x[:K], engine=engine, max_steps=20, devices=devices)
  one, many = fit(None), fit(jax.devices()[:4])
  np.testing.assert_array_equal(one.labels, many.labels)
  assert int(one.steps) == int(many.steps) and many.labels.shape == (1499,)
  np.testing.assert_allclose(one.cost, many.cost, rtol=1e-5)
