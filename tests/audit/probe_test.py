import numpy as np
import pytest

from ue_jax.audit import probe
from ue_jax.core.errors import Invalid


@pytest.fixture(scope="module")
def task():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 240)
  return rng.normal(size=(240, 6)) * np.arange(1, 7) + np.eye(3, 6)[labels] * 2 + 4, labels


def test_it_finds_the_minimum_that_scikit_learn_finds(task):
  from sklearn.linear_model import LogisticRegression

  x, y = task
  found = probe.fit(x, y, decay=1e-2)
  z = (x - x.mean(0)) / x.std(0)
  want = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-10, max_iter=5000).fit(z, y)
  np.testing.assert_allclose(found.kernel.T, want.coef_, atol=2e-3)
  np.testing.assert_array_equal(found.predict(x), want.predict(z))


def test_it_is_blind_to_the_scale_and_shift_of_every_feature_and_stands_one_without_spread(task):
  x, y = task
  moved = np.column_stack([x * [9, 1, 0.1, 3, 1, 2] - 5, np.full(len(x), 3.0)])
  np.testing.assert_array_equal(probe.fit(moved, y).predict(moved), probe.fit(x, y).predict(x))


def test_separable_classes_are_read_out_and_unrelated_ones_not():
  rng = np.random.default_rng(1)
  y = rng.integers(0, 2, 400)
  x = rng.normal(size=(400, 3))
  train, test = slice(0, 200), slice(200, 400)
  share = lambda x: np.mean(probe.fit(x[train], y[train]).predict(x[test]) == y[test])
  assert share(np.column_stack([x, 5 * y])) == 1.0 and 0.35 < share(x) < 0.65


def test_no_decay_and_no_numbers_are_refused(task):
  x, y = task
  with pytest.raises(Invalid, match="decay"):
    probe.fit(x, y, decay=0.0)
  with pytest.raises(Invalid, match="NaN"):
    probe.fit(x * np.inf, y)
