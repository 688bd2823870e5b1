import itertools

import jax
import numpy as np
import pytest

from ue_jax.cluster import cut, k_means, ppp, scores
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data


@pytest.fixture(scope="module")
def blobs():
  from sklearn.datasets import make_blobs

  return make_blobs(1500, 5, centers=5, cluster_std=1.0, center_box=(-10, 10), random_state=3)


@pytest.fixture(scope="module")
def parted(blobs):
  return ppp.fit(blobs[0])


def test_blobs_are_found_without_being_told_how_many(blobs, parted):
  found, tree = parted
  assert len(found.centers) == 5 and scores.ari(blobs[1], found.labels) >= 0.98
  assert np.unique(found.labels).tolist() == [0, 1, 2, 3, 4]
  means = np.stack([blobs[0][found.labels == c].mean(0) for c in range(5)])
  np.testing.assert_allclose(found.centers, means, atol=1e-4)
  assert float(found.cost) == pytest.approx(((blobs[0] - means[found.labels]) ** 2).sum(), rel=1e-4)
  assert tree.core.mean() > 0.99


@pytest.mark.parametrize("n, d, k, seed", [(2000, 10, 8, 1), (4000, 16, 20, 2)])
def test_eight_and_twenty_blobs_are_found_but_for_one(n, d, k, seed):
  from sklearn.datasets import make_blobs

  x, y = make_blobs(n, d, centers=k, cluster_std=1.5, random_state=seed)
  found, _ = ppp.fit(x)
  assert abs(len(found.centers) - k) <= 1 and scores.ari(y, found.labels) >= 0.98


@pytest.mark.parametrize("n, d, draw", [(1000, 4, "normal"), (1000, 2, "uniform"), (2000, 5, "uniform")])
def test_what_has_no_clusters_is_not_cut(n, d, draw):
  x = getattr(np.random.default_rng(0), draw)(size=(n, d))
  found, tree = ppp.fit(x)
  assert len(found.centers) == 1 and not found.labels.any() and len(tree.parent) == 1
  if draw == "uniform":  # where BIC alone would cut
    assert tree.gain[0] > 0 and tree.agreement[0] < 0.95
    assert len(ppp.fit(x, tau=0.9)[0].centers) > 1


def test_iris_falls_into_two():
  from sklearn.datasets import load_iris

  x, y = load_iris(return_X_y=True)
  found, _ = ppp.fit(x)
  assert np.bincount(found.labels).tolist() == [100, 50]
  assert scores.ari(y, found.labels) == pytest.approx(0.568, abs=1e-3)


def test_order_of_rows_and_seed_change_no_bit_where_random_starts_disagree(blobs, parted, key):
  x = blobs[0]
  for seed in range(3):
    order = np.random.default_rng(seed).permutation(len(x))
    again, tree = ppp.fit(x[order], key=jax.random.key(seed))
    np.testing.assert_array_equal(again.labels, parted[0].labels[order])
    np.testing.assert_array_equal(tree.confidence, parted[1].confidence[order])
    np.testing.assert_array_equal(tree.gain, parted[1].gain)
  rng = np.random.default_rng(0)
  starts = [x[rng.choice(len(x), 5, replace=False)] for _ in range(8)]
  runs = [np.asarray(k_means.fit(x, 5, key=key, start=start).labels) for start in starts]
  assert np.mean([scores.ari(a, b) for a, b in itertools.combinations(runs, 2)]) < 0.9


def test_twenty_seeds_of_the_procedure_give_equal_bits(blobs, parted):
  rows = np.arange(len(blobs[0]), dtype=np.int32)
  data = Data({"x": blobs[0].astype(np.float32), "index": rows}, {"train": rows})
  procedure = ppp.cluster(array="x")
  made = [procedure.finish(procedure.init(jax.random.key(seed), data), data) for seed in range(20)]
  assert all(np.array_equal(one.labels, made[0].labels) for one in made)
  assert scores.ari(made[0].labels, parted[0].labels) == 1.0


def test_units_and_place_do_not_matter(blobs, parted):
  x = blobs[0] * [1, 10, 100, 0.1, 3] + [1e3, -1e3, 0, 5, 1e4]
  np.testing.assert_array_equal(ppp.fit(x)[0].labels, parted[0].labels)


def test_the_tree_adds_up_and_predicts_the_labels_of_its_own_rows(blobs, parted):
  found, tree = parted
  inner = np.flatnonzero(tree.children[:, 0] >= 0)
  assert len(inner) == 4 and (tree.gain[inner] > 0).all() and (tree.agreement[inner] >= 0.95).all()
  np.testing.assert_array_equal(tree.size[inner], tree.size[tree.children[inner]].sum(1))
  for node in inner:
    np.testing.assert_array_equal(tree.parent[tree.children[node]], node)
  leaves = tree.label[tree.label >= 0]
  assert sorted(leaves.tolist()) == list(range(5))
  np.testing.assert_array_equal(tree.size[np.argsort(tree.label)[-5:]], np.bincount(found.labels))
  np.testing.assert_array_equal(ppp.predict(tree, blobs[0]), found.labels)
  with pytest.raises(Invalid, match="cluster.x"):
    ppp.predict(tree, blobs[0][:, :3])


def test_the_numbers_of_a_cut_are_those_of_scikit_learn(blobs):
  from sklearn.mixture import GaussianMixture

  x = blobs[0][np.isin(blobs[1], (0, 1))]
  z = (x - x.mean(0)) / x.std(0)
  found, tree = ppp.fit(x, max_depth=1)
  side = found.labels
  reg = 1e-6
  two = GaussianMixture(2, reg_covar=reg, tol=1e-3)
  two._initialize(z, np.eye(2)[side])
  before = -np.inf
  for _ in range(100):
    now, share = two._e_step(z)
    two._m_step(z, share)
    if abs(now - before) < 1e-3:
      break
    before = now
  gain = GaussianMixture(1, reg_covar=reg).fit(z).bic(z) - two.bic(z)
  own = two.predict_proba(z)[np.arange(len(z)), side]
  assert tree.gain[0] == pytest.approx(gain, rel=1e-4)
  assert tree.agreement[0] == pytest.approx(own.mean(), abs=1e-4)
  np.testing.assert_allclose(tree.confidence, own, atol=1e-3)


@pytest.mark.parametrize("n", [2, 4])
def test_results_are_equal_over_devices(blobs, parted, n):
  found, tree = ppp.fit(blobs[0], devices=jax.devices()[:n])
  np.testing.assert_array_equal(found.labels, parted[0].labels)
  np.testing.assert_allclose(tree.agreement, parted[1].agreement, atol=1e-5)


def test_sets_do_not_influence_each_other(blobs):
  """Each set alone has the outcome that it has beside others."""
  z = ((blobs[0] - blobs[0].mean(0)) / blobs[0].std(0)).astype(np.float32)
  z[:700] *= 0.5
  width, blocks = ppp._shape(len(z))
  settings = cut.Settings(*(np.float32(v) for v in (0.95, 1e-6, 1e-3)), np.int32(100))
  outcome = []
  for slot in (np.r_[np.zeros(700), np.ones(800)], np.r_[np.zeros(700), -np.ones(800)]):
    rows, place, owner = ppp._layout(slot.astype(np.int32), ppp.SLOTS, width, blocks)
    x, mask = np.zeros((blocks * width, 5), np.float32), np.zeros(blocks * width, np.float32)
    x[place], mask[place] = z[rows], 1
    batch = {"x": x.reshape(blocks, width, 5), "mask": mask.reshape(blocks, width), "owner": owner}
    outcome.append(ppp._program(ppp.SLOTS, True, ())(settings, batch)[1])
  for name in ("gain", "agreement", "stands"):
    assert outcome[0][name][0] == outcome[1][name][0]


@pytest.mark.parametrize("x", [np.ones((60, 5)), np.ones((1, 5)), np.repeat(np.eye(5), 20, 0)[:, :5]])
def test_constant_single_and_repeated_rows_are_no_obstacle(x):
  found, tree = ppp.fit(x)
  assert np.isfinite(found.cost) and np.isfinite(found.centers).all()
  assert len(found.labels) == len(x) and tree.size[0] == len(x)


def test_polish_can_only_lower_the_cost(blobs, parted):
  scaled = blobs[0] / blobs[0].std(0)
  found, _ = ppp.fit(scaled, polish=True)
  assert float(found.cost) <= float(ppp.fit(scaled)[0].cost) * (1 + 1e-6)
  assert scores.ari(found.labels, parted[0].labels) > 0.98


@pytest.mark.parametrize("field, change", [
  ("tau", {"tau": 0.3}), ("min_size", {"min_size": 1}), ("covariance", {"covariance": "tied"}),
  ("reg", {"reg": -1.0}), ("max_depth", {"max_depth": -1}), ("x", {"x": np.ones(4)}), ("x", {"x": [[np.nan, 1.0]]}),
])  # fmt: skip
def test_what_cannot_be_is_named(blobs, field, change):
  with pytest.raises(Invalid, match=f"cluster.{field}"):
    ppp.fit(**{"x": blobs[0], **change})
