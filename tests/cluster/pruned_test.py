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


def test_most_rows_are_left_out_and_none_that_matters(steps):
  """64 groups in 16 dimensions from random rows: a tenth step looks at few rows and still labels all as Lloyd does."""
  rng, n, k = np.random.default_rng(0), 20_000, 64
  x = rng.uniform(-10, 10, (k, 16))[rng.integers(0, k, n)] + rng.normal(size=(n, 16))
  x = jnp.asarray(np.round(8 * x), jnp.float32)  # whole numbers: sums are exact in any order, so equal to the last bit
  problem = pruned.Problem(x, jnp.ones(n), jnp.sum(x * x, 1), jnp.int32(n))
  a, b, looked = lloyd.begin(x, x[:k]), pruned.begin(x, x[:k]), []
  for _ in range(10):
    a, before, b = steps[0](x, problem.weights, a), b, steps[1](problem, b)
    looked.append(int(b.looked) / n)
    np.testing.assert_array_equal(a.labels, b.labels)
  assert looked[0] == 1 and 0 < looked[-1] < 0.25
  assert int(b.changed) > 0  # still under way: at rest nothing is left to look at
  away = np.linalg.norm(np.asarray(x)[:, None] - np.asarray(before.centers), axis=2)
  mine = np.arange(k) == np.asarray(b.labels)[:, None]
  own, other = away[mine], np.where(mine, np.inf, away).min(1)
  assert (own <= np.asarray(b.upper) + 1e-3).all() and (other >= np.asarray(b.lower) - 1e-3).all()
  tight = (np.asarray(b.upper) - own < 1e-3) & (other - np.asarray(b.lower) < 1e-3)
  assert tight.mean() < 0.25  # nor was anyone looked at without being counted


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
