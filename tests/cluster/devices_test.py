"""One, two or four devices come to the same: starts and searches of k-medoids, and steps that are spread."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import alternate, build, dissimilarities, fasterpam, mini_batch, tell
from ue_jax.core.nouns import Data
from ue_jax.parallel.spread import spread

N, K = 42, 6  # over 4 devices the points are padded
MODES = [("jit", 4), ("shard_map", 2), ("shard_map", 4)]


def medoids(state, batch, axis=None):
  """All starts that read dissimilarities, and the naive method from one of them, in one program."""
  source = dissimilarities.matrix(batch["given"], batch["ids"], batch["mask"] > 0, axis)
  starts = {name: build.STARTS[name](source, K, state["key"]) for name in ("build", "lab", "k-means++")}
  found = alternate.search(source, 7 * jnp.arange(K, dtype=jnp.int32), 0, 100)
  return state, {**starts, "alternate": found.now.medoids, "labels": found.now.near, "passes": found.passes}


@pytest.fixture(scope="module")
def alone():
  """Distances with many ties, between points of a grid, and what one device makes of them."""
  x = np.random.default_rng(0).integers(0, 12, (N, 2))
  d = np.abs(x[:, None] - x).sum(-1).astype(np.float32)
  batch = {"given": d, "ids": np.arange(N, dtype=np.int32), "mask": np.ones(N, np.float32)}
  state = {"key": jax.random.key(0)}
  found = spread(medoids, mode="one", devices=jax.devices()[:1])(state, batch)[1]
  for name in ("build", "lab", "k-means++", "alternate"):
    assert len(set(found[name].tolist())) == K
  assert int(found["passes"]) > 1 and len(set(found["alternate"].tolist()) - set(range(0, N, 7))) > 1
  return state, batch, found


@pytest.mark.parametrize("n", [2, 4])
def test_starts_and_the_naive_method_of_k_medoids(alone, n):
  state, batch, one = alone
  many = spread(medoids, mode="shard_map", devices=jax.devices()[:n], batch_axes={"given": 1, "ids": 0, "mask": 0})
  found = many(state, batch)[1]
  for name, value in one.items():
    np.testing.assert_array_equal(found[name], value, name)


def test_a_search_that_takes_no_step_returns_its_start(alone):
  _, batch, one = alone
  found = fasterpam.fit(distances=batch["given"], k=K, max_steps=0, devices=jax.devices()[:2])
  np.testing.assert_array_equal(found.medoids, one["build"])
  assert float(found.cost) == batch["given"][:, np.asarray(one["build"])].min(1).sum()


@functools.cache
def batches():
  """Fourteen rows about two places, and eight centres of which six take hardly any: half a batch may be replaced."""
  x = np.random.default_rng(1).normal(size=(14, 3)).astype(np.float32) + np.repeat([[0.0], [9.0]], 7, 0)
  x = x.astype(np.float32)
  far = 50 + np.arange(18, dtype=np.float32).reshape(6, 3)
  state = mini_batch.begin(jax.random.key(0), jnp.concatenate([x[[0, 7]], far]))
  return state._replace(step=jnp.int32(9)), {"x": x, "mask": np.ones(14, np.float32)}


@pytest.fixture(scope="module")
def batched():
  state, batch = batches()
  step = mini_batch.cluster(8, "x").step
  one = spread(step, mode="one", devices=jax.devices()[:1])(state, batch)
  moved = np.abs(np.asarray(one[0].centers)).max(1) < 49
  assert moved.all(), "six starved centres, at most half of fourteen rows: all of them move"
  return step, one


@pytest.mark.parametrize("mode, n", MODES)
def test_a_mini_batch_and_its_starved_centres(batched, mode, n):
  step, (one, metrics) = batched
  many, seen = spread(step, mode=mode, devices=jax.devices()[:n])(*batches())
  for field in ("centers", "counts", "inertia", "best", "stale", "done", "step"):
    np.testing.assert_allclose(getattr(many, field), getattr(one, field), rtol=1e-5, atol=1e-5, err_msg=field)
  np.testing.assert_allclose(seen["inertia"], metrics["inertia"], rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
  """Two steps of a network of centres, in which encoder and centres both move and unused centres are moved."""
  x = np.random.default_rng(2).random((30, 5)).astype(np.float32)
  data = Data({"x": x, "index": np.arange(30, dtype=np.int32)}, {})
  procedure = tell.cluster(
    6, "mlp", "x", steps=4, batch_size=30, widths=(8,), code=3, lam=0.1, alternate=False, reseed=True
  )
  start = procedure.init(jax.random.key(0), data)

  def run(mode, n):
    step, state = spread(procedure.step, mode=mode, devices=jax.devices()[:n]), start
    for t in range(2):
      state, metrics = step(state, procedure.batch(0, data, t))
    return state.params, metrics

  return start.params, run, run("one", 1)


@pytest.mark.parametrize("mode, n", MODES)
def test_steps_of_a_network_of_centres(trained, mode, n):
  start, run, (one, metrics) = trained
  many, seen = run(mode, n)
  for before, a, b in zip(*map(jax.tree.leaves, (start, one, many))):
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    assert np.abs(np.asarray(a) - before).max() > 1e-4
  for a, b in zip(jax.tree.leaves(metrics), jax.tree.leaves(seen)):
    np.testing.assert_allclose(b, a, rtol=1e-5)
