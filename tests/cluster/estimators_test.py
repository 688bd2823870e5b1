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
from sklearn.exceptions import NotFittedError
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
  """A check raises what it does not accept; it has nothing to return."""
  assert check(estimator) is None


def test_the_page_has_an_example_of_every_estimator():
  assert len(EXAMPLES) == 10
  for estimator in ALWAYS + MORE:
    assert any(f"import {type(estimator).__name__}\n" in text for text in EXAMPLES)


@pytest.mark.parametrize("text", EXAMPLES[1:], ids=lambda text: re.findall(r"import (\w+)", text)[0])
def test_the_examples_of_the_page_run(text, capsys):
  """Each stands on the first one, which loads the data."""
  assert len(text.splitlines()) <= 10
  exec(compile(EXAMPLES[0] + text, str(PAGE), "exec"), {})
  shown = capsys.readouterr().out
  assert shown.strip() and "nan" not in shown


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


EVERY = [type(estimator) for estimator in ALWAYS + MORE]
X = np.random.default_rng(2).normal(size=(20, 4))
COUNT = {name: "n_components" if name == "GaussianMixture" else "n_clusters" for name in (t.__name__ for t in EVERY)}
READS = ("predict", "transform", "predict_proba", "score", "score_samples", "bic", "aic")
NOT_ROWS = {
  "NaN": np.where(X == X.max(), np.nan, X),
  "infinity": np.where(X == X.max(), np.inf, X),
  "could not convert": [["a", "b"]] * 20,
  "inhomogeneous": [[1.0, 2.0]] * 19 + [[1.0]],
  "0 sample": np.zeros((0, 4)),
  "2D array": np.ones(4),
}


def few(kind):
  """One with two clusters, or for PPP as many as it finds."""
  return kind() if kind is estimators.PPP else kind(**{COUNT[kind.__name__]: 2})


@pytest.mark.parametrize("kind", EVERY)
def test_rows_that_are_not_numbers_raise_value_errors_that_say_so(kind):
  for word, x in NOT_ROWS.items():
    with pytest.raises(ValueError, match=word):
      few(kind).fit(x)


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_not_fitted_says_so_and_what_is_wants_as_many_features(kind):
  """A fit that was refused for another reason has seen the number of features."""
  wrong = {"min_size": 1} if kind is estimators.PPP else {COUNT[kind.__name__]: 99}
  refused = kind(**wrong)
  with pytest.raises(ValueError, match=next(iter(wrong))):
    refused.fit(X)
  reads = [name for name in READS if hasattr(kind, name)]
  assert reads or kind is estimators.SpectralClustering
  for name in reads:
    with pytest.raises(NotFittedError, match="not fitted"):
      getattr(few(kind), name)(X)
    with pytest.raises(ValueError, match="3 features, but .* is expecting 4 features"):
      getattr(refused, name)(X[:, :3])


@pytest.mark.parametrize("k", [0, -1, 21, 2.5, None])
@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind is not estimators.PPP])
def test_a_number_of_clusters_that_there_cannot_be_raises_value_error_by_its_name(kind, k):
  with pytest.raises(ValueError, match=f"{COUNT[kind.__name__]} = {k}: "):
    kind(**{COUNT[kind.__name__]: k}).fit(X)


@pytest.mark.parametrize("kind", [estimators.KMeans, estimators.MiniBatchKMeans])
@pytest.mark.parametrize("weights, word", [
  (-np.ones(20), "Negative"), (np.full(20, np.nan), "NaN"), (np.ones(3), "shape"), (np.zeros(20), "non-zero"),
])  # fmt: skip
def test_weights_that_cannot_be_raise_value_errors(kind, weights, word):
  with pytest.raises(ValueError, match=word):
    kind(2).fit(X, sample_weight=weights)


@pytest.mark.parametrize("name, settings, word", [
  ("KMedoids", {"metric": "precomputed"}, "square"), ("CLARA", {"metric": "precomputed"}, "square"),
  ("SpectralClustering", {"affinity": "precomputed"}, r"\[n, n\]"), ("KMedoids", {"metric": "none"}, "euclidean"),
  ("CLARA", {"metric": "none"}, "euclidean"), ("SpectralClustering", {"affinity": "none"}, "rbf"),
  ("KMedoids", {"method": "none"}, "eager"), ("KMedoids", {"init": "none"}, "build"),
  ("KMeans", {"init": "none"}, r"k-means\+\+"), ("KMeans", {"init": np.ones((2, 3))}, "features"),
  ("KMeans", {"algorithm": "none"}, "pruned"), ("KMeans", {"n_init": 0}, "at least 1"),
  ("KMeans", {"max_iter": 0}, "at least 1"), ("MiniBatchKMeans", {"max_iter": 0}, "at least 1"),
  ("MiniBatchKMeans", {"batch_size": 0}, "at least 1"), ("GaussianMixture", {"covariance_type": "none"}, "spherical"),
  ("GaussianMixture", {"reg_covar": -1.0}, "at least 0"), ("GaussianMixture", {"n_init": 0}, "at least 1"),
  ("PPP", {"tau": 2}, "0.5 to 1"), ("PPP", {"covariance": "none"}, "diag"),
  ("SpectralClustering", {"affinity": "rbf", "gamma": -1.0}, "above 0"),
  ("SpectralClustering", {"n_neighbors": 0}, "choose 1 to 19"), ("TELL", {"batch_size": 0}, "at least 1"),
  ("TELL", {"epochs": 0}, "1 or more"), ("CLARA", {"n_sampling_iter": 0}, "at least 1"),
])  # fmt: skip
def test_settings_that_cannot_be_raise_value_errors_by_their_name(name, settings, word):
  estimator = few(getattr(estimators, name)).set_params(**settings)
  field = "X" if word in ("square", r"\[n, n\]") else list(settings)[-1]
  with pytest.raises(ValueError, match=rf"^{field} = .*{word}"):
    estimator.fit(X)
