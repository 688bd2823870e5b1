import numpy as np
import pytest

from ue_jax.cluster import scores


@pytest.mark.parametrize("seed", range(30))
def test_scores_equal_scikit_learn(seed):
  from sklearn import metrics

  rng = np.random.default_rng(seed)
  n = int(rng.integers(2, 60))
  true, predicted = rng.integers(0, rng.integers(1, 6), n), rng.integers(0, rng.integers(1, 8), n)
  assert scores.nmi(true, predicted) == pytest.approx(metrics.normalized_mutual_info_score(true, predicted), abs=1e-9)
  assert scores.ari(true, predicted) == pytest.approx(metrics.adjusted_rand_score(true, predicted), abs=1e-9)
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
  for score in (scores.accuracy, scores.nmi, scores.ari, scores.purity):
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
