"""PAM with kept swap costs against a brute-force PAM, and the states it keeps against sums from nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import dissimilarities, fasterpam, nearest, pam, swap_costs

N, K = 42, 4  # one shape for all: one program


def problem(seed, kind):
  """An integer matrix, on which float32 sums are exact, and a start."""
  r = np.random.default_rng(seed)
  if kind == "metric":
    x = r.integers(0, 40, (N, 3))
    d = np.abs(x[:, None] - x).sum(-1)
  elif kind == "duplicates":
    x = r.integers(0, 3, (N, 2))
    d = np.abs(x[:, None] - x).sum(-1)
  else:
    d = r.integers(1, 60, (N, N))
    d = d if kind == "asymmetric" else np.minimum(d, d.T)
  np.fill_diagonal(d, 0)
  return d.astype(np.float32), r.choice(N, K, replace=False)


def brute_force(d, medoids):
  """PAM: the total cost of all k(n - k) swaps in every step; ties to the lower candidate, then the lower slot."""
  d, medoids = d.astype(np.float64), list(medoids)
  cost = lambda m: d[:, m].min(1).sum()
  trail = []
  while True:
    others = [j for j in range(len(d)) if j not in medoids]
    costs = np.array([[cost(medoids[:m] + [j] + medoids[m + 1 :]) for m in range(len(medoids))] for j in others])
    j, m = np.unravel_index(costs.argmin(), costs.shape)
    if costs[j, m] >= cost(medoids):
      return medoids, cost(medoids), trail
    trail.append((int(m), others[j]))
    medoids[m] = others[j]


CASES = [(seed, kind) for seed in range(5) for kind in ("metric", "asymmetric", "symmetric", "duplicates")]


@pytest.mark.parametrize("seed, kind", CASES)
def test_every_swap_medoids_and_cost_are_those_of_brute_force_pam(seed, kind):
  d, start = problem(seed, kind)
  medoids, cost, trail = brute_force(d, start)
  now = list(start)
  for t, (slot, j) in enumerate(trail):  # ended after each swap in turn
    found = fasterpam.fit(distances=d, k=K, start=start, max_steps=t)
    assert found.medoids.tolist() == now and not bool(found.converged)
    now[slot] = j
  found, trace = fasterpam.solve(distances=d, k=K, start=start)
  assert found.medoids.tolist() == medoids == now
  assert float(found.cost) == cost and int(found.steps) == int(trace.swaps) == len(trail) > 0 and bool(found.converged)
  np.testing.assert_array_equal(d[np.arange(N), found.medoids[found.labels]], d[:, medoids].min(1))
  np.testing.assert_array_equal(found.labels[found.medoids], np.arange(K))  # even among duplicates


def source(d):
  return dissimilarities.matrix(jnp.asarray(d), jnp.arange(N, dtype=jnp.int32), jnp.ones(N, bool))


@jax.jit
def swapped(d, start, slot, j):
  """Costs kept over a swap in both ways, costs from nothing before and after it, and what was recorded of the swap."""
  before = nearest.nearest(source(d), start)
  costs = swap_costs.fresh(source(d), before, True)
  after, points, count = nearest.swap(before, slot, j, d[:, j])
  kept = [swap_costs.update(source(d), costs, before, after, points, count, blocks) for blocks in (False, True)]
  looked = nearest.nearest(source(d), after.medoids)
  return costs, kept, swap_costs.fresh(source(d), after), after, looked, count


@pytest.mark.parametrize("kind", ["asymmetric", "duplicates"])
def test_costs_kept_over_a_swap_equal_costs_from_nothing(kind):
  d, start = problem(3, kind)
  j = next(j for j in range(N) if j not in start)
  costs, kept, anew, after, looked, count = swapped(d, jnp.asarray(start, jnp.int32), 2, j)
  for form in kept:  # one point at a time, and many
    np.testing.assert_array_equal(form.shared, anew.shared)
    np.testing.assert_array_equal(form.own, anew.own)
  for name in ("medoids", "near", "d1", "d2", "table"):
    np.testing.assert_array_equal(getattr(after, name), getattr(looked, name), err_msg=name)
  assert 0 < int(count) < N
  for slot in range(K):  # what the kept costs mean: the change of the total cost
    for j in (0, 11, 23):
      others = np.delete(start, slot).tolist() + [j]
      change = d[:, others].min(1).sum() - d[:, start].min(1).sum()
      assert j in start or float(costs.shared[j] + costs.own[slot, j]) == change


def test_kept_costs_that_drifted_are_formed_anew():
  d, start = problem(1, "metric")
  medoids, _, trail = brute_force(d, start)
  honest = swap_costs.update

  def drifting(*args):
    costs = honest(*args)
    return costs._replace(shared=costs.shared - 30.0)  # every swap now seems to gain 30 more than it does

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pam.swap_costs, "update", drifting)
    found = jax.jit(lambda d, m: pam.search(source(d), m, jnp.float32(1e-7), jnp.int32(1000)))(
      d, jnp.asarray(start, jnp.int32))
  assert found.now.medoids.tolist() == medoids and int(found.swaps) == len(trail)
  assert int(found.sweeps) == len(trail) + 1  # after every swap

