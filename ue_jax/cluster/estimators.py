"""The clusterers with scikit-learn's manners: constructor, fit / predict / transform, attributes and errors.

Each is a shell over the pure functions of this room, which say what the arguments do and from which paper it is.
Results are a pure function of the data and `random_state`; an int gives the same bits every time. Needs scikit-learn.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ue_jax.cluster import clara, distances, fasterpam, gmm, k_means, mini_batch, ppp, spectral, tell
from ue_jax.cluster.manners import Centers, Clusterer, Estimator, Transformer, bucket, by_metric, filled, nearest
from ue_jax.core.errors import require


class KMeans(Centers):
  """k-means (`k_means.fit`): `cluster_centers_`, `labels_`, `inertia_`, `n_iter_`.

  `n_init="auto"` is 1 with k-means++ and 10 with random or given rows; `init` may be `k-means++`, `k-means||`,
  `random` or an array of centres; `devices`: over which the rows are cut.
  """

  def __init__(
    self, n_clusters=8, *, init="k-means++", n_init="auto", max_iter=300, tol=1e-4, random_state=None, algorithm="auto",
    devices=None,
  ):  # fmt: skip
    self.n_clusters, self.init, self.n_init, self.max_iter = n_clusters, init, n_init, max_iter
    self.tol, self.random_state, self.algorithm, self.devices = tol, random_state, algorithm, devices

  def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
    """Finds the centres of the rows of X `[n, d]`; a row of weight w counts as w equal rows."""
    x = self._rows(X, reset=True)
    weights = _check_sample_weight(sample_weight, x, dtype=np.float32, ensure_non_negative=True)
    self._check_k(self.n_clusters, len(x))
    require(self.max_iter >= 1, "max_iter", self.max_iter, "use at least 1")
    given = None if isinstance(self.init, str) else np.asarray(self.init, np.float32)
    if given is not None:
      require(given.shape == (self.n_clusters, x.shape[1]), "init", given.shape, "give one row of features a cluster")
    few = given is not None or self.init != "random"
    restarts = (1 if few else 10) if self.n_init == "auto" else self.n_init
    middle = x.mean(0)
    rows, start = filled(x - middle, None if given is None else given - middle)
    with self._named():
      found = k_means.fit(
        rows, self.n_clusters, key=self._key(), weights=np.pad(weights, (0, len(rows) - len(x))), start=start,
        restarts=1 if given is not None else int(restarts), seeds="k-means++" if given is not None else self.init,
        max_steps=self.max_iter, tol=self.tol * rows.shape[1] / x.shape[1], engine=self.algorithm, devices=self.devices,
      )  # fmt: skip
    self.cluster_centers_ = np.asarray(found.centers)[:, : x.shape[1]] + middle
    self.labels_, self.inertia_ = np.asarray(found.labels)[: len(x)], float(found.cost)
    self.n_iter_ = int(found.steps)
    return self


class MiniBatchKMeans(Centers):
  """Mini-batch k-means (`mini_batch`): fitted to batches of the rows, or to a stream by `partial_fit`."""

  def __init__(
    self, n_clusters=8, *, max_iter=100, batch_size=1024, max_no_improvement=10, reassignment_ratio=0.01,
    random_state=None,
  ):  # fmt: skip
    self.n_clusters, self.max_iter, self.batch_size = n_clusters, max_iter, batch_size
    self.max_no_improvement, self.reassignment_ratio = max_no_improvement, reassignment_ratio
    self.random_state = random_state

  def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
    """Passes at most `max_iter` times over the rows of X `[n, d]`, in batches."""
    x = self._rows(X, reset=True)
    weights = _check_sample_weight(sample_weight, x, dtype=np.float32, ensure_non_negative=True)
    self._check_k(self.n_clusters, len(x))
    require(self.max_iter >= 1, "max_iter", self.max_iter, "use at least 1")
    require(self.batch_size >= 1, "batch_size", self.batch_size, "use at least 1")
    self._begin(x, weights)
    draw, size = np.random.default_rng(self._seed), min(self.batch_size, len(x))
    for _ in range(self.max_iter):
      order = draw.permutation(len(x))
      for rows in np.array_split(order, max(1, len(x) // size)):
        self._take(x[rows], weights[rows])
        if bool(self._state.done):
          break
      if bool(self._state.done):
        break
    return self._end(x, weights)

  def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
    """Takes one batch of a stream; the first one must hold at least `n_clusters` rows."""
    first = not hasattr(self, "_state")
    x = self._rows(X, reset=first)
    weights = _check_sample_weight(sample_weight, x, dtype=np.float32, ensure_non_negative=True)
    if first:
      self._check_k(self.n_clusters, len(x))
      self._begin(x, weights)
    self._take(x, weights)
    return self._end(x, weights)

  def _begin(self, x, weights) -> None:
    self._middle, key = x.mean(0), self._key()
    self._seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    rows, _ = filled(x - self._middle)
    masses = np.pad(weights, (0, len(rows) - len(x)))
    centers = _seeded(key, rows, masses, k=self.n_clusters)
    self._state = mini_batch.begin(key, centers)

  def _take(self, x, weights) -> None:
    rows, _ = filled(x - self._middle)
    masses = np.pad(weights, (0, len(rows) - len(x)))
    patience = np.int32(self.max_no_improvement or 0)
    self._state, _ = _updated(self._state, rows, masses, patience, np.float32(self.reassignment_ratio))

  def _end(self, x, weights) -> MiniBatchKMeans:
    self.cluster_centers_ = np.asarray(self._state.centers)[:, : x.shape[1]] + self._middle
    rows, centers = filled(x, self.cluster_centers_)
    labels, away = nearest(rows, centers)
    self.labels_, self.inertia_ = np.asarray(labels)[: len(x)], float(weights @ np.asarray(away)[: len(x)])
    self.n_iter_ = self.n_steps_ = int(self._state.step)
    return self


class KMedoids(Transformer, Clusterer):
  """k-medoids (`fasterpam.fit`): `medoid_indices_`, `cluster_centers_`, `labels_`, `inertia_`, `n_iter_` (swaps).

  `method`: pam, eager, multi, fastpam1, ... as `fasterpam`; `metric` may be `precomputed`: X is then `[n, n]`.
  """

  def __init__(
    self, n_clusters=8, *, metric="euclidean", method="pam", init="build", max_iter=100_000, random_state=None,
  ):  # fmt: skip
    self.n_clusters, self.metric, self.method = n_clusters, metric, method
    self.init, self.max_iter, self.random_state = init, max_iter, random_state

  def _solve(self, given: dict) -> Any:
    settings = dict(start=self.init, mode=self.method, max_steps=self.max_iter)
    return fasterpam.fit(k=self.n_clusters, key=self._key(), **given, **settings)

  def fit(self, X: Any, y: Any = None) -> KMedoids:
    """Chooses the medoids among the rows of X `[n, d]`, or of a matrix of distances `[n, n]`."""
    x = self._rows(X, reset=True)
    self._check_k(self.n_clusters, len(x))
    own = self.metric == "precomputed"
    require(not own or x.shape[0] == x.shape[1], "X", x.shape, "give a square matrix of distances")
    require(own or self.metric in distances.METRICS, "metric", self.metric, f"choose one of {[*distances.METRICS]}")
    with self._named():
      found = self._solve({"distances": x} if own else {"x": x, "metric": self.metric})
    self.medoid_indices_, self.labels_ = np.asarray(found.medoids), np.asarray(found.labels)
    self.inertia_, self.n_iter_ = float(found.cost), int(found.steps)
    self.cluster_centers_ = None if own else x[self.medoid_indices_]
    return self

  def _away(self, X: Any) -> np.ndarray:
    check_is_fitted(self)
    x = self._rows(X, reset=False)
    if self.metric == "precomputed":
      return x[:, self.medoid_indices_]
    rows, medoids = filled(x, self.cluster_centers_)
    return np.asarray(by_metric(rows, medoids, metric=self.metric))[: len(x)]

  def predict(self, X: Any) -> np.ndarray:
    """The nearest medoid of every row of X, int32; with `precomputed` X is `[m, n]`, distances to the fitted rows."""
    return np.argmin(self._away(X), axis=1).astype(np.int32)

  def transform(self, X: Any) -> np.ndarray:
    """The distances of the rows of X to the medoids, float32 `[m, k]`."""
    return self._away(X)

  @property
  def _n_features_out(self) -> int:
    return len(self.medoid_indices_)

  def score(self, X: Any, y: Any = None) -> float:
    """Minus the sum of the distances to the nearest medoids."""
    return -float(np.min(self._away(X), axis=1).sum())

  def __sklearn_tags__(self):
    tags = super().__sklearn_tags__()
    tags.input_tags.pairwise = self.metric == "precomputed"
    return tags


class CLARA(KMedoids):
  """k-medoids of samples (`clara.fit`): the best medoids of `n_sampling_iter` samples for all rows."""

  def __init__(
    self, n_clusters=8, *, metric="euclidean", n_sampling=None, n_sampling_iter=5, max_iter=100_000, random_state=None,
  ):  # fmt: skip
    self.n_clusters, self.metric, self.n_sampling = n_clusters, metric, n_sampling
    self.n_sampling_iter, self.max_iter, self.random_state = n_sampling_iter, max_iter, random_state

  def _solve(self, given: dict) -> Any:
    settings = dict(samples=self.n_sampling_iter, size=self.n_sampling or 0, max_steps=self.max_iter)
    return clara.fit(k=self.n_clusters, key=self._key(), **given, **settings)


class GaussianMixture(DensityMixin, Estimator):
  """A mixture of Gaussians (`gmm.fit`): `weights_`, `means_`, `covariances_`, `converged_`, `lower_bound_`."""

  def __init__(
    self, n_components=1, *, covariance_type="full", tol=1e-3, reg_covar=1e-6, max_iter=100, n_init=1,
    random_state=None,
  ):  # fmt: skip
    self.n_components, self.covariance_type, self.tol, self.reg_covar = n_components, covariance_type, tol, reg_covar
    self.max_iter, self.n_init, self.random_state = max_iter, n_init, random_state

  def fit(self, X: Any, y: Any = None) -> GaussianMixture:
    """Fits the components to the rows of X `[n, d]`."""
    self._fit(self._checked(X, reset=True))
    return self

  def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
    """Fits to X and returns the most probable component of every row."""
    return self.fit(X).predict(X)

  def _checked(self, X, reset):
    # one row says nothing of a variance
    return validate_data(self, X, reset=reset, dtype=np.float32, order="C", ensure_min_samples=2 if reset else 1)

  def _fit(self, x) -> None:
    self._check_k(self.n_components, len(x), "n_components")
    with self._named():
      found, fitted = gmm.fit(
        x, self.n_components, key=self._key(), covariance=self.covariance_type, restarts=self.n_init,
        max_steps=self.max_iter, tol=self.tol, reg=self.reg_covar,
      )  # fmt: skip
    self._mixture = jax.tree.map(np.asarray, fitted.mixture)
    self.weights_, self.means_, covariances = self._mixture
    shape = {"tied": covariances.shape[1:], "spherical": covariances.shape[:1]}.get(self.covariance_type)
    self.covariances_ = covariances if shape is None else covariances.reshape(shape)
    self.converged_, self.n_iter_ = bool(found.converged), int(found.steps)
    self.lower_bound_, self.labels_ = float(fitted.likelihood), np.asarray(found.labels)

  def predict(self, X: Any) -> np.ndarray:
    """The most probable component of every row, int32."""
    return np.argmax(self._joint(X), axis=1).astype(np.int32)

  def predict_proba(self, X: Any) -> np.ndarray:
    """The probability of every component given each row, float32 `[m, k]`."""
    joint = self._joint(X)
    joint = np.exp(joint - joint.max(1, keepdims=True))
    return joint / joint.sum(1, keepdims=True)

  def score_samples(self, X: Any) -> np.ndarray:
    """The log density of every row, in nats."""
    joint = self._joint(X)
    most = joint.max(1, keepdims=True)
    return (np.log(np.exp(joint - most).sum(1, keepdims=True)) + most)[:, 0]

  def _joint(self, X) -> np.ndarray:
    check_is_fitted(self)
    x = self._checked(X, reset=False)
    rows = np.pad(x, ((0, bucket(len(x)) - len(x)), (0, 0)), mode="edge")
    return np.asarray(gmm.log_joint(gmm.Mixture(*map(jnp.asarray, self._mixture)), rows))[: len(x)]

  def score(self, X: Any, y: Any = None) -> float:
    """The mean log density of the rows."""
    return float(self.score_samples(X).mean())

  def bic(self, X: Any) -> float:
    """Bayes' information criterion on X: low is good."""
    scores = self.score_samples(X)
    return float(gmm.bic(self._mixture, scores.mean(), np.float32(len(scores))))

  def aic(self, X: Any) -> float:
    """Akaike's information criterion on X: low is good."""
    scores = self.score_samples(X)
    return float(gmm.aic(self._mixture, scores.mean(), np.float32(len(scores))))

  def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows drawn from the mixture `[n, d]`, and the component of each."""
    check_is_fitted(self)
    draw = check_random_state(self.random_state)
    labels = np.sort(draw.choice(len(self.weights_), n_samples, p=self.weights_ / self.weights_.sum()))
    full = [_whole(self._mixture.covariances, i, self.means_.shape[1]) for i in range(len(self.weights_))]
    return np.stack([draw.multivariate_normal(self.means_[i], full[i]) for i in labels]), labels


class PPP(Clusterer):
  """Probabilistic partitive partitioning (`ppp.fit`): finds how many clusters there are; nothing in it is random."""

  def __init__(self, tau=0.95, *, min_size=0, max_depth=20, covariance="auto", standardise=True, polish=False):
    self.tau, self.min_size, self.max_depth = tau, min_size, max_depth
    self.covariance, self.standardise, self.polish = covariance, standardise, polish

  def fit(self, X: Any, y: Any = None) -> PPP:
    """Cuts the rows of X `[n, d]` while a cut is supported."""
    x = self._rows(X, reset=True)
    settings = dict(min_size=self.min_size, max_depth=self.max_depth, covariance=self.covariance)
    with self._named():
      found, self.tree_ = ppp.fit(x, tau=self.tau, standardise=self.standardise, polish=self.polish, **settings)
    self.labels_, self.cluster_centers_ = np.asarray(found.labels), np.asarray(found.centers)
    self.inertia_, self.n_iter_, self.n_clusters_ = float(found.cost), int(found.steps), len(self.cluster_centers_)
    self.confidence_, self.core_ = self.tree_.confidence, self.tree_.core
    return self

  def predict(self, X: Any) -> np.ndarray:
    """The cluster of every row of X, int32: down the tree."""
    check_is_fitted(self)
    x = self._rows(X, reset=False)
    return ppp.predict(self.tree_, x)


class SpectralClustering(Clusterer):
  """Spectral clustering (`spectral.fit`): `labels_`, `embedding_`, `eigenvalues_`."""

  def __init__(self, n_clusters=8, *, affinity="knn", n_neighbors=10, gamma=1.0, n_init=10, random_state=None):
    self.n_clusters, self.affinity, self.n_neighbors = n_clusters, affinity, n_neighbors
    self.gamma, self.n_init, self.random_state = gamma, n_init, random_state

  def fit(self, X: Any, y: Any = None) -> SpectralClustering:
    """Clusters the rows of X `[n, d]` by their graph."""
    x = validate_data(self, X, dtype=np.float32, order="C", ensure_min_samples=2)
    self._check_k(self.n_clusters, len(x))
    m = min(self.n_neighbors, len(x) - 1)
    with self._named():
      found, places = spectral.fit(
        x, self.n_clusters, key=self._key(), affinity=self.affinity, m=m, gamma=self.gamma, restarts=self.n_init
      )
    self.labels_ = np.asarray(found.labels)
    self.embedding_, self.eigenvalues_ = np.asarray(places.places), np.asarray(places.values)
    return self


class TELL(Transformer, Clusterer):
  """Differentiable k-means on the codes of an auto-encoder (`tell.fit`): `labels_`, `cluster_centers_` as inputs look.

  Rows are brought to [0, 1] by the range of each feature.
  """

  def __init__(
    self, n_clusters=8, *, widths=(256, 256), code=10, epochs=200, batch_size=256, lam=0.002, random_state=None,
  ):  # fmt: skip
    self.n_clusters, self.widths, self.code, self.epochs = n_clusters, widths, code, epochs
    self.batch_size, self.lam, self.random_state = batch_size, lam, random_state

  def fit(self, X: Any, y: Any = None) -> TELL:
    """Trains the auto-encoder and the centres on the rows of X `[n, d]`."""
    x = self._rows(X, reset=True)
    self._check_k(self.n_clusters, len(x))
    require(self.batch_size >= 1, "batch_size", self.batch_size, "use at least 1")
    self._low, high = x.min(0), x.max(0)
    self._range = np.where(high > self._low, high - self._low, 1).astype(np.float32)
    rows = np.pad(self._unit(x), ((0, bucket(len(x)) - len(x)), (0, 0)), mode="wrap")
    size = min(self.batch_size, len(rows))
    steps = self.epochs * (len(rows) // size)
    with self._named():
      _, found = tell.fit(
        rows, self.n_clusters, key=self._key(), widths=tuple(self.widths), code=self.code, steps=steps,
        batch_size=size, lam=self.lam, start="rows", reseed=True,
      )  # fmt: skip
    self._arrays = jax.tree.map(np.asarray, (found.params, found.state, found.centers))  # no functions: it pickles
    self.n_iter_, self.labels_ = steps, self._assigned(x)[0]
    self.cluster_centers_ = tell.decoded(self._network(x.shape[1])) * self._range + self._low
    return self

  def _model(self):
    return tell.network("mlp", self.code, tuple(self.widths), 0.0, "sigmoid", "float32")

  def _network(self, features: int) -> tell.Network:
    return tell.Network(self._model(), *self._arrays, (features,))

  def _unit(self, x) -> np.ndarray:
    return np.clip((x - self._low) / self._range, 0, 1)

  def predict(self, X: Any) -> np.ndarray:
    """The cluster of every row of X, int32."""
    check_is_fitted(self)
    return self._assigned(self._rows(X, reset=False))[0]

  def transform(self, X: Any) -> np.ndarray:
    """The codes of the rows of X, of length 1, float32 `[m, code]`."""
    check_is_fitted(self)
    return self._assigned(self._rows(X, reset=False))[1]

  @property
  def _n_features_out(self) -> int:
    return self.code

  def _assigned(self, x):
    rows = np.pad(self._unit(x), ((0, bucket(len(x)) - len(x)), (0, 0)), mode="edge")
    return tuple(part[: len(x)] for part in tell.assign(self._network(x.shape[1]), rows))


_updated = jax.jit(mini_batch.update)


def _seeded(key, x, weights, *, k):
  found = k_means.fit(x, k, key=key, weights=weights, max_steps=0)
  return found.centers


def _whole(covariances: np.ndarray, i: int, d: int) -> np.ndarray:
  """The covariance of component i as a matrix."""
  one = covariances[min(i, len(covariances) - 1)]
  return one if one.ndim == 2 else np.eye(d) * one
