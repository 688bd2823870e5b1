"""scikit-learn's own checks of estimators, and the examples of docs/clustering.md.

The checks fit each estimator to dozens of shapes, which takes minutes of compiling: without `UE_JAX_CHECKS=all` those
of one estimator are run.
"""

import os
import pathlib
import re

import jax
import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from ue_jax.cluster import estimators

ALWAYS = [estimators.PPP()]
MORE = [
  estimators.KMeans(),
  estimators.MiniBatchKMeans(),
  estimators.KMedoids(),
  estimators.CLARA(),
  estimators.GaussianMixture(),
  estimators.SpectralClustering(),
  estimators.TELL(widths=(32,), code=4, epochs=60, batch_size=64),
]
PAGE = pathlib.Path(estimators.__file__).parents[2] / "docs" / "clustering.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def usual_promotion():
  """scikit-learn's checks hand over float64 and integers, as users do."""
  jax.config.update("jax_numpy_dtype_promotion", "standard")
  yield
  jax.config.update("jax_numpy_dtype_promotion", "strict")


def known_to_fail(estimator):
  """What scikit-learn exempts its own KMeans from, too: another number of rows draws other seeds."""
  if isinstance(estimator, (estimators.KMeans, estimators.MiniBatchKMeans)):
    return {"check_sample_weight_equivalence_on_dense_data": "repeating rows changes what is drawn"}
  return {}


@parametrize_with_checks(
  ALWAYS + (MORE if os.environ.get("UE_JAX_CHECKS") == "all" else []), expected_failed_checks=known_to_fail
)
def test_scikit_learn_accepts_it(estimator, check):
  check(estimator)


def test_the_page_has_an_example_of_every_estimator():
  assert len(EXAMPLES) == 10
  for estimator in ALWAYS + MORE:
    assert any(f"import {type(estimator).__name__}\n" in text for text in EXAMPLES)


@pytest.mark.parametrize("text", EXAMPLES[1:], ids=lambda text: re.findall(r"import (\w+)", text)[0])
def test_the_examples_of_the_page_run(text, capsys):
  """Each stands on the first one, which loads the data."""
  assert len(text.splitlines()) <= 10
  exec(compile(EXAMPLES[0] + text, str(PAGE), "exec"), {})
  assert "nan" not in capsys.readouterr().out


def test_equal_random_states_give_equal_bits_and_weights_count():
  x = np.random.default_rng(0).normal(size=(60, 5))
  a, b = (estimators.KMeans(4, random_state=3).fit(x) for _ in range(2))
  np.testing.assert_array_equal(a.cluster_centers_, b.cluster_centers_)
  heavy = estimators.KMeans(1, random_state=0).fit(x, sample_weight=np.arange(60))
  np.testing.assert_allclose(heavy.cluster_centers_[0], np.average(x, axis=0, weights=np.arange(60)), atol=1e-5)


def test_far_from_the_origin_nothing_is_lost():
  from sklearn.cluster import KMeans

  x = np.random.default_rng(1).normal(size=(60, 5)) + 100
  ours = estimators.KMeans(4, init=x[:4]).fit(x)
  peer = KMeans(4, init=x[:4], n_init=1).fit(x)
  np.testing.assert_array_equal(ours.labels_, peer.labels_)
  assert abs(ours.inertia_ / peer.inertia_ - 1) < 1e-3
  assert abs(ours.score(x) / -peer.inertia_ - 1) < 1e-2
