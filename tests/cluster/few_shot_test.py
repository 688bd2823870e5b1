import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import bound, episodes, few_shot, neighbours, scores
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.parallel import mesh

EPISODES, WAY, QUERIES = 100, 5, 15
LAMS = jnp.asarray([0.0, 0.7], jnp.float32)
N, D, K, M = 60, 3, 4, 3  # of the small problem: one shape, so few programs


@pytest.fixture(scope="module")
def digits():
  from sklearn.datasets import load_digits

  x, y = load_digits(return_X_y=True)
  return x.astype(np.float32), y


@pytest.fixture(scope="module")
def played(digits):
  """shots -> (accuracies [episodes] of the nearest prototype, of lam 0 and 0.7 [2, episodes], Inference of those)."""
  x, y = digits
  mean = x.mean(0)

  @functools.cache
  def play(shots):
    drawn = episodes.draw(y, EPISODES, way=WAY, shots=shots, queries=QUERIES, seed=1)
    support, query, labels = x[drawn.support], x[drawn.query], np.repeat(np.arange(WAY), shots).astype(np.int32)
    one = lambda s, q, lam: few_shot.infer(s, labels, q, WAY, lam=lam, mean=mean, trace=200)
    found = jax.jit(jax.vmap(jax.vmap(one, (0, 0, None)), (None, None, 0)))(support, query, LAMS)
    near = lambda s, q: few_shot.nearest(s, labels, q, WAY, mean=mean, shift=False).labels
    accuracy = lambda labels: np.mean(np.asarray(labels) == drawn.truth, axis=-1)
    nearest = accuracy(jax.jit(jax.vmap(near))(support, query)) if shots == 1 else None
    return nearest, accuracy(found.labels), found

  return play


@pytest.fixture(scope="module")
def small():
  """Points of four overlapping groups, ten of them labelled, and centres to start from."""
  rng = np.random.default_rng(0)
  truth = np.repeat(np.arange(K), N // K)
  x = (rng.normal(size=(K, D))[truth] + 0.5 * rng.normal(size=(N, D))).astype(np.float32)
  known = np.full(N, -1, np.int32)
  rows = np.concatenate([np.arange(c, N, N // K)[:3] for c in range(3)] + [[N - 1]])
  known[rows] = truth[rows]
  return x, known, x[[0, 15, 30, 45]]


def graph_matrix(x, m, symmetric=True):
  w = np.zeros((len(x), len(x)))
  index = np.argsort(((x[:, None].astype(np.float64) - x[None]) ** 2).sum(-1) + 1e9 * np.eye(len(x)), axis=1)[:, :m]
  w[np.arange(len(x))[:, None], index] = 1
  return (w + w.T) / 2 if symmetric else w


def means(x, labels, k=K):
  return np.stack([x[labels == c].mean(0) for c in range(k)])


def softmax(a):
  a = np.exp(a - a.max(1, keepdims=True))
  return a / a.sum(1, keepdims=True)


def shifted(x, labels, centers, width):
  """Mean-shift of every centre over the points of its cluster."""
  out = centers.copy()
  for c in range(len(centers)):
    for _ in range(1000):
      weight = np.exp(-((x[labels == c] - out[c]) ** 2).sum(1) / (2 * width))
      new = weight @ x[labels == c] / weight.sum()
      moved, out[c] = np.linalg.norm(new - out[c]) / np.linalg.norm(out[c]), new
      if moved <= 1e-5:
        break
  return out


def oracle(x, known, centers, lam, outer, inner, clamp="inner", modes=False, symmetric=True):
  """The algorithm in float64: every step written out."""
  x, w, k = x.astype(np.float64), graph_matrix(x, M, symmetric), len(centers)
  x = x - x.mean(0)
  sq = lambda c: ((x[:, None] - c) ** 2).sum(-1)
  width = (sq(x) * (graph_matrix(x, M, False))).sum() / (5 * len(x))
  cost = lambda c: -np.exp(-sq(c) / (2 * width)) if modes else sq(c)
  hold = lambda soft: np.where(known[:, None] >= 0, np.eye(k)[known], soft)
  protos = means(x, known, k)  # every class has a known point
  labels = hold(softmax(-cost(protos))).argmax(1)
  for _ in range(outer):
    protos = shifted(x, labels, protos, width) if modes else means(x, labels, k)
    soft = hold(softmax(-cost(protos)))
    for _ in range(inner):
      soft = softmax(lam * w @ soft - cost(protos))
      soft = hold(soft) if clamp == "inner" else soft
    labels = soft.argmax(1)
  return soft, labels


def fitted(small, key, lam=0.7, **how):
  x, known, start = small
  settings = dict(prototypes="means", neighbours=M, tol=0.0, inner_tol=-1.0, inner_steps=20, max_steps=3, trace=200)
  return few_shot.fit(x, K, key=key, labels=known, start=start, lam=lam, **{**settings, **how})


def test_one_shot_gains_and_five_shots_gain_over_k_means(played):
  nearest, (k_means, slk), _ = played(1)
  assert slk.mean() - nearest.mean() >= 0.06
  assert k_means.mean() - nearest.mean() >= 0.04
  _, (k_means, slk), _ = played(5)
  assert slk.mean() >= 0.92
  assert slk.mean() - k_means.mean() >= 0.015


def test_the_energy_never_rises_while_prototypes_stand(played):
  for shots in (1, 5):
    trace = jax.tree.map(np.asarray, played(shots)[2].trace)
    steps, same = np.diff(trace.energy, axis=-1), np.diff(trace.prototypes, axis=-1) == 0
    seen = same & np.isfinite(steps)
    assert seen[1].sum() > 10 * EPISODES
    size = np.nanmax(np.abs(trace.energy))
    assert (steps[seen] <= 2e-6 * size).all()
    assert (steps[1][seen[1]] < -1e-3).any(), "it does fall"


def test_every_number_equals_a_float64_oracle(small, key):
  x, known, start = small
  for lam, prototypes, clamp in ((0.7, "means", "inner"), (0.2, "means", "inner"), (0.5, "mean_shift", "init")):
    _, found = fitted(small, key, lam=lam, prototypes=prototypes, clamp=clamp)
    soft, labels = oracle(x, known, start, lam, 3, 20, clamp, prototypes == "mean_shift")
    np.testing.assert_allclose(found.soft, soft, atol=1e-4)
    np.testing.assert_array_equal(found.labels, labels)
    assert int(found.steps) == 3 and not bool(found.converged)


def test_labelled_points_never_change_and_hold_the_others(small, key):
  x, known, _ = small
  wrong = np.where(known >= 0, (known + 1) % K, -1).astype(np.int32)  # labels that the points themselves contradict
  _, found = few_shot.fit(
    x, K, key=key, labels=wrong, start=small[2], lam=0.7, prototypes="means", neighbours=M, tol=0.0, inner_tol=-1.0,
    inner_steps=20, max_steps=3, trace=200,
  )  # fmt: skip
  rows = wrong >= 0
  np.testing.assert_array_equal(found.labels[rows], wrong[rows])
  np.testing.assert_array_equal(found.soft[rows], np.eye(K)[wrong[rows]])


def test_without_the_graph_it_is_k_means_that_keeps_its_labels(small, key):
  x, known, start = small
  clustering, found = fitted(small, key, lam=0.0, max_steps=100)
  centers = np.where(np.bincount(known[known >= 0], minlength=K)[:, None] > 0, means(x, known), start)
  labels, steps = None, 0
  while True:
    steps += 1
    new = ((x[:, None].astype(np.float64) - centers) ** 2).sum(-1).argmin(1)
    new[known >= 0] = known[known >= 0]
    if labels is not None and (new == labels).all():
      break
    labels, centers = new, means(x.astype(np.float64), new)
  np.testing.assert_array_equal(clustering.labels, labels)
  np.testing.assert_allclose(clustering.centers, centers, atol=1e-5)
  assert bool(clustering.converged) and int(clustering.steps) == steps


@pytest.mark.parametrize("n", [2, 4])
def test_rows_cut_over_devices_give_the_labels_of_one(small, key, n):
  x, known, start = small
  over = mesh.mesh(jax.devices()[:n])
  cut = (jax.device_put(jnp.asarray(x), mesh.split(over)), known, start)
  (one, soft), (many, spread) = fitted(small, key), fitted(cut, key)
  np.testing.assert_array_equal(one.labels, many.labels)
  np.testing.assert_allclose(soft.soft, spread.soft, atol=1e-5)


def test_a_cluster_that_would_die_stops_it_with_what_was_before(key):
  x = np.random.default_rng(7).normal(size=(N, D)) * 0.1 + 10 * np.eye(3)[np.arange(N) % 3]
  x[0] = [11.2, 0, 0]  # a cluster of its own at first, all of whose neighbours lie in another
  start = np.concatenate([10 * np.eye(3), [[12, 0, 0]]])
  _, found = fitted((x.astype(np.float32), np.full(N, -1, np.int32), start), key, lam=20.0)
  assert bool(found.done) and not bool(found.converged) and np.isfinite(float(found.cost))
  np.testing.assert_array_equal(np.bincount(found.labels), [19, 20, 20, 1])
  _, weak = fitted((x.astype(np.float32), np.full(N, -1, np.int32), start), key, lam=0.1)
  np.testing.assert_array_equal(np.bincount(weak.labels), [19, 20, 20, 1])
  assert bool(weak.converged)


def test_a_diagonal_makes_a_strong_graph_descend(small, key):
  """Two groups of points that name each other only: W has the eigenvalue -M, so parallel updates swing."""
  index = jnp.asarray(np.concatenate([np.tile([3, 4, 5], (3, 1)), np.tile([0, 1, 2], (3, 1))]), jnp.int32)
  graph = neighbours.Graph(index, jnp.ones((6, 3)))
  a = jnp.asarray([[0.0, 0.1]] * 3 + [[0.1, 0.0]] * 3)

  @jax.jit
  def run(diagonal):
    numbers = few_shot._numbers(5.0, 1.0, diagonal, 1, 0.0, 40, -1.0)
    pull = bound.smoother(graph, True, numbers.diagonal)
    blank = bound.Trace(jnp.full(41, jnp.nan), jnp.full(41, -1, jnp.int32))
    return bound.relax(pull, lambda y: y, lambda y: y, numbers, a, 1, blank)[1].energy

  assert np.diff(run(0.0)).max() > 1
  assert np.diff(run(3.0)).max() <= 1e-5


def test_modes_by_mean_shift_sit_where_points_are_dense_and_lonely_points_are_their_own():
  rng = np.random.default_rng(3)
  dense, tail = 0.1 * rng.normal(size=(40, 2)), np.array([[6.0, 0.0]] * 15) + rng.normal(size=(15, 2))
  x = jnp.asarray(np.concatenate([dense, tail, [[500.0, 500.0]]]), jnp.float32)
  member = np.zeros((56, 3), np.float32)
  member[:55, 0] = member[55, 1] = 1
  start = jnp.asarray([x[:55].mean(0), [0.0, 0.0], [7.0, 7.0]])
  modes = np.asarray(jax.jit(bound.mean_shift)(x, jnp.asarray(member), start, jnp.float32(1.0)))
  assert np.linalg.norm(start[0]) > 1.5 and np.linalg.norm(modes[0]) < 0.2
  np.testing.assert_array_equal(modes[1], [500.0, 500.0])
  np.testing.assert_array_equal(modes[2], start[2])


def test_the_surest_point_is_found_where_probabilities_are_rounded_to_one():
  logits = np.random.default_rng(4).normal(size=(50, 3)) * 15
  rest = [[np.logaddexp.reduce(np.delete(row, c)) - row[c] for c in range(3)] for row in logits]
  rounded = np.asarray(jax.nn.softmax(jnp.asarray(logits, jnp.float32)))
  assert ((rounded == 1).sum(0) > 1).all()
  np.testing.assert_array_equal(jax.jit(bound.surest)(jnp.asarray(logits, jnp.float32)), np.argmin(rest, axis=0))


def test_modes_by_the_bound_are_points_and_cluster_groups_from_a_seeding(key):
  rng = np.random.default_rng(5)
  truth = np.repeat(np.arange(K), N // K)
  x = (np.eye(K)[:, :D][truth] + 0.08 * rng.normal(size=(N, D))).astype(np.float32)
  found, _ = few_shot.fit(x, K, key=key, prototypes="bound_modes", lam=0.5, neighbours=M)
  assert scores.accuracy(truth, found.labels) == 1.0
  assert np.sqrt(((np.asarray(found.centers)[:, None] - x) ** 2).sum(-1)).min(1).max() < 1e-5


def test_rectified_prototypes_equal_their_definition():
  rng = np.random.default_rng(6)
  x, c = rng.normal(size=(30, 4)), rng.normal(size=(3, 4))
  unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
  share, label = softmax(10 * unit(x) @ unit(c).T), (unit(x) @ unit(c).T).argmax(1)
  expected = np.stack([(share[label == k, k][:, None] * x[label == k]).mean(0) for k in range(3)])
  ours = jax.jit(few_shot.rectified)(jnp.asarray(x, jnp.float32), jnp.asarray(c, jnp.float32))
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_laplacian_shot_equals_a_float64_oracle_on_either_graph(small):
  """Prototypes once, rectified, then twenty updates on the graph of the queries alone; directed edges or their mean."""
  x, known, _ = small
  rows, rest = known >= 0, known < 0
  how = dict(lam=0.7, neighbours=M, normalise="un", shift=False, tol=-1.0)
  shot = lambda symmetric: lambda s, q: few_shot.laplacian_shot(s, known[rows], q, K, symmetric=symmetric, **how)
  found = {symmetric: jax.jit(shot(symmetric))(x[rows], x[rest]) for symmetric in (True, False)}
  unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
  both = np.concatenate([x[rows], x[rest]]).astype(np.float64)
  cosine = unit(both) @ unit(means(x[rows].astype(np.float64), known[rows])).T
  label, share = cosine.argmax(1), softmax(10 * cosine).max(1)
  centers = means(both * share[:, None], label)
  a = ((x[rest][:, None].astype(np.float64) - centers) ** 2).sum(-1)
  for symmetric, ours in found.items():
    w, soft = graph_matrix(x[rest], M, symmetric), softmax(-a)
    for _ in range(20):
      soft = softmax(0.7 * w @ soft - a)
    np.testing.assert_allclose(ours.prototypes, centers, atol=1e-5)
    np.testing.assert_allclose(ours.soft, soft, atol=1e-4)
    np.testing.assert_array_equal(ours.labels, soft.argmax(1))
  assert np.abs(found[True].soft - found[False].soft).max() > 0.01


def test_directed_edges_equal_the_oracle_in_the_outer_loop_too(small, key):
  x, known, start = small
  _, found = fitted(small, key, symmetric=False)
  soft, labels = oracle(x, known, start, 0.7, 3, 20, symmetric=False)
  np.testing.assert_allclose(found.soft, soft, atol=1e-4)
  np.testing.assert_array_equal(found.labels, labels)


def test_what_does_not_fit_is_named(small, key):
  x, known, _ = small
  with pytest.raises(Invalid, match="cluster.k"):
    few_shot.fit(x, N + 1, key=key)
  with pytest.raises(Invalid, match="cluster.labels"):
    few_shot.fit(x, 2, key=key, labels=known)
  with pytest.raises(Invalid, match="cluster.prototypes"):
    few_shot.fit(x, K, key=key, prototypes="medians")
  with pytest.raises(Invalid, match="cluster.labels"):
    few_shot.infer(x[:4], [0, 1, 1, 0], x[4:], 3)


def test_the_factory_labels_every_row_of_the_data(small, key):
  x, _, _ = small
  data = Data({"x": x, "index": np.arange(N, dtype=np.int32)}, {"train": np.arange(N, dtype=np.int32)})
  procedure = few_shot.cluster(K, array="x", neighbours=M, prototypes="bound_modes")
  found = procedure.finish(procedure.init(key, data), data)
  assert found.labels.shape == (N,) and set(found.labels) <= set(range(K))
  with pytest.raises(Invalid, match="cluster.array"):
    few_shot.cluster(K).finish(procedure.init(key, data), data)
