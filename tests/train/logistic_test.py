"""Logistic regression is held to the conditions of its optimum in float64, and to scikit-learn."""

import jax
import numpy as np
import pytest

from ue_jax.train import logistic


@pytest.fixture(scope="module")
def problem():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(60, 5)).astype(np.float32)
  y = np.argmax(x @ rng.normal(size=(5, 3)) + rng.normal(size=(60, 3)), axis=1).astype(np.int32)
  return x, y


def slopes(x, y, found, penalty):
  """The gradient of the objective in float64: of the weights and of the bias."""
  weights, bias = (np.asarray(a, np.float64) for a in found)
  logits = x.astype(np.float64) @ weights + bias
  p = np.exp(logits - logits.max(1, keepdims=True))
  far = (p / p.sum(1, keepdims=True) - np.eye(p.shape[1])[y]) / len(x)
  return x.T.astype(np.float64) @ far + penalty * weights, far.sum(0)


@pytest.mark.parametrize("penalty", [1e-2, 1.0])
def test_nothing_is_left_of_the_slope(problem, penalty):
  x, y = problem
  found = jax.jit(logistic.fit, static_argnums=5)(x, y, np.ones(60, np.float32), np.ones(3, bool), penalty, 300)
  for slope in slopes(x, y, found, penalty):
    assert np.abs(slope).max() < 1e-5


def test_it_is_what_scikit_learn_finds(problem):
  linear_model = pytest.importorskip("sklearn.linear_model")
  x, y = problem
  found = logistic.fit(x, y, np.ones(60, np.float32), np.ones(3, bool), 0.05, 300)
  peer = linear_model.LogisticRegression(C=1 / (0.05 * 60), tol=1e-8, max_iter=1000).fit(x, y)
  np.testing.assert_allclose(found.weights, peer.coef_.T, atol=2e-3)
  np.testing.assert_array_equal(logistic.predict(x, found, np.ones(3, bool)), peer.predict(x))


def test_masked_samples_and_absent_classes_change_nothing(problem):
  x, y = problem
  plain = logistic.fit(x, y, np.ones(60, np.float32), np.ones(3, bool), 0.1, 100)
  longer = np.concatenate([x, 9 + x[:7]]), np.concatenate([y, np.full(7, 4, np.int32)])
  mask, present = (np.arange(67) < 60).astype(np.float32), np.array([True, True, True, False, False])
  padded = logistic.fit(*longer, mask, present, 0.1, 100)
  np.testing.assert_allclose(padded.weights[:, :3], plain.weights, atol=1e-5)
  np.testing.assert_allclose(padded.bias[:3], plain.bias, atol=1e-5)
  assert set(np.asarray(logistic.predict(longer[0], padded, present))) <= {0, 1, 2}


def test_the_bias_carries_no_penalty():
  """With features of zero the classes' shares remain, however large the penalty is."""
  y = np.array([0] * 6 + [1] * 2 + [2], np.int32)
  found = logistic.fit(np.zeros((9, 2), np.float32), y, np.ones(9, np.float32), np.ones(3, bool), 1.0, 300)
  np.testing.assert_allclose(jax.nn.softmax(found.bias), np.array([6, 2, 1]) / 9, atol=1e-3)
