import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ue_jax.cluster import distances
from ue_jax.core.errors import Invalid

NAMES = {"sqeuclidean": "sqeuclidean", "euclidean": "euclidean", "cosine": "cosine", "l1": "cityblock"}


@pytest.mark.parametrize("chunk", [7, 32, 4096])
def test_blocks_give_what_the_whole_difference_tensor_gives(chunk):
  rng = np.random.default_rng(0)
  x, c = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(9, 6)).astype(np.float32)
  full = ((x[:, None].astype(np.float64) - c[None]) ** 2).sum(-1)
  np.testing.assert_allclose(distances.sqeuclidean(jnp.asarray(x), jnp.asarray(c)), full, atol=1e-5)
  labels, sq = distances.assign_top1(jnp.asarray(x), jnp.asarray(c), chunk)
  np.testing.assert_array_equal(labels, full.argmin(1))
  np.testing.assert_allclose(sq, full.min(1), rtol=1e-5)
  first, d1, second, d2 = distances.assign_top2(jnp.asarray(x), jnp.asarray(c), chunk)
  np.testing.assert_array_equal(np.stack([first, second], 1), np.argsort(full, 1)[:, :2])
  np.testing.assert_allclose(np.stack([d1, d2], 1), np.sort(full, 1)[:, :2], atol=1e-5)


def test_distances_are_never_negative_and_zero_for_equal_points():
  x = jnp.asarray(np.random.default_rng(1).normal(size=(200, 30)) * 100, jnp.float32)
  assert float(distances.sqeuclidean(x, x).min()) >= 0
  labels, sq = distances.assign_top1(x, x)
  np.testing.assert_array_equal(labels, np.arange(200))
  assert float(sq.max()) == 0.0


@pytest.mark.parametrize("chunk", [7, 25, 100])
def test_sums_of_clusters_count_every_row_once(chunk):
  rng = np.random.default_rng(2)
  x, w, labels = rng.normal(size=(50, 3)), rng.random(50), rng.integers(0, 4, 50)
  expected = np.stack([(w[:, None] * x)[labels == c].sum(0) for c in range(5)])
  rows, weights = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
  ours = distances.cluster_sums(rows, weights, jnp.asarray(labels, jnp.int32), 5, chunk)
  np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("chunk", [30, 50])
def test_every_metric_equals_scipy_in_float64(chunk):
  """Whole, and by two blocks of which the last overlaps the first."""
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(9, 6)).astype(np.float32)
  y[:2] = 3 * x[:2]  # in the same direction, elsewhere
  assert set(distances.METRICS) == set(NAMES)
  found = jax.jit(lambda x, y: {metric: distances.pairwise(x, y, metric, chunk) for metric in NAMES})(x, y)
  for metric, name in NAMES.items():
    full = cdist(x.astype(np.float64), y.astype(np.float64), name)
    assert found[metric].dtype == jnp.float32
    np.testing.assert_allclose(found[metric], full, rtol=1e-5, atol=2e-6)


def test_a_vector_without_a_direction_is_at_a_cosine_distance_of_one():
  x = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
  np.testing.assert_allclose(distances.pairwise(x, x, "cosine"), [[1, 1, 1], [1, 0, 2], [1, 2, 0]], atol=1e-6)


def test_an_unknown_metric_is_named():
  with pytest.raises(Invalid, match="cluster.metric"):
    distances.pairwise(jnp.ones((2, 2)), jnp.ones((2, 2)), "no such")


@pytest.mark.parametrize("n", [1, 7, 8, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_listed_positions_are_those_of_nonzero(n, share):
  mask = np.random.default_rng(n).random(n) < share
  found, count = distances.listed(jnp.asarray(mask))
  assert int(count) == mask.sum() and found.dtype == jnp.int32
  np.testing.assert_array_equal(found, np.concatenate([np.flatnonzero(mask), np.zeros(n - mask.sum(), int)]))
