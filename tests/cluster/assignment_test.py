import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from ue_jax.cluster import assignment, scores
from ue_jax.core.errors import Invalid


def total(cost, columns):
  rows = np.flatnonzero(columns >= 0)
  return cost[rows, columns[rows]].sum()


@pytest.mark.parametrize("shape, high", [((64, 64), 1000), ((12, 12), 4), ((5, 9), 50), ((9, 5), 50)])
def test_the_total_equals_that_of_scipy_on_500_integer_matrices(shape, high):
  """Up to 64 x 64, wide and tall, with many ties: each shape in one vmap."""
  many = 50 if shape == (64, 64) else 150
  costs = np.random.default_rng(high).integers(-high, high, (many, *shape))
  found = np.asarray(jax.vmap(assignment.solve)(jnp.asarray(costs, jnp.int32)))
  for cost, columns in zip(costs, found):
    matched = columns[columns >= 0]
    assert len(matched) == min(shape) == len(set(matched.tolist()))
    assert total(cost, columns) == cost[linear_sum_assignment(cost)].sum()


def test_real_costs_and_the_greatest_total():
  costs = np.random.default_rng(0).normal(size=(40, 9, 9)).astype(np.float32)
  least = np.asarray(jax.vmap(assignment.solve)(jnp.asarray(costs)))
  most = np.asarray(jax.vmap(lambda c: assignment.solve(c, maximize=True))(jnp.asarray(costs)))
  for cost, low, high in zip(costs, least, most):
    np.testing.assert_array_equal(low, linear_sum_assignment(cost)[1])
    np.testing.assert_array_equal(high, linear_sum_assignment(cost, maximize=True)[1])


def test_accuracy_under_vmap_equals_the_one_on_the_host():
  rng = np.random.default_rng(1)
  true, predicted = rng.integers(0, 6, (100, 50)), rng.integers(0, 9, (100, 50))
  score = jax.vmap(lambda a, b: assignment.accuracy(a, b, 9))
  ours = score(jnp.asarray(true, jnp.int32), jnp.asarray(predicted, jnp.int32))
  np.testing.assert_allclose(ours, [scores.accuracy(a, b) for a, b in zip(true, predicted)], atol=1e-6)


def test_rows_outside_the_mask_do_not_count_and_noise_is_wrong():
  true, predicted = np.array([0, 0, 1, 1, 1], np.int32), np.array([1, 1, 0, 0, -1], np.int32)
  assert float(assignment.accuracy(true, predicted, 2)) == pytest.approx(0.8)
  assert float(assignment.accuracy(true, predicted, 2, np.array([1, 1, 1, 1, 0]))) == 1.0


def test_costs_that_are_not_finite_are_named():
  with pytest.raises(Invalid, match="cluster.cost"):
    assignment.solve(np.array([[0.0, np.nan]]))
