"""Eager swaps against the sequential method, candidate for candidate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import dissimilarities, eager, fasterpam

N, K = 90, 11  # more medoids than groups; blocks of 4, 32 and 90


def problem(seed, kind):
  r = np.random.default_rng(seed)
  if kind == "asymmetric":
    d = r.integers(1, 60, (N, N))
  else:
    x = r.integers(0, 40 if kind == "metric" else 4, (N, 2))
    d = np.abs(x[:, None] - x).sum(-1)
  np.fill_diagonal(d, 0)
  return d.astype(np.float32), r.choice(N, K, replace=False)


def sequential(d, medoids, order=None, patience=None):
  """FasterPAM in float64, one candidate at a time; also counts passes."""
  d, medoids, n = d.astype(np.float64), list(medoids), len(d)
  order = np.arange(n) if order is None else order
  patience = n if patience is None else patience
  cost = lambda m: d[:, m].min(1).sum()
  t, last, trail = 0, 0, []
  while t < last + patience:
    j = int(order[t % n])
    if j not in medoids:
      costs = [cost(medoids[:m] + [j] + medoids[m + 1 :]) for m in range(len(medoids))]
      m = int(np.argmin(costs))
      if costs[m] < cost(medoids):
        medoids[m], last = j, t
        trail.append((m, j))
    t += 1
  return medoids, cost(medoids), trail, last // n + 2 if trail else 1


@jax.jit
def found(d, start, order, patience, max_steps):
  ids = jnp.arange(N, dtype=jnp.int32)
  source = dissimilarities.matrix(d, ids, ids >= 0)
  state = eager.search(source, start, jnp.float32(1e-7), max_steps, order=order, patience=patience)
  return state, state.passes, eager._bound(d, state.now, eager.grouped(state.now))


def run(d, start, order=None, patience=N, max_steps=1000):
  order = np.arange(N) if order is None else order
  return found(d, *(jnp.asarray(v, jnp.int32) for v in (start, order, patience, max_steps)))


@pytest.mark.parametrize("kind", ["metric", "asymmetric", "duplicates"])
@pytest.mark.parametrize("seed", range(3))
def test_medoids_swaps_and_passes_are_those_of_the_sequential_method(seed, kind):
  d, start = problem(seed, kind)
  medoids, cost, trail, passes = sequential(d, start)
  state, took, _ = run(d, start)
  assert state.now.medoids.tolist() == medoids and float(state.loss) == cost
  assert int(state.swaps) == len(trail) and int(took) == passes and bool(state.done)
  part, _, _ = run(d, start, max_steps=len(trail) // 2)
  half = list(start)
  for slot, j in trail[: len(trail) // 2]:
    half[slot] = j
  assert part.now.medoids.tolist() == half and not bool(part.done)


@pytest.mark.parametrize("patience", [20, N])
def test_another_order_and_less_patience_are_kept_too(patience):
  d, start = problem(5, "metric")
  order = np.random.default_rng(1).permutation(N)
  state, _, _ = run(d, start, order, patience)
  medoids, cost, trail, _ = sequential(d, start, order, patience)
  assert state.now.medoids.tolist() == medoids and float(state.loss) == cost and int(state.swaps) == len(trail)


def test_the_bound_is_never_above_the_best_swap_and_refuses_most():
  d, start = problem(2, "metric")
  state, _, bound = run(d, start)
  chosen, base = state.now.medoids.tolist(), float(state.loss)
  best = np.array([min(d[:, chosen[:m] + [j] + chosen[m + 1 :]].min(1).sum() for m in range(K)) for j in range(N)])
  others = np.setdiff1d(np.arange(N), chosen)
  assert (np.asarray(bound)[others] <= best[others] - base + 1e-3).all()
  assert (np.asarray(bound)[others] > 0).mean() > 0.5


def test_worked_case():
  d = np.zeros((5, 5), np.float32)
  for i, row in enumerate([[1], [2, 3], [4, 5, 6], [7, 8, 9, 1]], 1):
    d[i, :i] = d[:i, i] = row
  found, trace = fasterpam.solve(distances=d, k=2, start=[0, 1], mode="eager")
  assert (float(found.cost), int(trace.swaps), int(trace.passes)) == (4, 2, 2)
  assert set(found.medoids.tolist()) == {0, 3} and found.labels.tolist() == [0, 0, 0, 1, 1]
  single, trace = fasterpam.solve(distances=d, k=1, start=[1], mode="eager")
  assert float(single.cost) == 14 and single.medoids.tolist() == [0] and int(trace.passes) == 1
