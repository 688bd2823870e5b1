import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from ue_jax.cluster import choose, k_means
from ue_jax.cluster.gmm import Fit
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Clustering, Data

KS = (1, 2, 3, 4, 5)


def ward(x, k, key):
  """A clusterer that compiles nothing."""
  labels = fcluster(linkage(x, "ward"), k, "maxclust") - 1
  return Clustering(labels, cost=sum(((x[labels == c] - x[labels == c].mean(0)) ** 2).sum() for c in range(k)))


@pytest.fixture(scope="module")
def three():
  """Three tight groups."""
  rng, label = np.random.default_rng(0), np.arange(300) % 3
  return (np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]])[label] + rng.normal(size=(300, 3))).astype(np.float32)


@pytest.mark.parametrize("index", [name for name in choose.INDICES if name not in ("aic", "bic")])
def test_every_index_finds_three_groups(three, key, index):
  found = choose.select_k(three, KS, index, key=key, fit=ward)
  assert found.k == 3 and len(np.unique(found.clustering.labels)) == 3
  assert found.ks.tolist() == list(KS) and found.values.shape == found.costs.shape == (5,)
  if index != "elbow":
    assert np.isnan(found.values[0])  # one cluster has no such index, and is not chosen


def test_information_criteria_are_those_of_mixtures_and_the_lowest_is_best(three, key, monkeypatch):
  seen = {1: (9.0, 5.0), 2: (4.0, 3.0), 3: (6.0, 1.0)}
  asked = []

  def fit(x, k, *, key, covariance, reg, restarts):
    asked.append((k, covariance))
    return ward(x, k, key), Fit(None, 0.0, *seen[k])

  monkeypatch.setattr(choose.gmm, "fit", fit)
  assert choose.select_k(three, (1, 2, 3), "bic", key=key, covariance="diag").k == 2
  assert choose.select_k(three, (1, 2, 3), "aic", key=key).k == 3
  assert asked[:3] == [(1, "diag"), (2, "diag"), (3, "diag")]


def test_without_a_clusterer_it_is_k_means_with_a_key_for_every_k(three, key):
  one, again = (choose.select_k(three, (4, 4), key=key, restarts=1) for _ in range(2))
  assert one.k == 4 and one.ks.tolist() == [4]
  np.testing.assert_array_equal(one.clustering.centers, again.clustering.centers)


def test_equal_values_go_to_the_smaller_k(three, key):
  tried = []

  def fit(x, k, key):
    tried.append(k)
    return ward(x, 2, key)

  assert choose.select_k(three, (4, 2, 3), key=key, fit=fit).k == 2 and tried == [2, 3, 4]


@pytest.mark.parametrize("field, ks, change", [
  ("ks", (0, 2), {}), ("ks", (), {}), ("ks", (2, 301), {}), ("index", KS, {"index": "gap"}),
  ("fit", KS, {"index": "bic", "fit": k_means.fit}),
])  # fmt: skip
def test_what_cannot_be_is_named(three, key, field, ks, change):
  with pytest.raises(Invalid, match=f"cluster.{field}"):
    choose.select_k(three, ks, key=key, **change)


def test_the_measure_draws_curves_and_names_the_number_that_each_index_chooses(three, key):
  label = np.arange(300, dtype=np.int32) % 3
  data = Data({"x": three, "label": label, "index": np.arange(300, dtype=np.int32)}, {})
  settings = dict(ks=(2, 3), indices=("silhouette", "davies_bouldin"), array="x", restarts=1)
  measure = choose.measure(**settings)
  scores = measure.finish(measure.init(key, data), data)
  curve = [scores[f"silhouette @ {k} clusters"] for k in (2, 3)]
  assert curve[0].value < curve[1].value <= curve[1].target == 1
  chosen = scores["clusters by silhouette"]
  assert (chosen.value, chosen.target, chosen.better) == (3, 3, "near")
  again = choose.compare(three, (2, 3), settings["indices"], key=key, restarts=1)
  assert [again["silhouette"].values[i] for i in (0, 1)] == [one.value for one in curve]
  assert again["davies_bouldin"].values.argmin() == 1  # the lowest is best
  unlabelled = choose.measure(**settings, label="")
  scores = unlabelled.finish(unlabelled.init(key, data), data)
  assert scores["clusters by davies_bouldin"].target == 3  # what the indices agree on
