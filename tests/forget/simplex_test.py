import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.forget import simplex


@pytest.fixture(scope="module")
def project():
  return jax.jit(simplex.project)


def furthest(direction, m):
  """The largest inner product of `direction` with a point of {0 <= y <= 1, sum y = m}: a linear program."""
  order, whole = -np.sort(-direction), int(m)
  return order[:whole].sum() + (m - whole) * order[whole]


def test_the_projection_solves_the_quadratic_program(project):
  """x is the nearest point of a convex set if and only if no point y of it has (a - x) (y - x) > 0."""
  rng = np.random.default_rng(0)
  for case in range(20):
    a, m = rng.normal(0, [0.3, 1, 3][case % 3], 10).astype(np.float32), float(rng.uniform(0.5, 9.5))
    x = np.asarray(project(a, m), np.float64)
    assert x.min() >= 0 and x.max() <= 1 and x.sum() == pytest.approx(m, abs=1e-4)
    gap = furthest(a - x, m) - (a - x) @ x
    assert -1e-3 < gap < 1e-4
    even = np.full(10, m / 10)
    assert furthest(a - even, m) - (a - even) @ even > 0.05, "another feasible point is told apart"


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4, 1e7])
def test_it_is_feasible_and_idempotent_for_numbers_of_any_size(project, scale):
  a = np.random.default_rng(1).normal(0, scale, 400).astype(np.float32)
  for m in (1.0, 40.0, 133.5, 399.0):
    x = np.asarray(project(a, m))
    assert x.min() >= 0 and x.max() <= 1 and x.sum(dtype=np.float64) == pytest.approx(m, abs=1e-3)
    np.testing.assert_allclose(project(x, m), x, atol=1e-5)
    assert (np.diff(x[np.argsort(a)]) >= 0).all(), "the order is kept"


def test_all_of_it_and_a_traced_sum(project):
  assert np.asarray(project(jnp.array([3.0, -2.0, 0.5]), 3.0)).tolist() == [1, 1, 1]
  sums = jax.vmap(simplex.project, (None, 0))(jnp.linspace(0, 1, 50), jnp.array([2.0, 7.25])).sum(1)
  np.testing.assert_allclose(sums, [2, 7.25], atol=1e-4)


def test_the_indicator_of_the_largest():
  assert np.asarray(simplex.top(jnp.array([0.1, 0.7, 0.7, 0.9]), 2)).tolist() == [0, 1, 0, 1]
  assert [simplex.size(0.1, n) for n in (1297, 10, 2)] == [130, 1, 1] and simplex.size(0.99, 5) == 4


def test_means_of_groups():
  found = simplex.group_means(jnp.array([1.0, 3.0, 5.0]), jnp.array([2, 0, 2]), 4)
  assert np.asarray(found).tolist() == [3, 0, 3, 0]
