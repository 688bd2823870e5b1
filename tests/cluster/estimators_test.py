"""scikit-learn's own checks of estimators, and what each estimator adds to the functions it stands on."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from ue_jax.cluster import estimators

QUICK = dict(widths=(8,), code=3, max_iter=3, batch_size=16)  # of TELL: the checks ask for manners, not for quality
ALL = [
  estimators.KMeans(),
  estimators.MiniBatchKMeans(),
  estimators.KMedoids(),
  estimators.CLARA(),
  estimators.GaussianMixture(),
  estimators.PPP(),
  estimators.SpectralClustering(),
  estimators.TELL(**QUICK),
]


@pytest.fixture(autouse=True)
def usual_promotion():
  """scikit-learn's checks hand over float64 and integers, as users do."""
  import jax

  jax.config.update("jax_numpy_dtype_promotion", "standard")
  yield
  jax.config.update("jax_numpy_dtype_promotion", "strict")


def known_to_fail(estimator):
  """What scikit-learn exempts its own KMeans from, too: another number of rows draws other seeds."""
  if isinstance(estimator, (estimators.KMeans, estimators.MiniBatchKMeans)):
    return {"check_sample_weight_equivalence_on_dense_data": "repeating rows changes what is drawn"}
  return {}


@parametrize_with_checks(ALL, expected_failed_checks=known_to_fail)
def test_scikit_learn_accepts_it(estimator, check):
  check(estimator)
