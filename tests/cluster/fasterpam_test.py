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


K = 4


def test_worked_case_of_pam(five):
  found, trace = fasterpam.solve(distances=five, k=2, start=[0, 1])
  assert float(found.cost) == 4 and int(trace.swaps) == 1 and set(found.medoids.tolist()) == {0, 3}
  assert found.labels.tolist() in ([0, 0, 0, 1, 1], [1, 1, 1, 0, 0])
  single = fasterpam.fit(distances=five, k=1, start=[1])
  assert float(single.cost) == 14 and single.medoids.tolist() == [0]


def test_one_device_and_many_matrix_and_vectors_agree(rows):
  d, start = euclidean(rows), [0, 1, 2, 3]
  one, how = fasterpam.solve(distances=d, k=K, start=start, devices=jax.devices()[:1])
  four = fasterpam.solve(distances=d, k=K, start=start, devices=jax.devices()[:4])
  two = fasterpam.solve(rows, K, start="first", stored=False, blocks=True, devices=jax.devices()[:2])
  for other, trace in (four, two):
    np.testing.assert_array_equal(other.medoids, one.medoids)
    np.testing.assert_array_equal(other.labels, one.labels)
    np.testing.assert_allclose(other.cost, one.cost, rtol=1e-5)
    assert jax.tree.map(int, trace) == jax.tree.map(int, how) and int(how.swaps) > 0


def rounds(d, medoids):
  """FastPAM2 in float64: the best candidate of each medoid, in the order of what they gain, while they still do."""
  cost = lambda m: d[:, m].min(1).sum()
  change = lambda m, slot, j: cost([*m[:slot], j, *m[slot + 1 :]]) - cost(m)
  medoids, swaps, passes, found = list(medoids), 0, 0, True
  while found:
    found, passes = False, passes + 1
    table = np.array([[np.inf if j in medoids else change(medoids, slot, j) for j in range(len(d))]
                      for slot in range(len(medoids))])
    for slot in np.argsort(table.min(1), kind="stable"):
      j = int(table[slot].argmin())
      if table[slot, j] < 0 and j not in medoids and change(medoids, slot, j) < 0:
        medoids[slot], swaps, found = j, swaps + 1, True
  return medoids, swaps, passes


def test_rounds_over_four_devices_are_those_of_the_sequential_method():
  took = np.zeros(2, int)
  for seed in range(4):
    d = np.random.default_rng(seed).integers(1, 99, (42, 42)).astype(np.float64)
    np.fill_diagonal(d, 0)
    found, trace = fasterpam.solve(distances=d, k=K, mode="multi", start=[0, 1, 2, 3], devices=jax.devices()[:4])
    medoids, swaps, passes = rounds(d, [0, 1, 2, 3])
    assert found.medoids.tolist() == medoids
    assert (int(trace.swaps), int(trace.passes)) == (swaps, passes)
    took += swaps, passes
  assert took[0] > took[1] - 4  # the last round of each swaps nothing: more than one swap a round


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_every_source_gives_the_same_dissimilarities(rows, metric):
  ids, some = jnp.arange(42, dtype=jnp.int32), jnp.asarray([5, 0, 41], jnp.int32)

  @jax.jit
  def looked_up(x):
    d = distances.pairwise(x, x, metric) * (1 - jnp.eye(42))
    expected = d[some], d[:, some], d[some][:, some], d[:, 7:9], jnp.zeros(42)
    every = (dissimilarities.matrix(d, ids, ids >= 0), dissimilarities.vectors(x, ids, ids >= 0, metric))
    return expected, [(s.rows(some), s.columns(some), s.columns(some, some), s.span(jnp.int32(7), 2),
                       jnp.diagonal(s.columns(ids))) for s in every]

  expected, found = looked_up(rows)
  for source in found:
    for a, b in zip(source, expected):
      np.testing.assert_allclose(a, b, atol=1e-4)


def swaps_that_gain(d, medoids):
  cost = lambda m: d[:, m].min(1).sum()
  others = [[*np.delete(medoids, m), j] for j in range(len(d)) for m in range(len(medoids)) if j not in medoids]
  return sum(cost(swap) < cost(medoids) * (1 - 1e-6) for swap in others)


def test_swapping_ends_in_a_local_optimum_and_alternating_does_not():
  d, start = euclidean(np.random.default_rng(4).normal(size=(42, 5))), [0, 1, 2, 3]
  found = fasterpam.fit(distances=d, k=K, start=start)
  naive = fasterpam.fit(distances=d, k=K, start=start, mode="alternate")
  assert swaps_that_gain(d, np.asarray(found.medoids)) == 0 < swaps_that_gain(d, np.asarray(naive.medoids))
  assert float(naive.cost) > 1.01 * float(found.cost)
  for slot, members in enumerate(np.asarray(naive.labels) == np.arange(K)[:, None]):
    inside = d[np.ix_(members, members)].sum(0)
    assert inside.min() >= d[members, naive.medoids[slot]].sum() - 1e-4


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


def test_medoids_swaps_and_passes_equal_those_of_the_rust_package(rows):
  """`pam` is its `fastpam1`, `eager` its `fasterpam`, from one start; `alternate` ends above both."""
  kmedoids = pytest.importorskip("kmedoids")
  d = euclidean(rows).astype(np.float32)
  start, begin = [0, 1, 2, 3], np.arange(4, dtype=np.uint64)
  peers = {"pam": kmedoids.fastpam1(d, begin), "eager": kmedoids.fasterpam(d, begin, n_cpu=1)}
  for mode, peer in peers.items():
    found, trace = fasterpam.solve(distances=d, k=K, start=start, mode=mode, devices=jax.devices()[:1])
    assert set(found.medoids.tolist()) == set(peer.medoids.tolist())
    assert int(trace.swaps) == peer.n_swap > 0 and int(trace.passes) == peer.n_iter
    assert float(found.cost) == pytest.approx(peer.loss, rel=1e-6)


@pytest.fixture(scope="module")
def noisy_digits():
  """Distances of 2000 noisy digits, float32."""
  from sklearn.datasets import load_digits

  draw = np.random.RandomState(0)
  x = load_digits().data[draw.randint(0, 1797, 2000)] + 2 * draw.randn(2000, 64)
  square = (x**2).sum(1)
  d = np.sqrt(np.maximum(square[:, None] + square - 2 * x @ x.T, 0))
  np.fill_diagonal(d, 0)
  return d.astype(np.float32)


@pytest.mark.parametrize("k, pam, swaps", [(10, 70768.18, 11), (100, 54376.78, 109)])
def test_two_thousand_digits_end_where_the_rust_package_ends(noisy_digits, k, pam, swaps):
  """`pam` as `fastpam1`, whose cost is known; `eager` as `fasterpam`; what only alternates ends well above it."""
  d, start = noisy_digits, np.random.RandomState(1).choice(2000, k, False)
  solve = lambda mode: fasterpam.solve(distances=d, k=k, start=start, mode=mode, devices=jax.devices()[:1])
  found = {mode: solve(mode) for mode in ("pam", "eager", "alternate")}
  assert float(found["pam"][0].cost) == pytest.approx(pam, rel=1e-6) and int(found["pam"][1].swaps) == swaps
  kmedoids = pytest.importorskip("kmedoids")
  turned, begin = np.asfortranarray(d), start.astype(np.uint64)
  fast = kmedoids.fasterpam(turned, begin, n_cpu=1)
  for mode, peer in {"pam": kmedoids.fastpam1(turned, begin, max_iter=1000), "eager": fast}.items():
    clusters, trace = found[mode]
    assert set(clusters.medoids.tolist()) == set(peer.medoids.tolist()), mode
    assert (int(trace.swaps), int(trace.passes)) == (peer.n_swap, peer.n_iter), mode
    assert float(clusters.cost) == pytest.approx(peer.loss, rel=1e-6), mode
  assert float(found["pam"][0].cost) <= 1.005 * fast.loss < 1.03 * fast.loss < float(found["alternate"][0].cost)
