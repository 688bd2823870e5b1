import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import k_means, lloyd, scores, seeding
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data


def points(seed):
  """Sixty points and eight of them to start from: one shape for many tests, so one program."""
  x = np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32)
  return x, x[:8]


@pytest.fixture(scope="module")
def digits():
  from sklearn.datasets import load_digits

  return load_digits(return_X_y=True)


def test_labels_and_inertia_equal_scikit_learn_from_an_equal_start(digits, key):
  from sklearn.cluster import KMeans

  x, _ = digits
  start = x[np.random.default_rng(0).choice(len(x), 10, replace=False)]
  peer = KMeans(10, init=start, n_init=1, algorithm="lloyd").fit(x)
  ours = k_means.fit(x, 10, key=key, start=start)
  np.testing.assert_array_equal(ours.labels, peer.labels_)
  assert abs(float(ours.cost) / peer.inertia_ - 1) < 1e-5
  assert int(ours.steps) == peer.n_iter_ and bool(ours.converged)
  np.testing.assert_allclose(ours.centers, peer.cluster_centers_, atol=2e-3)


def test_seeding_is_as_good_as_scikit_learn_and_better_than_random_rows(digits, key):
  from sklearn.cluster import KMeans

  x, _ = digits
  ours = [float(k_means.fit(x, 10, key=jax.random.fold_in(key, i)).cost) for i in range(6)]
  peer = [KMeans(10, n_init=1, random_state=i).fit(x).inertia_ for i in range(6)]
  assert np.mean(ours) < 1.02 * np.mean(peer)
  far = jnp.asarray(np.repeat(np.eye(4), 25, 0) * 50 + np.random.default_rng(0).normal(size=(100, 4)), jnp.float32)
  picks = seeding.plus_plus(key, far, 4, jnp.ones(100, jnp.float32))
  assert len(set(np.asarray(picks) // 25)) == 4


def test_inertia_never_rises(digits, key):
  x = jnp.asarray(digits[0] - digits[0].mean(0), jnp.float32)
  w = jnp.ones(len(x), jnp.float32)
  step = jax.jit(lloyd.step)
  state, costs = lloyd.begin(x, x[:10]), []
  for _ in range(15):
    state = step(x, w, state)
    costs.append(float(state.cost))
  assert all(b <= a * (1 + 1e-6) for a, b in zip(costs, costs[1:]))
  assert costs[-1] < 0.9 * costs[0]


def test_no_cluster_is_empty_when_all_centres_start_equal():
  """A hundred sets of rows, some with many duplicates; all centres on one row, on the mean, or far from all."""
  x = np.stack([points(seed)[0] for seed in range(100)])
  x[::4] = np.round(x[::4])
  one = np.where((np.arange(100) % 3 == 0)[:, None], x[:, 0], np.where((np.arange(100) % 3 == 1)[:, None], 0, 1e3))
  start = np.repeat(one[:, None], 8, 1).astype(np.float32)
  descend = lambda x, start, steps: lloyd.descend(x, jnp.ones(60), jnp.float32(0), steps, start).labels
  many = jax.jit(jax.vmap(descend, (0, 0, None)))
  for steps in (1, 100):
    labels = np.asarray(many(x, start, jnp.int32(steps)))
    assert min(np.bincount(one, minlength=8).min() for one in labels) > 0


def test_more_clusters_than_distinct_points_still_fills_each(key):
  x = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0]], np.float32), 5, 0)
  found = k_means.fit(x, 4, key=key)
  assert np.bincount(found.labels, minlength=4).min() > 0
  assert float(found.cost) == 0.0


def test_duplicates_are_not_seeded_twice_while_others_are_left(key):
  x = np.array([[0.0, 0]] * 50 + [[5.0, 0]] * 50 + [[0, 9.0]], np.float32)
  seed = lambda k: seeding.plus_plus(k, jnp.asarray(x), 3, jnp.ones(101, jnp.float32))
  picks = jax.vmap(seed)(jax.random.split(key, 20))
  assert all(len(np.unique(x[np.asarray(p)], axis=0)) == 3 for p in picks)


def test_one_cluster_is_the_mean_and_n_clusters_cost_nothing(key):
  x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32) + 100
  one = k_means.fit(x, 1, key=key)
  np.testing.assert_allclose(one.centers[0], x.mean(0), rtol=1e-5)
  np.testing.assert_allclose(one.cost, ((x - x.mean(0)) ** 2).sum(), rtol=1e-3)
  every = k_means.fit(x, 20, key=key)
  assert sorted(np.asarray(every.labels).tolist()) == list(range(20))
  assert float(every.cost) < 1e-6


def test_a_weight_is_a_repetition(key):
  (x, start), w = points(2), np.random.default_rng(2).integers(1, 5, 60)
  heavy = k_means.fit(x, 8, key=key, weights=w, start=start)
  many = k_means.fit(np.repeat(x, w, 0), 8, key=key, start=start)
  np.testing.assert_array_equal(np.repeat(heavy.labels, w), many.labels)
  np.testing.assert_allclose(heavy.cost, many.cost, rtol=1e-5)
  plain = k_means.fit(x, 8, key=key, start=start)
  assert abs(float(plain.cost) - float(heavy.cost)) > 1


def test_a_row_of_weight_zero_changes_nothing(key):
  x, start = points(3)
  far = np.concatenate([x, [[1e3, 1e3, 1e3]]]).astype(np.float32)
  a = k_means.fit(x, 8, key=key, start=start)
  b = k_means.fit(far, 8, key=key, start=start, weights=np.r_[np.ones(60), 0])
  np.testing.assert_array_equal(a.labels, b.labels[:60])
  np.testing.assert_allclose(a.cost, b.cost, rtol=1e-5)


def test_renaming_the_start_renames_the_labels(key):
  x, start = points(4)
  a = k_means.fit(x, 8, key=key, start=start)
  b = k_means.fit(x, 8, key=key, start=start[::-1])
  np.testing.assert_array_equal(7 - np.asarray(a.labels), b.labels)


def test_restarts_keep_the_best_and_equal_keys_give_equal_bits(digits, key):
  x = digits[0]
  one = k_means.fit(x, 10, key=key, restarts=6)
  again = k_means.fit(x, 10, key=key, restarts=6)
  np.testing.assert_array_equal(one.centers, again.centers)
  single = [float(k_means.fit(x, 10, key=k).cost) for k in jax.random.split(key, 6)]
  assert float(one.cost) <= np.median(single)


def test_far_from_the_origin_nothing_is_lost(key):
  x, start = points(5)
  near = k_means.fit(x, 8, key=key, start=start)
  shifted = k_means.fit(x + 1000, 8, key=key, start=start + 1000)
  assert scores.accuracy(near.labels, shifted.labels) == 1.0


@pytest.mark.parametrize("seeds", ["k-means||", "random"])
def test_other_seeds_are_rows_with_weight_or_their_means_and_end_where_lloyd_does(seeds, key):
  """Five rows without weight lie far off: nobody begins there, and from the seeds Lloyd's iteration goes its way."""
  x, _ = points(6)
  x[:5] = 1e3
  w = np.r_[np.zeros(5), np.ones(55)].astype(np.float32)
  fit = lambda **how: k_means.fit(x, 8, key=key, weights=w, **how)
  begin = fit(seeds=seeds, max_steps=0)
  assert np.abs(np.asarray(begin.centers)).max() < 10 and len(np.unique(begin.centers, axis=0)) == 8
  away = np.linalg.norm(np.asarray(begin.centers)[:, None] - x, axis=-1).min(1)
  assert (away < 1e-3).all() if seeds == "random" else (away > 1e-3).any()  # k-means|| polishes
  found, same = fit(seeds=seeds), fit(start=begin.centers)
  np.testing.assert_array_equal(found.labels, same.labels)
  worse = float(found.cost) < float(begin.cost)
  assert worse or seeds == "k-means||" and float(begin.cost) < 0.8 * float(fit(seeds="random", max_steps=0).cost)
  other = k_means.fit(x, 8, key=jax.random.fold_in(key, 1), weights=w, seeds=seeds, max_steps=0)
  assert not np.allclose(np.sort(other.centers, 0), np.sort(begin.centers, 0))


def test_one_cluster_has_no_need_of_bounds(key):
  x, _ = points(7)
  found = k_means.fit(x, 1, key=key, engine="pruned")
  np.testing.assert_allclose(found.centers[0], x.mean(0), atol=1e-5)


@pytest.mark.parametrize("k", [0, 6])
def test_impossible_k_is_named(k, key):
  with pytest.raises(Invalid, match="cluster.k"):
    k_means.fit(np.zeros((5, 2), np.float32), k, key=key)


def test_nan_is_named(key):
  with pytest.raises(Invalid, match="NaN"):
    k_means.fit(np.array([[0.0], [np.nan]], np.float32), 1, key=key)


def test_the_factory_labels_every_row_from_centres_of_one_set(key):
  rng = np.random.default_rng(6)
  image = np.concatenate([rng.integers(0, 60, (30, 4, 4, 1)), rng.integers(190, 255, (30, 4, 4, 1))]).astype(np.uint8)
  sets = {"train": np.arange(0, 60, 2, dtype=np.int32), "test": np.arange(1, 60, 2, dtype=np.int32)}
  data = Data({"image": image, "index": np.arange(60, dtype=np.int32)}, sets)
  procedure = k_means.cluster(2, data_set="train")
  found = procedure.finish(procedure.init(key, data), data)
  assert found.labels.shape == (60,)
  assert scores.accuracy(np.repeat([0, 1], 30), found.labels) == 1.0
  with pytest.raises(Invalid, match="cluster.array"):
    broken = k_means.cluster(2, array="nothing")
    broken.finish(broken.init(key, data), data)
