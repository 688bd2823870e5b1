import numpy as np
import pytest

from ue_jax.cluster import scores
from ue_jax.core.errors import Invalid


@pytest.mark.parametrize("seed", range(200))
def test_scores_equal_scikit_learn(seed):
  from sklearn import metrics

  rng = np.random.default_rng(seed)
  n = int(rng.integers(2, 60))
  true, predicted = rng.integers(0, rng.integers(1, 6), n), rng.integers(0, rng.integers(1, 8), n)
  assert scores.nmi(true, predicted) == pytest.approx(metrics.normalized_mutual_info_score(true, predicted), abs=1e-9)
  assert scores.ari(true, predicted) == pytest.approx(metrics.adjusted_rand_score(true, predicted), abs=1e-9)
  assert scores.homogeneity(true, predicted) == pytest.approx(metrics.homogeneity_score(true, predicted), abs=1e-9)
  assert scores.completeness(true, predicted) == pytest.approx(metrics.completeness_score(true, predicted), abs=1e-9)
  for beta in (1.0, 0.3):
    theirs = metrics.v_measure_score(true, predicted, beta=beta)
    assert scores.v_measure(true, predicted, beta) == pytest.approx(theirs, abs=1e-9)
  theirs = metrics.fowlkes_mallows_score(true, predicted)
  assert scores.fowlkes_mallows(true, predicted) == pytest.approx(theirs, abs=1e-9)
  table = scores.contingency(true, predicted)
  np.testing.assert_array_equal(table, metrics.cluster.contingency_matrix(true, predicted))
  assert scores.purity(true, predicted) == pytest.approx(table.max(0).sum() / n)


@pytest.mark.parametrize("seed", range(10))
def test_accuracy_is_the_best_of_all_renamings(seed):
  from itertools import permutations

  rng = np.random.default_rng(seed)
  true, predicted = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
  best = max(np.mean(np.array(p)[predicted] == true) for p in permutations(range(4)))
  assert scores.accuracy(true, predicted) == pytest.approx(best)


def test_renaming_clusters_changes_no_score():
  rng = np.random.default_rng(0)
  true, predicted = rng.integers(0, 3, 40), rng.integers(0, 5, 40)
  renamed = np.array([17, 3, 99, -1, 4])[predicted]
  external = (scores.accuracy, scores.nmi, scores.ari, scores.purity, scores.homogeneity, scores.completeness,
              scores.v_measure, scores.fowlkes_mallows)
  for score in external:
    assert score(true, predicted) == pytest.approx(score(true, renamed))


def test_a_constant_prediction_is_worth_the_largest_class():
  true = np.array([0] * 6 + [1] * 3 + [2])
  assert scores.accuracy(true, np.zeros(10, int)) == pytest.approx(0.6)
  assert scores.nmi(true, np.zeros(10, int)) == pytest.approx(0.0)
  assert scores.nmi(np.zeros(4), np.ones(4)) == 1.0


def test_pairs_of_a_large_sample_do_not_overflow():
  labels = np.arange(200_000) % 2
  assert scores.ari(labels, labels) == pytest.approx(1.0)


@pytest.mark.parametrize("chunk", [64, 5000])
def test_silhouette_equals_scikit_learn_with_singletons(chunk):
  from sklearn.datasets import load_digits
  from sklearn.metrics import silhouette_samples

  x, y = load_digits(return_X_y=True)
  x, y = x[:400], y[:400].copy()
  y[0], y[1] = 77, 78
  np.testing.assert_allclose(scores.silhouettes(x, y, chunk), silhouette_samples(x, y), atol=2e-5)
  assert np.isnan(scores.silhouette(x, np.zeros(400)))


def test_noise_is_a_cluster_of_its_own_or_left_out():
  true, predicted = np.array([0, 0, 1, 1, -1, 2]), np.array([5, 5, -1, 7, 7, -1])
  kept = [0, 1, 3]
  for score in (scores.accuracy, scores.nmi, scores.ari, scores.purity, scores.v_measure, scores.fowlkes_mallows):
    assert score(true, predicted, noise="drop") == pytest.approx(score(true[kept], predicted[kept]))
  assert scores.accuracy(true, predicted) == pytest.approx(4 / 6)
  with pytest.raises(Invalid, match="noise"):
    scores.nmi(true, predicted, noise="ignore")
  with pytest.raises(Invalid, match="noise only"):
    scores.ari([-1, 0], [0, -1], noise="drop")


def test_accuracy_of_discovery_maps_clusters_once_or_for_each_part():
  true = np.array([0, 0, 0, 1, 1, 2, 2])
  predicted = np.array([4, 4, 5, 5, 5, 5, 5])  # cluster 5 holds a part of old class 0, old class 1 and new class 2
  old = true < 2
  once = scores.split_accuracy(true, predicted, old)
  assert once.all == pytest.approx(scores.accuracy(true, predicted)) == pytest.approx(4 / 7)
  assert 5 * once.old + 2 * once.new == pytest.approx(4) and once.new in (0.0, 1.0)
  anew = scores.split_accuracy(true, predicted, old, "v1")
  assert anew == pytest.approx((6 / 7, 4 / 5, 1.0))
  assert np.isnan(scores.split_accuracy(true, predicted, np.ones(7, bool)).new)
  with pytest.raises(Invalid, match="version"):
    scores.split_accuracy(true, predicted, old, "v3")


@pytest.fixture(scope="module")
def digits():
  from sklearn.datasets import load_digits

  return load_digits().data[:500].astype(np.float32)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_indices_equal_scikit_learn_with_singletons(digits, k):
  from sklearn import metrics

  labels = (digits[:, 20] * 7 + digits[:, 34] * 3).astype(int) % k
  labels[:2] = 77, 78
  theirs = metrics.calinski_harabasz_score(digits, labels)
  assert scores.calinski_harabasz(digits, labels) == pytest.approx(theirs, rel=1e-5)
  theirs = metrics.davies_bouldin_score(digits, labels)
  assert scores.davies_bouldin(digits, labels) == pytest.approx(theirs, rel=1e-5)


def test_indices_of_two_to_twenty_clusters_of_all_digits_equal_scikit_learn():
  from sklearn import metrics
  from sklearn.cluster import kmeans_plusplus
  from sklearn.datasets import load_digits

  x = load_digits().data.astype(np.float32)
  centers = kmeans_plusplus(x, 20, random_state=0)[0]
  away = ((x[:, None] - centers) ** 2).sum(-1)
  for k in range(2, 21):
    labels = away[:, :k].argmin(1)
    for name in ("silhouette", "calinski_harabasz", "davies_bouldin"):
      theirs = getattr(metrics, name + "_score")(x, labels)
      assert getattr(scores, name)(x, labels) == pytest.approx(theirs, rel=1e-5, abs=1e-6), (name, k)


def test_indices_do_not_depend_on_names_order_scale_and_place(digits):
  labels, rows = (digits[:, 20] > 8).astype(int) + (digits[:, 34] > 8), np.random.default_rng(0).permutation(500)
  indices = (scores.silhouette, scores.simplified_silhouette, scores.calinski_harabasz, scores.davies_bouldin)
  for index in indices:
    value = index(digits, labels)
    assert index(digits, np.array([9, -1, 3])[labels]) == pytest.approx(value, rel=1e-5)
    assert index(digits[rows], labels[rows]) == pytest.approx(value, rel=1e-5)
    assert index(digits * 8 + 1000, labels) == pytest.approx(value, rel=1e-4)
  noisy = np.where(np.arange(500) % 5 == 0, -1, labels)
  kept = noisy >= 0
  for index in (scores.silhouette, scores.davies_bouldin):
    assert index(digits, noisy, noise="drop") == pytest.approx(index(digits[kept], noisy[kept]), rel=1e-6)


def test_one_cluster_has_no_index_and_equal_samples_are_no_obstacle(digits):
  for index in (scores.silhouette, scores.simplified_silhouette, scores.calinski_harabasz, scores.davies_bouldin):
    assert np.isnan(index(digits, np.zeros(500)))
  assert np.isnan(scores.calinski_harabasz(digits, np.arange(500)))
  same, labels = np.ones((500, 64), np.float32), np.arange(500) % 2
  assert scores.calinski_harabasz(same, labels) == 1.0 and scores.davies_bouldin(same, labels) == 0.0
  assert scores.silhouette(same, labels) == 0.0


FIVE = np.array([[0, 1, 2, 4, 7], [1, 0, 3, 5, 8], [2, 3, 0, 6, 9], [4, 5, 6, 0, 1], [7, 8, 9, 1, 0]], np.float32)


def test_silhouette_of_given_distances_is_the_published_one():
  found = scores.silhouette(FIVE, [0, 0, 0, 1, 1], metric="precomputed")
  assert found == pytest.approx(0.75225, abs=1e-5)
  with pytest.raises(Invalid, match="distances of all samples"):
    scores.silhouette(FIVE[:, :3], [0, 0, 0, 1, 1], metric="precomputed")


def test_medoid_silhouette_equals_the_rust_package():
  kmedoids = pytest.importorskip("kmedoids")
  rng = np.random.default_rng(0)
  for n, k in ((5, 2), (40, 2), (40, 7), (40, 40)):
    points = rng.integers(0, 4, (n, 2)).astype(np.float64)  # duplicates, and so medoids at distance 0 of each other
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(-1)) if n > 5 else FIVE.astype(np.float64)
    medoids = rng.choice(n, k, replace=False)
    theirs = kmedoids.medoid_silhouette(distances, medoids)[0]
    assert scores.medoid_silhouette(distances, medoids) == pytest.approx(theirs, abs=1e-12)
    assert scores.medoid_silhouette(distances[:, medoids]) == pytest.approx(theirs, abs=1e-12)
  assert np.isnan(scores.medoid_silhouette(FIVE, [0]))


@pytest.mark.parametrize("chunk", [4096, 150])
def test_simplified_silhouette_is_that_of_distances_to_the_means(digits, chunk):
  labels = (digits[:, 20] > 8).astype(int) + (digits[:, 34] > 8)
  x = digits.astype(np.float64)
  means = np.stack([x[labels == c].mean(0) for c in range(3)])
  to = np.sqrt(((x[:, None] - means) ** 2).sum(-1))
  own = to[np.arange(500), labels]
  other = np.where(np.arange(3) == labels[:, None], np.inf, to).min(1)
  expected = np.mean((other - own) / np.maximum(own, other))
  assert scores.simplified_silhouette(digits, labels, chunk) == pytest.approx(expected, rel=1e-5)
