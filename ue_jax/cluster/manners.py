"""What the estimators share: validated rows, a key from `random_state`, few shapes to compile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ue_jax.cluster import distances
from ue_jax.core.errors import Invalid, require

BUCKET = 2**13  # rows up to which problems are filled up to a power of two, so that few shapes are compiled
NAMES = {  # arguments of the pure functions as scikit-learn calls them
  "x": "X", "distances": "X", "seeds": "init", "start": "init", "engine": "algorithm", "mode": "method",
  "restarts": "n_init", "samples": "n_sampling_iter", "size": "n_sampling", "steps": "epochs", "max_steps": "max_iter",
  "covariance": "covariance_type", "reg": "reg_covar", "neighbours": "n_neighbors",
}  # fmt: skip


class Estimator(BaseEstimator):
  """What all share: validated rows, a key from `random_state`, results as numpy arrays."""

  def _rows(self, X: Any, reset: bool) -> np.ndarray:
    return validate_data(self, X, reset=reset, dtype=np.float32, order="C")

  def _key(self) -> jax.Array:
    return jax.random.key(int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)))

  @contextlib.contextmanager
  def _named(self) -> Iterator[None]:
    """What is refused inside bears the name that the constructor has for it."""
    try:
      yield
    except Invalid as error:
      name = error.field.removeprefix("cluster.")
      name = name if name in self.get_params() else NAMES.get(name, name)
      raise Invalid(name, error.value, error.fix) from None

  def _check_k(self, k: int, n: int, name: str = "n_clusters") -> None:
    require(isinstance(k, (int, np.integer)) and k >= 1, name, k, "use a whole number, at least 1")
    require(k <= n, name, k, f"n_samples={n} should be >= {name}={k}: use at most {n}")


class Clusterer(ClusterMixin, Estimator):
  """What gives every row a label."""


class Transformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
  """What is described by distances or codes; all is computed in float32."""

  def __sklearn_tags__(self):
    tags = super().__sklearn_tags__()
    tags.transformer_tags.preserves_dtype = ["float32"]
    return tags


class Centers(Transformer, Clusterer):
  """Clusterers with centres: new rows go to the nearest, and are described by their distances to all."""

  def predict(self, X: Any) -> np.ndarray:
    """The nearest centre of every row of X `[m, d]`, int32 `[m]`."""
    check_is_fitted(self)
    x = self._rows(X, reset=False)
    return np.asarray(nearest(*filled(x, self.cluster_centers_))[0])[: len(x)]

  def transform(self, X: Any) -> np.ndarray:
    """The Euclidean distances of the rows of X to the centres, float32 `[m, k]`."""
    check_is_fitted(self)
    x = self._rows(X, reset=False)
    return np.asarray(to_all(*filled(x, self.cluster_centers_)))[: len(x)]

  def fit_transform(self, X: Any, y: Any = None, **more: Any) -> np.ndarray:
    """Fits to X and returns its distances to the centres."""
    return self.fit(X, y, **more).transform(X)

  def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
    """Minus the weighted sum of squared distances to the nearest centres."""
    check_is_fitted(self)
    x = self._rows(X, reset=False)
    weights = _check_sample_weight(sample_weight, x, dtype=np.float32)
    rows, centers = filled(x, self.cluster_centers_)
    return -float(weights @ np.asarray(nearest(rows, centers)[1])[: len(x)])

  @property
  def _n_features_out(self) -> int:
    return len(self.cluster_centers_)


nearest = jax.jit(distances.assign_top1)
to_all = jax.jit(distances.euclidean)
by_metric = jax.jit(distances.pairwise, static_argnames="metric")


def bucket(n: int) -> int:
  """The number of rows to fill up to: few shapes, few programs."""
  return n if n > BUCKET else max(64, 1 << (n - 1).bit_length())


def filled(x: np.ndarray, centers: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
  """Rows, and centres, with features of 0 added up to a multiple of 8, and rows of 0 up to a bucket."""
  more = -x.shape[1] % 8 if len(x) <= BUCKET else 0
  filled = np.pad(x, ((0, bucket(len(x)) - len(x)), (0, more)))
  return filled, None if centers is None else np.pad(centers, ((0, 0), (0, more)))
