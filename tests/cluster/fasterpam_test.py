import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import dissimilarities, distances, fasterpam
from ue_jax.core.errors import Invalid

LOWER = [[1], [2, 3], [4, 5, 6], [7, 8, 9, 1]]


@pytest.fixture(scope="module")
def five():
  """Five points with distances 1..9: the worked case."""
  d = np.zeros((5, 5), np.float32)
  for i, row in enumerate(LOWER, 1):
    d[i, :i] = d[:i, i] = row
  return d


@pytest.fixture(scope="module")
def rows():
  """Forty-two points in six groups: one shape for many tests; over 4 devices its candidates are padded."""
  r = np.random.default_rng(0)
  return (r.normal(size=(6, 1, 5)) * 3 + r.normal(size=(6, 7, 5))).reshape(42, 5).astype(np.float32)


def euclidean(x):
  x = x.astype(np.float64)
  return np.sqrt(((x[:, None] - x) ** 2).sum(-1))


def test_worked_case_of_pam(five):
  found, trace = fasterpam.solve(distances=five, k=2, start=[0, 1])
  assert float(found.cost) == 4 and int(trace.swaps) == 1 and set(found.medoids.tolist()) == {0, 3}
  assert found.labels.tolist() in ([0, 0, 0, 1, 1], [1, 1, 1, 0, 0])


def test_matrix_and_vectors_one_device_and_many_agree(rows):
  d = euclidean(rows)
  one, how = fasterpam.solve(distances=d, k=6, devices=jax.devices()[:1])
  many, same = fasterpam.solve(distances=d, k=6, devices=jax.devices()[:2])
  apart, again = fasterpam.solve(rows, 6, stored=False, blocks=True, devices=jax.devices()[:4])
  for other, trace in ((many, same), (apart, again)):
    np.testing.assert_array_equal(other.medoids, one.medoids)
    np.testing.assert_array_equal(other.labels, one.labels)
    np.testing.assert_allclose(other.cost, one.cost, rtol=1e-5)
    assert jax.tree.map(int, trace) == jax.tree.map(int, how) and int(how.swaps) > 0


def test_rounds_of_many_swaps_do_not_depend_on_the_number_of_devices(rows):
  one, many = (fasterpam.solve(distances=euclidean(rows), k=6, mode="multi", start="first", devices=jax.devices()[:n])
               for n in (1, 4))
  np.testing.assert_array_equal(one[0].medoids, many[0].medoids)
  assert jax.tree.map(int, one[1]) == jax.tree.map(int, many[1])
  assert int(one[1].passes) < int(one[1].swaps)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "l1", "cosine"])
def test_every_source_gives_the_same_dissimilarities(rows, metric):
  x, ids = jnp.asarray(rows), jnp.arange(42, dtype=jnp.int32)
  d = distances.pairwise(x, x, metric) * (1 - jnp.eye(42))
  some = jnp.asarray([5, 0, 41], jnp.int32)
  for source in (dissimilarities.matrix(d, ids, ids >= 0), dissimilarities.vectors(x, ids, ids >= 0, metric)):
    np.testing.assert_allclose(source.rows(some), d[some], atol=1e-4)
    np.testing.assert_allclose(source.columns(some), d[:, some], atol=1e-4)
    np.testing.assert_allclose(source.columns(some, some), d[some][:, some], atol=1e-4)
    np.testing.assert_array_equal(jnp.diagonal(source.columns(ids)), 0)


def swaps_that_gain(d, medoids):
  cost = lambda m: d[:, m].min(1).sum()
  others = [[*np.delete(medoids, m), j] for j in range(len(d)) for m in range(len(medoids)) if j not in medoids]
  return sum(cost(swap) < cost(medoids) * (1 - 1e-6) for swap in others)


def test_ends_of_swapping_are_local_optima_and_alternating_is_not():
  d = euclidean(np.random.default_rng(4).normal(size=(42, 5)))
  for mode in ("pam", "multi"):
    assert swaps_that_gain(d, np.asarray(fasterpam.fit(distances=d, k=6, mode=mode, start="first").medoids)) == 0
  naive = fasterpam.fit(distances=d, k=6, mode="alternate", start="first")
  assert swaps_that_gain(d, np.asarray(naive.medoids)) > 0
  assert float(naive.cost) > 1.01 * float(fasterpam.fit(distances=d, k=6, start="first").cost)


@pytest.mark.parametrize("field, how", [
  ("cluster.x", {}),
  ("cluster.x", {"x": np.full((4, 2), np.nan)}),
  ("cluster.x", {"x": [["a", "b"]] * 4}),
  ("cluster.x", {"x": [[1.0], [1.0, 2.0]]}),
  ("cluster.x", {"x": np.zeros((0, 3))}),
  ("cluster.k", {"x": np.eye(4), "k": 0}),
  ("cluster.k", {"x": np.eye(4), "k": 5}),
  ("cluster.metric", {"x": np.eye(4), "metric": "no such"}),
  ("cluster.mode", {"x": np.eye(4), "mode": "no such"}),
  ("cluster.start", {"x": np.eye(4), "start": "no such"}),
  ("cluster.start", {"x": np.eye(4), "start": [0, 0]}),
  ("cluster.start", {"x": np.eye(4), "start": [0, 4]}),
  ("cluster.key", {"x": np.eye(4), "start": "random"}),
  ("cluster.distances", {"distances": np.ones((4, 3))}),
  ("cluster.distances", {"distances": np.eye(4) * 0 + [0, 1, np.inf, 2]}),
  ("cluster.distances", {"distances": -np.eye(4)}),
  ("cluster.distances", {"distances": np.ones((4, 4))}),
])
def test_what_is_not_usable_is_refused_by_name(field, how):
  with pytest.raises(Invalid) as refused:
    fasterpam.fit(**{"k": 2, **how})
  assert refused.value.field == field
