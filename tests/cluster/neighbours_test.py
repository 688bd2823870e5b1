import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import neighbours
from ue_jax.core.errors import Invalid

N, D, M = 60, 3, 4


def oracle(x, m):
  """Neighbours by all differences in float64, itself left out by position, ties to the lower position."""
  sq = ((x[:, None].astype(np.float64) - x[None]) ** 2).sum(-1)
  np.fill_diagonal(sq, np.inf)
  index = np.argsort(sq, axis=1, kind="stable")[:, :m]
  return index, np.take_along_axis(sq, index, 1)


@pytest.fixture(scope="module")
def x():
  return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def found(x):
  return neighbours.graph(x, M)


@pytest.mark.parametrize("chunk", [0, 7])
def test_neighbours_are_those_of_the_full_matrix_of_differences(x, chunk):
  found = neighbours.graph(x, M, chunk=chunk)
  index, sq = oracle(x, M)
  np.testing.assert_array_equal(found.index, index)
  np.testing.assert_allclose(found.sq, sq, rtol=1e-4)
  assert found.index.dtype == np.int32


def test_of_equal_points_each_finds_the_others_and_never_itself():
  rng = np.random.default_rng(1)
  x = np.repeat(rng.normal(size=(N // 3, D)), 3, 0).astype(np.float32)[rng.permutation(N)]
  found = neighbours.graph(x, M)
  assert not (np.asarray(found.index) == np.arange(N)[:, None]).any()
  assert (np.asarray(found.sq)[:, :2] == 0).all() and (np.asarray(found.sq)[:, 2:] > 0).all()
  same = neighbours.graph(np.ones((N, D), np.float32), M)
  np.testing.assert_array_equal(same.index, oracle(np.ones((N, D)), M)[0])


def test_far_from_the_origin_nothing_is_lost(x):
  x = np.round(x * 64) / 64  # so that the shifted rows are exact
  np.testing.assert_array_equal(neighbours.graph(x + 4096, M).index, neighbours.graph(x, M).index)


def test_sums_over_the_graph_equal_products_with_its_matrix(found):
  y = jnp.asarray(np.random.default_rng(2).normal(size=(N, 5)), jnp.float32)
  w = np.zeros((N, N))
  w[np.arange(N)[:, None], found.index] = 1
  np.testing.assert_allclose(neighbours.gather_sum(found, y), w @ y, atol=1e-5)
  np.testing.assert_allclose(neighbours.scatter_sum(found, y), w.T @ y, atol=1e-5)
  np.testing.assert_array_equal(neighbours.dense(found), (w + w.T) / 2)
  np.testing.assert_array_equal(neighbours.dense(found, symmetric=False), w)


def test_the_sparse_matrix_is_the_dense_one(x, found):
  np.testing.assert_array_equal(neighbours.affinity(x, M).toarray(), neighbours.dense(found))


@pytest.mark.parametrize("m", [0, N])
def test_an_impossible_number_of_neighbours_is_named(x, m):
  with pytest.raises(Invalid, match="cluster.neighbours"):
    neighbours.graph(x, m)


def test_nan_is_named(x):
  with pytest.raises(Invalid, match="NaN"):
    neighbours.graph(np.where(np.arange(N)[:, None] == 3, np.nan, x), M)


def test_graphs_of_many_sets_are_made_in_one_vmap(x, found):
  both = jax.vmap(lambda rows: neighbours.graph(rows, M))(jnp.stack([jnp.asarray(x), jnp.asarray(x)[::-1]]))
  np.testing.assert_array_equal(both.index[0], found.index)
  np.testing.assert_array_equal(N - 1 - np.asarray(both.index[1])[::-1], found.index)
