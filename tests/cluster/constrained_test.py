import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import constrained, k_means, scores
from ue_jax.core.errors import Invalid

N, K = 240, 4


@pytest.fixture(scope="module")
def blobs():
  rng = np.random.default_rng(0)
  y = rng.permutation(np.repeat(np.arange(K), N // K))
  centers = np.array([[0, 0], [7, 0], [0, 7], [7, 7]])
  return (centers[y] + rng.normal(size=(N, 2))).astype(np.float32), y


def test_labelled_rows_keep_their_class_and_new_clusters_are_found_elsewhere(blobs, key):
  x, y = blobs
  known = np.where((y < 2) & (np.arange(N) % 2 == 0), y, -1)
  found = constrained.fit(x, known, 2, key=key)
  np.testing.assert_array_equal(np.asarray(found.labels)[known >= 0], known[known >= 0])
  assert scores.accuracy(y[known < 0], np.asarray(found.labels)[known < 0]) > 0.98
  away = np.linalg.norm(np.asarray(found.centers)[2:, None] - np.asarray(found.centers)[None, :2], axis=-1)
  assert away.min() > 3  # no new centre beside a known one


def test_a_row_with_a_far_label_stays_and_only_classes_that_move_feel_the_others(blobs, key):
  x, y = blobs
  known = np.full(N, -1)
  known[np.flatnonzero(y == 0)[:10]] = 0
  known[np.flatnonzero(y == 3)[0]] = 0  # against all distances
  fixed = constrained.fit(x, known, 3, key=key, update="new")
  np.testing.assert_allclose(fixed.centers[0], x[known == 0].mean(0), atol=1e-4)
  moved = constrained.fit(x, known, 3, key=key)
  assert int(moved.labels[np.flatnonzero(y == 3)[0]]) == 0
  np.testing.assert_allclose(moved.centers[0], x[np.asarray(moved.labels) == 0].mean(0), atol=1e-4)


def test_without_labels_it_is_k_means_of_the_same_start(blobs, key):
  x, _ = blobs
  found = constrained.fit(x, np.full(N, -1), K, key=key)
  plain = k_means.fit(x, K, key=key, restarts=4)
  assert abs(float(found.cost) / float(plain.cost) - 1) < 1e-4


def lloyd(x, centers):
  """Plain numpy: labels and cost where nothing changes any more."""
  for _ in range(50):
    labels = ((x[:, None] - centers) ** 2).sum(-1).argmin(1)
    centers = np.stack([x[labels == i].mean(0) for i in range(len(centers))])
  labels = ((x[:, None] - centers) ** 2).sum(-1).argmin(1)
  return labels, ((x - centers[labels]) ** 2).sum()


def test_problems_of_different_sizes_run_under_one_vmap(blobs):
  """Padding rows and centres that do not exist change nothing."""
  x, _ = blobs
  x = x - x.mean(0)
  sizes, many = [120, 240], [2, 4]
  weights = np.stack([(np.arange(N) < s).astype(np.float32) for s in sizes])
  alive = np.stack([np.arange(K) < k for k in many])
  start = np.stack([x[:K]] * 2)
  free = jnp.full(N, -1)
  fit = lambda w, c, a: constrained.descend(jnp.asarray(x), free, w, c, jnp.ones(K, bool), 50, a)
  both = jax.jit(jax.vmap(fit))(weights, start, alive)
  for i, (s, k) in enumerate(zip(sizes, many)):
    labels, cost = lloyd(x[:s].astype(np.float64), x[:k].astype(np.float64))
    np.testing.assert_array_equal(both.labels[i, :s], labels)
    np.testing.assert_allclose(both.cost[i], cost, rtol=1e-5)


def test_balanced_clusters_differ_by_one_row_and_cost_little_more(key):
  rng = np.random.default_rng(1)
  y = np.repeat(np.arange(K), 60)[: N - 2]
  x = (np.array([[0, 0], [3, 0], [0, 3], [3, 3]])[y] + rng.normal(size=(N - 2, 2))).astype(np.float32)
  found, plain = constrained.balanced(x, K, key=key), k_means.fit(x, K, key=key, restarts=4)
  sizes = np.bincount(found.labels, minlength=K)
  assert sizes.max() - sizes.min() <= 1
  assert float(found.cost) <= 1.05 * float(plain.cost)
  assert scores.accuracy(y, found.labels) >= scores.accuracy(y, plain.labels) - 0.005


def test_equal_sizes_find_groups_that_plain_k_means_cuts_and_joins(key):
  """A wide group and three narrow ones beside each other: it is cheaper to cut the wide one."""
  y = np.repeat(np.arange(K), 60)[: N - 2]
  noise = np.array([5, 0.4, 0.4, 0.4])[y][:, None] * np.random.default_rng(0).normal(size=(N - 2, 2))
  x = (np.array([[0, 0], [16, 0], [18.5, 0], [16, 2.5]])[y] + noise).astype(np.float32)
  found, plain = constrained.balanced(x, K, key=key), k_means.fit(x, K, key=key, restarts=4)
  assert scores.accuracy(y, found.labels) > 0.95
  assert scores.accuracy(y, plain.labels) < 0.7


def test_the_transport_is_near_the_optimum():
  from scipy.optimize import linear_sum_assignment

  rng = np.random.default_rng(2)
  costs = rng.uniform(size=(60, 4)).astype(np.float32) * np.array([1, 2, 3, 4], np.float32)
  labels = np.asarray(jax.jit(constrained.transport)(costs))
  rows, places = linear_sum_assignment(np.repeat(costs, 15, axis=1))
  best = np.repeat(costs, 15, axis=1)[rows, places].sum()
  assert np.bincount(labels).tolist() == [15] * 4
  greedy = costs[np.arange(60), np.argsort(np.argsort(costs[:, 0])) // 15].sum()
  assert best <= costs[np.arange(60), labels].sum() <= 1.02 * best < greedy


@pytest.mark.parametrize(
  "known, new, field",
  [([0, 2, -1, -1], 1, "cluster.known"), ([0, 1, -1, -1], 3, "cluster.new"), ([-1] * 4, 0, "cluster.new"),
   ([0.0, 1, -1, -1], 1, "cluster.known"), ([0, 1], 1, "cluster.known")],
)  # fmt: skip
def test_impossible_demands_are_named(known, new, field, key):
  with pytest.raises(Invalid, match=field):
    constrained.fit(np.eye(4), np.array(known), new, key=key)
