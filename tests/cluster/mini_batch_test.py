import jax
import numpy as np
import pytest

from ue_jax.cluster import k_means, mini_batch
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.train import loop


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(8, 5)) * 6
  x = (centers[rng.integers(0, 8, 2000)] + rng.normal(size=(2000, 5))).astype(np.float32)
  index = np.arange(2000, dtype=np.int32)
  return Data({"x": x, "index": index}, {"train": index[:1600], "test": index[1600:]})


@pytest.fixture(scope="module")
def procedure():
  return mini_batch.cluster(8, "x", batch_size=200, steps=60, patience=0)


def test_the_inertia_comes_near_that_of_all_rows_at_once():
  """Digits with the settings that a user has who sets nothing; three seeds of each side."""
  from sklearn.datasets import load_digits

  x = load_digits().data.astype(np.float32)
  rows = np.arange(len(x), dtype=np.int32)
  data, by_batches = Data({"x": x, "index": rows}, {"train": rows}), mini_batch.cluster(10, "x")
  costs = [float(loop.fit(by_batches, data, seed=seed).cost) for seed in range(3)]
  whole = [float(k_means.fit(x, 10, key=jax.random.key(seed)).cost) for seed in range(3)]
  assert np.mean(costs) <= 1.05 * np.mean(whole)
  seeded = by_batches.finish(by_batches.init(jax.random.key(0), data), data)
  assert float(seeded.cost) > 1.2 * np.mean(whole)  # before the first batch


def test_centres_are_the_means_of_all_they_have_taken(data):
  """With centres that take the same rows throughout, the running mean is the mean."""
  x = np.concatenate([np.full((50, 2), -9.0), np.full((50, 2), 9.0)]) + np.random.default_rng(1).normal(size=(100, 2))
  x = x.astype(np.float32)
  state = mini_batch.begin(jax.random.key(0), np.float32([[-5, -5], [5, 5]]))
  update = jax.jit(mini_batch.update)
  for part in (x[0::4], x[1::4], x[2::4], x[3::4]):
    state, metrics = update(state, part, np.ones(25, np.float32))
  np.testing.assert_allclose(state.centers, [x[:50].mean(0), x[50:].mean(0)], atol=1e-4)
  assert state.counts.tolist() == [50, 50]


def test_padding_counts_for_nothing(data):
  state = mini_batch.begin(jax.random.key(0), data.arrays["x"][:8])
  rows = data.arrays["x"][:64]
  half = np.concatenate([rows[:32], 100 + rows[:32]])
  again = np.concatenate([rows[:32], rows[:32]])
  update, mask = jax.jit(mini_batch.update), np.repeat(np.float32([1, 0]), 32)
  a, _ = update(state, again, mask)
  b, _ = update(state, half, mask)
  np.testing.assert_allclose(a.centers, b.centers, atol=1e-4)


def test_starved_centres_are_moved_and_a_flat_inertia_ends_the_run(data, key):
  x = data.arrays["x"]
  far = np.concatenate([x[:7], np.full((1, 5), 1e3, np.float32)])
  state = mini_batch.begin(key, far)
  update = jax.jit(mini_batch.update)
  for t in range(60):
    state, _ = update(state, x[(t * 200) % 2000 :][:200], np.ones(200, np.float32))
  assert np.abs(np.asarray(state.centers)).max() < 100
  run = loop.fit(mini_batch.cluster(8, "x", batch_size=200, steps=400, patience=5), data)
  assert bool(run.converged) and int(run.steps) < 400


def test_every_row_gets_a_label_though_one_set_is_fitted(data, procedure):
  found = loop.fit(mini_batch.cluster(8, "x", data_set="train", batch_size=200, steps=60, patience=0), data)
  assert found.labels.shape == (2000,) and len(np.unique(found.labels)) == 8


def test_values_out_of_range_are_named(data):
  with pytest.raises(Invalid, match=r"cluster\.k"):
    mini_batch.cluster(0)
  with pytest.raises(Invalid, match=r"cluster\.k"):
    mini_batch.cluster(3000, "x").init(jax.random.key(0), data)
