import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import affinities, scores, spectral
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data

N = 400


@pytest.fixture(scope="module")
def shapes():
  from sklearn.datasets import make_circles, make_moons

  return {
    "moons": make_moons(N, noise=0.05, random_state=0),
    "circles": make_circles(N, noise=0.05, factor=0.5, random_state=0),
  }


@pytest.fixture(scope="module")
def islands():
  """Three groups far apart, so that the graph has three components."""
  rng, label = np.random.default_rng(0), np.arange(N) % 3
  return (np.array([[0, 0], [20, 0], [0, 20]])[label] + rng.normal(size=(N, 2))).astype(np.float32), label


def graph_by_numpy(x, m):
  d = ((x[:, None].astype(np.float64) - x) ** 2).sum(-1)
  np.fill_diagonal(d, np.inf)
  w = np.zeros(d.shape)
  np.put_along_axis(w, np.argsort(d, 1)[:, :m], 1.0, 1)
  return w


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_curved_groups_are_found_where_k_means_fails(shapes, key, name):
  from ue_jax.cluster import k_means

  x, label = shapes[name]
  found, seen = spectral.fit(x, 2, key=key, m=10)
  assert scores.ari(label, found.labels) == 1.0
  assert scores.ari(label, k_means.fit(x, 2, key=key, restarts=10).labels) <= 0.5
  assert float(seen.residual) < 1e-4


def test_handwritten_digits_are_found_better_than_by_k_means(key):
  from sklearn.datasets import load_digits

  from ue_jax.cluster import k_means

  x, label = load_digits(return_X_y=True)
  found, _ = spectral.fit(x, 10, key=key, m=10, dense=0, restarts=2)  # the dense method takes twice as long here
  assert scores.nmi(label, found.labels) >= 0.80 > scores.nmi(label, k_means.fit(x, 10, key=key).labels)


def test_as_many_eigenvalues_are_zero_as_the_graph_has_components(islands, key):
  graph = affinities.affinity(islands[0], m=10)
  for dense in (N, 0):
    seen = spectral.embed(graph, 5, key=key, dense=dense)
    np.testing.assert_allclose(seen.values[:3], 0, atol=1e-5)
    assert float(seen.values[3]) > 1e-3


def test_eigenvalues_equal_scipy_by_either_method_and_the_spaces_agree(shapes, key):
  from scipy.linalg import eigh

  x = shapes["moons"][0]
  w = np.maximum(*(lambda w: (w, w.T))(graph_by_numpy(x.astype(np.float32), 10)))
  root = np.sqrt(w.sum(1))
  theirs = eigh(np.eye(N) - w / root[:, None] / root)
  graph = affinities.affinity(x, m=10)
  np.testing.assert_array_equal(affinities.matrix(graph), w)
  for dense in (N, 0):
    seen = spectral.embed(graph, 5, key=key, dense=dense)
    np.testing.assert_allclose(seen.values, theirs[0][:5], atol=1e-4)
    overlap = np.linalg.svd(theirs[1][:, :5].T @ np.asarray(seen.vectors))[1]
    assert overlap.min() > 0.999
    top = np.abs(seen.vectors).argmax(0)
    assert (np.asarray(seen.vectors)[top, range(5)] > 0).all()


@pytest.mark.parametrize("kind, m", [("knn", 10), ("rbf", 1), ("self_tuning", 7)])
def test_graphs_are_what_they_are_called_and_their_products_need_no_matrix(islands, kind, m):
  x = islands[0]
  graph = affinities.affinity(x, kind, m=m, gamma=0.3, symmetry="mean")
  d = ((x[:, None].astype(np.float64) - x) ** 2).sum(-1)
  if kind == "knn":
    expected = (graph_by_numpy(x, m) + graph_by_numpy(x, m).T) / 2
  else:
    sigma = np.sqrt(np.sort(d, 1)[:, 7])
    expected = np.exp(-0.3 * d) if kind == "rbf" else np.exp(-d / sigma[:, None] / sigma)
    np.fill_diagonal(expected, 0)
  ours = affinities.matrix(graph)
  np.testing.assert_allclose(ours, expected, atol=1e-4)
  y = jnp.asarray(np.random.default_rng(1).normal(size=(N, 3)), jnp.float32)
  np.testing.assert_allclose(affinities.times(graph, y), expected @ np.asarray(y), atol=2e-3)


def test_given_affinities_and_rows_of_the_random_walk(islands, key):
  x, label = islands
  x, label = np.where(label[:, None] == 2, x - [0, 20], x), label == 1
  a = np.exp(-((x[:, None] - x) ** 2).sum(-1)) + (label[:, None] == label) * 1e-3
  walk, seen = spectral.fit(a, 2, key=key, affinity="precomputed", rows="random_walk")
  assert scores.ari(label, walk.labels) == 1.0
  spread = [np.ptp(np.asarray(seen.places)[label == c], axis=0).max() for c in (True, False)]
  assert max(spread) < 1e-2 * np.abs(seen.places).max()  # constant on components
  order = np.random.default_rng(2).permutation(N)
  again, _ = spectral.fit(a[np.ix_(order, order)], 2, key=key, affinity="precomputed", rows="random_walk")
  assert scores.ari(np.asarray(walk.labels)[order], again.labels) == 1.0


def test_a_sample_without_neighbours_gives_no_nan(key):
  a = np.zeros((N, N), np.float32)
  a[:200, :200] = a[200:399, 200:399] = 1
  seen = spectral.embed(affinities.affinity(a, "precomputed"), 2, key=key, rows="random_walk")
  assert np.isfinite(seen.places).all()


@pytest.mark.parametrize("field, change", [
  ("k", {"k": 0}), ("k", {"k": 7}), ("affinity", {"affinity": "near"}), ("rows", {"rows": "none"}),
  ("gamma", {"affinity": "rbf", "gamma": 0.0}), ("neighbours", {"m": 6}), ("symmetry", {"symmetry": "or"}),
])  # fmt: skip
def test_what_cannot_be_is_named(key, field, change):
  with pytest.raises(Invalid, match=f"cluster.{field}"):
    spectral.fit(np.eye(6), **{"k": 2, "key": key, "m": 2, **change})


def test_affinities_that_cannot_be_are_named(key):
  for a in (-np.ones((3, 3)), np.triu(np.ones((3, 3))), np.ones((3, 2)), np.full((3, 3), np.nan)):
    with pytest.raises(Invalid, match="cluster.x"):
      spectral.fit(a, 2, key=key, affinity="precomputed")


def test_the_factory_labels_every_row(shapes, key):
  x, label = shapes["moons"]
  data = Data({"x": x, "index": np.arange(N, dtype=np.int32)}, {})
  procedure = spectral.cluster(2, array="x")
  found = procedure.finish(procedure.init(key, data), data)
  assert scores.ari(label, found.labels) == 1.0 and found.labels.dtype == np.int32
