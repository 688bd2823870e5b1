import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.protect import cuda_theory as theory


def test_the_sine_transform_diagonalises_the_filter():
  for d, a in ((5, 0.5), (32, 0.2), (100, 0.45)):
    q = theory.basis(d)
    np.testing.assert_allclose(q @ np.diag(theory.eigenvalues(d, a)) @ q, theory.filter_matrix(d, a), atol=1e-12)
    np.testing.assert_allclose(q @ q, np.eye(d), atol=1e-12)


def test_the_rule_is_the_log_likelihood_ratio():
  rng = np.random.default_rng(0)
  d, minus, plus = 6, 0.1, 0.4
  mu, x = rng.normal(size=d), rng.normal(size=(20, d))

  def log_density(a, y):
    matrix = theory.filter_matrix(d, a)
    u = np.linalg.solve(matrix, (x - y * matrix @ mu).T).T
    return -0.5 * (u**2).sum(1) - np.linalg.slogdet(matrix)[1]

  q = theory.basis(d)
  ours = theory.score(jnp.asarray(x @ q, jnp.float32), jnp.asarray(q @ mu, jnp.float32), minus, plus)
  np.testing.assert_allclose(ours, 2 * (log_density(plus, 1) - log_density(minus, -1)), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
  "d, norm, minus, plus, clean, cuda, bayes",
  [
    (100, 2.5, 0.05, 0.05, 0.994, 0.994, 0.994),
    (100, 2.5, 0.05, 0.25, 0.597, None, 0.994),
    (100, 2.5, 0.05, 0.45, 0.500, 1.000, 0.994),
    (100, 1.0, 0.05, 0.25, 0.500, 0.991, 0.841),
    (32, 5.0, 0.05, 0.45, 0.537, None, 1.000),
  ],
)
def test_the_filter_hides_the_class_as_the_closed_form_says(d, norm, minus, plus, clean, cuda, bayes, key):
  got = theory.simulate(key, d, norm, minus, plus)
  assert float(got.clean) == pytest.approx(clean, abs=0.02)
  assert float(got.bayes) == pytest.approx(bayes, abs=0.001)
  if cuda is not None:
    assert float(got.cuda) == pytest.approx(cuda, abs=0.02)


def test_the_contour_is_the_grid_of_single_simulations(key):
  grid = jnp.array([0.05, 0.25, 0.45])
  many = theory.contour(key, 2.5, grid, grid, d=32, n=500)
  assert many.clean.shape == (3, 3)
  for i in range(3):
    for j in range(3):
      one = theory.simulate(key, 32, 2.5, grid[i], grid[j], 500)
      assert float(many.clean[i, j]) == pytest.approx(float(one.clean), abs=5e-3)
  assert float(jnp.diag(many.clean).min()) > 0.97 > 0.9 > float(many.clean[0, 2])


def test_a_filter_that_is_not_positive_is_named():
  with pytest.raises(Invalid, match="a_plus"):
    theory.simulate(jax.random.key(0), 8, 1.0, 0.1, 0.7)
