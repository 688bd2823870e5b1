import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import gmm, mixture, scores
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Clustering, Data
from ue_jax.parallel import spread

N, D, K = 300, 3, 4  # one shape for most tests, so few programs
KINDS = pytest.mark.parametrize("covariance", gmm.COVARIANCES)


@pytest.fixture(scope="module")
def cloud():
  """Four overlapping Gaussians of different shapes, and a labelling at random to start from."""
  rng = np.random.default_rng(0)
  centers, label = rng.uniform(-4, 4, (K, D)), rng.integers(0, K, N)
  turns = rng.normal(size=(K, D, D))
  x = centers[label] + np.einsum("nd,nde->ne", rng.normal(size=(N, D)), turns[label])
  return x.astype(np.float32), label, rng.integers(0, K, N)


def oracle(x, weights, labels, resp, steps, reg=1e-6):
  """EM with full covariances in float64: weighted rows, known labels. Parameters and log likelihoods of each step."""
  x, out = x.astype(np.float64), []
  for t in range(steps + 1):
    r = resp * weights[:, None]
    count = r.sum(0) + 10 * np.finfo(float).eps
    means = r.T @ x / count[:, None]
    apart = x[:, None] - means
    covariances = np.einsum("nk,nkd,nke->kde", r, apart, apart) / count[:, None, None] + reg * np.eye(x.shape[1])
    if t == steps:
      return count / count.sum(), means, covariances, out
    quad = np.einsum("nkd,kde,nke->nk", apart, np.linalg.inv(covariances), apart)
    log = np.log(count / count.sum()) - 0.5 * (quad + np.linalg.slogdet(2 * np.pi * covariances)[1])
    log = np.where((labels[:, None] >= 0) & (labels[:, None] != np.arange(len(means))), -np.inf, log)
    top = log.max(1, keepdims=True)
    total = top + np.log(np.exp(log - top).sum(1, keepdims=True))
    resp = np.exp(log - total)
    out.append(np.sum(weights * total[:, 0]) / weights.sum())


@KINDS
def test_twenty_steps_from_an_equal_start_equal_scikit_learn(cloud, key, covariance):
  from sklearn.mixture import GaussianMixture

  x, _, begin = cloud
  wide = x.astype(np.float64)
  peer = GaussianMixture(K, covariance_type=covariance)
  peer._initialize(wide, np.eye(K)[begin])
  for _ in range(20):
    peer._m_step(wide, peer._e_step(wide)[1])
  found, fit = gmm.fit(x, K, key=key, covariance=covariance, start=begin, max_steps=20, tol=0.0)
  assert int(found.steps) == 20 and not bool(found.converged)
  np.testing.assert_allclose(gmm.log_prob(fit.mixture, x), peer.score_samples(wide), atol=1e-4)
  np.testing.assert_allclose(fit.mixture.means, peer.means_, atol=1e-4)
  np.testing.assert_allclose(np.squeeze(fit.mixture.covariances), peer.covariances_, atol=1e-4)
  if covariance == "diag":
    np.testing.assert_allclose(gmm.predict_proba(fit.mixture, x), peer.predict_proba(wide), atol=1e-4)
  np.testing.assert_array_equal(found.labels, peer.predict(wide))
  assert float(fit.bic) == pytest.approx(peer.bic(wide), rel=1e-5)
  assert float(fit.aic) == pytest.approx(peer.aic(wide), rel=1e-5)
  assert float(found.cost) == pytest.approx(-peer.score(wide), rel=1e-5)


def test_weights_and_known_rows_follow_the_float64_oracle_and_the_likelihood_never_falls(cloud):
  x, label, begin = cloud
  weights = np.random.default_rng(1).integers(0, 4, N).astype(np.float32)
  labels = np.where(np.arange(N) % 5 == 0, label, -1)
  begin = np.where(labels >= 0, labels, begin)
  expected = oracle(x, weights, labels, np.eye(K)[begin], 15)
  state = gmm.begin(gmm.from_labels(x, begin, K, weights=weights))
  batch = {"x": jnp.asarray(x), "mask": jnp.asarray(weights), "label": jnp.asarray(labels, jnp.int32)}
  go, seen = jax.jit(gmm.step), []
  for _ in range(15):
    state, _ = go(state, batch)
    seen.append(float(state.likelihood))
  np.testing.assert_allclose(seen, expected[3], atol=1e-5)
  assert all(b >= a - 1e-6 for a, b in zip(seen, seen[1:])) and seen[-1] > seen[0] + 0.1
  for ours, theirs in zip(state.mixture, expected):
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_weight_is_a_repetition_and_weight_zero_is_absence(cloud, key):
  x, _, begin = cloud
  w = np.full(100, 2) + np.tile([0, 1, 2, 1], 25)  # 300 in all
  far = np.concatenate([x[:100], np.full((200, D), 1e3, np.float32)])
  start = np.r_[begin[:100], np.zeros(200, int)]
  heavy, a = gmm.fit(far, K, key=key, weights=np.r_[w, np.zeros(200)], start=start)
  many, b = gmm.fit(np.repeat(x[:100], w, 0), K, key=key, start=np.repeat(begin[:100], w))
  np.testing.assert_allclose(a.mixture.means, b.mixture.means, atol=1e-4)
  np.testing.assert_array_equal(np.repeat(heavy.labels[:100], w), many.labels)
  assert float(a.bic) == pytest.approx(float(b.bic), rel=1e-5)
  plain, c = gmm.fit(x, K, key=key, start=begin)
  assert abs(float(a.likelihood) - float(c.likelihood)) > 0.01


def test_known_rows_keep_their_component_and_pull_the_others(cloud, key):
  x, label, _ = cloud
  known = np.where(np.arange(N) % 3 == 0, 3 - label, -1)  # names that k-means cannot guess
  found, _ = gmm.fit(x, K, key=key, labels=known)
  np.testing.assert_array_equal(np.asarray(found.labels)[known >= 0], known[known >= 0])
  rest = known < 0
  assert np.mean(np.asarray(found.labels)[rest] == 3 - label[rest]) > 0.7


def test_absent_components_get_nobody_and_do_not_count(cloud, key):
  x, _, begin = cloud
  begin = begin // 2 * 2
  found, fit = gmm.fit(x, K, key=key, start=begin, max_steps=20, tol=0.0)
  assert set(np.asarray(found.labels).tolist()) == {0, 2}
  np.testing.assert_array_equal(fit.mixture.weights[np.array([1, 3])], 0)
  assert float(gmm.parameters(fit.mixture)) == 2 * 6 + 2 * 3 + 1
  expected = oracle(x, np.ones(N), np.full(N, -1), np.eye(2)[begin // 2], 20)
  np.testing.assert_allclose(np.asarray(fit.mixture.means)[[0, 2]], expected[1], atol=1e-4)


def test_the_start_keeps_to_active_components_and_agrees_with_known_rows(cloud, key, monkeypatch):
  x, label, _ = cloud
  asked = []

  def fit(x, k, *, key, weights):
    asked.append(k)
    return Clustering(np.where(label < 2, 1, 0))

  monkeypatch.setattr(gmm.k_means, "fit", fit)
  known = np.where((np.arange(N) % 4 == 0) & (label < 2), 3, -1)
  found, _ = gmm.fit(x, K, key=key, labels=known, active=[True, False, False, True], max_steps=1)
  assert asked == [2] and set(np.asarray(found.labels).tolist()) == {0, 3}
  assert np.mean((np.asarray(found.labels) == 3) == (label < 2)) > 0.8


def test_full_covariances_find_turned_blobs_where_spherical_ones_do_not(key):
  """Five sticks that point anywhere, from k-means and a few restarts."""
  rng, label = np.random.default_rng(0), np.arange(N) % 5
  turns = np.linalg.qr(rng.normal(size=(5, D, D)))[0]
  sticks = np.einsum("nd,nde->ne", rng.normal(size=(N, D)) * [4, 0.3, 0.3], turns[label])
  x = rng.uniform(-6, 6, (5, D))[label] + sticks
  found = {kind: gmm.fit(x, 5, key=key, restarts=10, covariance=kind)[0] for kind in ("full", "spherical")}
  assert scores.ari(label, found["full"].labels) >= 0.98
  assert scores.ari(label, found["spherical"].labels) <= 0.9


@KINDS
def test_singular_data_give_no_nan(cloud, key, covariance):
  x, _, begin = cloud
  twice = np.stack([x[:, 0], x[:, 0], x[:, 1]], 1) * 1000
  same = np.ones((N, D), np.float32)
  for rows in (twice, same):
    found, fit = gmm.fit(rows, K, key=key, covariance=covariance, start=begin)
    assert all(np.isfinite(v).all() for v in jax.tree.leaves((found.cost, fit.mixture, fit.bic)))


def test_place_and_scale_and_order_do_not_matter(cloud, key):
  x, _, begin = cloud
  plain, fit = gmm.fit(x, K, key=key, start=begin)
  moved, far = gmm.fit(x.astype(np.float64) + 1000, K, key=key, start=begin)
  assert scores.accuracy(plain.labels, moved.labels) > 0.99
  assert float(far.likelihood) == pytest.approx(float(fit.likelihood), abs=1e-3)
  large, scaled = gmm.fit(x * 8, K, key=key, start=begin, reg=64e-6)
  np.testing.assert_array_equal(plain.labels, large.labels)
  assert float(scaled.likelihood) == pytest.approx(float(fit.likelihood) - D * np.log(8), abs=1e-4)
  order = np.random.default_rng(3).permutation(N)
  turned, _ = gmm.fit(x[order], K, key=key, start=3 - begin[order])
  np.testing.assert_array_equal(3 - np.asarray(turned.labels), np.asarray(plain.labels)[order])


def test_one_group_is_the_mean_and_the_covariance(cloud):
  x = cloud[0]
  one = gmm.from_labels(x, np.zeros(N, int), K)
  np.testing.assert_array_equal(one.weights, [1, 0, 0, 0])
  np.testing.assert_allclose(one.means[0], x.mean(0), atol=1e-5)
  np.testing.assert_allclose(one.covariances[0], np.cov(x.T, bias=True), atol=1e-4)


def test_restarts_keep_the_best_and_equal_keys_give_equal_bits(cloud, key):
  x = cloud[0]
  best, again = (gmm.fit(x, K, key=key, restarts=4) for _ in range(2))
  np.testing.assert_array_equal(best[1].mixture.means, again[1].mixture.means)
  single = [float(gmm.fit(x, K, key=jax.random.fold_in(key, i))[1].likelihood) for i in range(3)]
  assert float(best[1].likelihood) >= min(single)


@pytest.mark.parametrize("mode, devices", [("jit", 4), ("shard_map", 2)])
def test_steps_are_equal_on_any_number_of_devices(cloud, mode, devices):
  x, label, begin = cloud
  batch = {"x": x[:-1], "mask": np.ones(N - 1, np.float32), "label": np.where(label == 2, 2, -1)[:-1].astype(np.int32)}
  one = many = gmm.begin(gmm.from_labels(x, begin, K))
  alone = spread.spread(gmm.step, mode="one", devices=jax.devices()[:1])
  together = spread.spread(gmm.step, mode=mode, devices=jax.devices()[:devices])
  for _ in range(4):
    one, many = alone(one, batch)[0], together(many, batch)[0]
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_wide_covariances_are_inverted_like_narrow_ones():
  wide = np.tril(np.random.default_rng(4).normal(size=(2, 70, 70)) * 0.1 + np.eye(70)).astype(np.float32)
  for lower in (wide, wide[:, :5, :5]):
    found = jax.jit(mixture._inverse)(lower)
    np.testing.assert_allclose(found @ lower, np.broadcast_to(np.eye(lower.shape[-1]), lower.shape), atol=1e-4)


def test_blocks_of_rows_give_what_all_rows_give_at_once(cloud):
  x, _, begin = cloud
  now = gmm.from_labels(x, begin, K)
  w, none = jnp.ones(N), jnp.full(N, -1, jnp.int32)

  @jax.jit
  def both(now):
    by = mixture.factors(now)
    return [mixture.sums(now, by, x, w, none, block) for block in (N, 64)]

  whole, parts = both(now)
  for a, b in zip(whole, parts):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_program_maps_over_starts(cloud):
  x, label, begin = cloud
  starts = [gmm.from_labels(x, v, K, covariance="diag") for v in (label, begin)]
  both = jax.tree.map(lambda *v: jnp.stack(v), *starts)
  ones, none = jnp.ones(N), jnp.full(N, -1, jnp.int32)
  mapped = jax.vmap(lambda start: gmm.run(jnp.asarray(x), start, ones, none, max_steps=5)[1].likelihood)(both)
  alone = [gmm.run(jnp.asarray(x), start, ones, none, max_steps=5)[1].likelihood for start in starts]
  np.testing.assert_allclose(mapped, alone, rtol=1e-5)


@pytest.mark.parametrize("field, change", [
  ("k", {"k": 0}), ("k", {"k": N + 1}), ("covariance", {"covariance": "round"}), ("reg", {"reg": -1.0}),
  ("weights", {"weights": -np.ones(N)}), ("weights", {"weights": np.ones(3)}), ("labels", {"labels": np.full(N, 7)}),
  ("active", {"active": np.zeros(K, bool)}), ("restarts", {"restarts": 0}),
])  # fmt: skip
def test_what_cannot_be_is_named(cloud, key, field, change):
  with pytest.raises(Invalid, match=f"cluster.{field}"):
    gmm.fit(cloud[0], **{"k": K, "key": key, **change})


def test_nan_is_named(key):
  with pytest.raises(Invalid, match="NaN"):
    gmm.fit(np.full((5, 2), np.nan), 2, key=key)


def test_the_factory_labels_every_row_from_one_set(cloud, key):
  x, label, _ = cloud
  rows = np.arange(N, dtype=np.int32)
  data = Data({"x": x, "label": label.astype(np.int32), "index": rows}, {"train": rows[::2]})
  procedure = gmm.cluster(K, array="x", data_set="train", max_steps=20)
  found = procedure.finish(procedure.init(key, data), data)
  assert found.labels.shape == (N,) and scores.ari(label, found.labels) > 0.5
  broken = gmm.cluster(K, array="x", data_set="nothing")
  with pytest.raises(Invalid, match="cluster.data_set"):
    broken.finish(broken.init(key, data), data)
