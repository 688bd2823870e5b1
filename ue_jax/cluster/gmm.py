"""Gaussian mixtures by expectation and maximisation: full, tied, diagonal and spherical covariances.

Dempster, Laird & Rubin, "Maximum likelihood from incomplete data via the EM algorithm", 1977. From an equal start the
steps, the stopping rule and `reg` are those of scikit-learn's GaussianMixture. Beyond it: weights of rows, rows whose
component is known, components that are absent, and rows cut over devices (`step` runs in `parallel.spread`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import given, k_means, mixture
from ue_jax.cluster.distances import by_blocks
from ue_jax.cluster.mixture import Mixture
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure, once
from ue_jax.core.tally import Tally

COVARIANCES = ("full", "tied", "diag", "spherical")


class State(NamedTuple):
  """The state of the iteration.

  Attributes:
    mixture: the parameters after `step` steps.
    likelihood: the mean log likelihood of a sample before the last step (known rows: jointly with their component).
    change: how much it rose since the step before.
    reg: what is added to the variances.
    step: int32.
  """

  mixture: Mixture
  likelihood: jax.Array
  change: jax.Array
  reg: jax.Array
  step: jax.Array


class Fit(NamedTuple):
  """What was fitted: the mixture, the mean log likelihood of a sample under it, and the two criteria (low is good)."""

  mixture: Mixture
  likelihood: jax.Array
  bic: jax.Array
  aic: jax.Array


def fit(
  x, k: int, *, key, covariance: str = "full", weights=None, labels=None, active=None, start=None, restarts: int = 1,
  max_steps=100, tol=1e-3, reg=1e-6,
) -> tuple[Clustering, Fit]:  # fmt: skip
  """Fits k Gaussians to the rows of x `[n, d]`.

  Args:
    x: float rows.
    k: number of components.
    key: PRNG key, of the k-means that the fit starts from.
    covariance: one of `COVARIANCES`.
    weights: `[n]`, at least 0; a row of weight w counts as w equal rows.
    labels: int `[n]`; the component of rows where it is known, -1 elsewhere. It stays theirs.
    active: bool `[k]`; components that may be used.
    start: a `Mixture`, or labels int `[n]`, to begin from, in place of k-means.
    restarts: how often to begin anew; the highest likelihood is returned.
    max_steps: most steps.
    tol: change of the mean log likelihood at which to stop.
    reg: added to the variances, at least 0.

  Returns:
    `(Clustering, Fit)`: `labels` are the most probable components, `cost` is minus the mean log likelihood.

  Raises:
    Invalid: for k outside 1..n, an unknown covariance, NaN or infinity, or arguments that do not fit x.
  """
  x = given.rows(x)
  n = x.shape[0]
  require(1 <= k <= n, "cluster.k", k, f"choose 1 to {n}, the number of samples")
  weights = np.ones(n, np.float32) if weights is None else jnp.asarray(weights, jnp.float32)
  known = np.full(n, -1, np.int32) if labels is None else jnp.asarray(labels, jnp.int32)
  active = np.ones(k, bool) if active is None else np.asarray(active, bool)
  _check(x, k, weights, known, active, covariance, restarts, reg)
  best = None
  for one in jax.random.split(key, restarts if start is None else 1):
    first = _start(x, k, one, weights, known, active) if start is None else start
    if not isinstance(first, Mixture):
      first = from_labels(x, first, k, covariance=covariance, weights=weights, reg=reg)
    found = run(x, first, weights, known, max_steps=max_steps, tol=tol, reg=reg)
    best = found if best is None or float(found[1].likelihood) > float(best[1].likelihood) else best
  return best


def cluster(
  k: int = 10, array: str = "image", data_set: str = "", covariance: str = "diag", restarts: int = 1,
  max_steps: int = 100, tol: float = 1e-3, reg: float = 1e-6,
) -> Procedure:  # fmt: skip
  """A mixture of Gaussians on an array of the Data, flattened to one row a sample: Data -> Clustering.

  Args:
    k, array, data_set: as for `k_means.cluster`.
    covariance: see `fit`; for pictures, which have more pixels than there are samples, not `full`.
    restarts, max_steps, tol, reg: see `fit`. For bytes as floats in [0, 1] a `reg` of 1e-2 is sensible.
  """

  def go(key, data: Data) -> Clustering:
    require(not data_set or data_set in data.sets, "cluster.data_set", data_set, f"choose one of {sorted(data.sets)}")
    x = k_means.matrix(data, array)
    weights = k_means.only(data.n, np.asarray(data.sets[data_set])) if data_set else None
    settings = dict(covariance=covariance, restarts=restarts, max_steps=max_steps, tol=tol, reg=reg)
    return jax.tree.map(np.asarray, fit(x, k, key=key, weights=weights, **settings)[0])

  return once(go)


def run(x, start: Mixture, weights, labels, *, max_steps=100, tol=1e-3, reg=1e-6) -> tuple[Clustering, Fit]:
  """Steps from `start` until the likelihood changes by less than `tol`; also inside jit and vmap. See `fit`."""
  return _run(x, start, weights, labels, jnp.int32(max_steps), jnp.float32(tol), jnp.float32(reg))


def begin(start: Mixture, reg=1e-6) -> State:
  """The state before the first step."""
  start = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), start)
  return State(start, jnp.float32(-jnp.inf), jnp.float32(jnp.inf), jnp.float32(reg), jnp.int32(0))


def step(state: State, batch: dict, axis: str | None = None) -> tuple[State, dict]:
  """One step of EM on all rows: batch `x` `[n, d]`, weights `mask` `[n]`, and `label` int32 `[n]` (-1: unknown)."""
  x, weights = batch["x"], batch["mask"]
  labels = batch.get("label", jnp.full(x.shape[0], -1, jnp.int32))
  k, d = state.mixture.means.shape
  by = mixture.factors(state.mixture)
  seen = mixture.sums(state.mixture, by, x, weights, labels, mixture.block_size(k, d), axis)
  likelihood = seen.likelihood / seen.weight
  after = mixture.maximise(state.mixture, by, seen, state.reg)
  state = State(after, likelihood, likelihood - state.likelihood, state.reg, state.step + 1)
  return state, {"likelihood": Tally(seen.likelihood, seen.weight)}


def from_labels(x, labels, k: int, *, covariance: str = "full", weights=None, reg=1e-6) -> Mixture:
  """The mixture of the means and covariances of k groups of rows; a group without rows is absent."""
  require(covariance in COVARIANCES, "cluster.covariance", covariance, f"choose one of {list(COVARIANCES)}")
  x = given.rows(x)
  weights = np.ones(x.shape[0], np.float32) if weights is None else jnp.asarray(weights, jnp.float32)
  return _from_labels(x, jnp.asarray(labels, jnp.int32), weights, jnp.float32(reg), k=k, covariance=covariance)


@jax.jit
def log_joint(found: Mixture, x) -> jax.Array:
  """log(weight * density) of every row for every component, float32 `[n, k]`."""
  by = mixture.factors(found)
  block = lambda rows: mixture.joint(found, by, mixture.whitened(found, by, rows)).T
  return by_blocks(block, jnp.asarray(x, jnp.float32), mixture.block_size(*found.means.shape))


@jax.jit
def log_prob(found: Mixture, x) -> jax.Array:
  """The log density of every row under the mixture, float32 `[n]`, in nats."""
  return jax.nn.logsumexp(log_joint(found, x), axis=1)


@jax.jit
def predict_proba(found: Mixture, x) -> jax.Array:
  """The probability of every component given each row, float32 `[n, k]`."""
  return jax.nn.softmax(log_joint(found, x), axis=1)


@jax.jit
def predict(found: Mixture, x) -> jax.Array:
  """The most probable component of every row, int32 `[n]`; the lower of equally probable ones."""
  return jnp.argmax(log_joint(found, x), axis=1).astype(jnp.int32)


def parameters(found: Mixture) -> jax.Array:
  """How many free numbers the components that are present have, float32."""
  k, d = jnp.sum(found.weights > 0).astype(jnp.float32), found.means.shape[1]
  shape = found.covariances.shape
  each = d * (d + 1) / 2 if len(shape) == 3 else shape[1]
  tied = len(shape) == 3 and shape[0] == 1
  return (each if tied else k * each) + k * d + k - 1


def bic(found: Mixture, likelihood, n) -> jax.Array:
  """Bayes' information criterion for a mean log likelihood over n samples (or their weight): low is good."""
  return -2 * likelihood * n + parameters(found) * jnp.log(n)


def aic(found: Mixture, likelihood, n) -> jax.Array:
  """Akaike's information criterion: low is good."""
  return -2 * likelihood * n + 2 * parameters(found)


@jax.jit
def _run(x, start, weights, labels, max_steps, tol, reg):
  batch = {"x": x, "mask": weights, "label": labels}
  going = lambda state: (state.step < max_steps) & ~(jnp.abs(state.change) < tol)
  state = jax.lax.while_loop(going, lambda state: step(state, batch)[0], begin(start, reg))
  found = state.mixture
  log = log_joint(found, x)
  known = jax.nn.one_hot(labels, log.shape[1]) > 0
  log = jnp.where((labels >= 0)[:, None] & ~known, -jnp.inf, log)
  n = jnp.sum(weights)
  likelihood = jnp.sum(jnp.where(weights > 0, weights * jax.nn.logsumexp(log, axis=1), 0)) / n
  most = jnp.argmax(log, axis=1).astype(jnp.int32)
  done = jnp.abs(state.change) < tol
  clustering = Clustering(most, found.means, None, -likelihood, state.step, done)
  return clustering, Fit(found, likelihood, bic(found, likelihood, n), aic(found, likelihood, n))


@functools.partial(jax.jit, static_argnames=("k", "covariance"))
def _from_labels(x, labels, weights, reg, *, k, covariance) -> Mixture:
  d = x.shape[1]
  ones = {"full": (k, d, d), "tied": (1, d, d), "diag": (k, d), "spherical": (k, 1)}[covariance]
  unit = jnp.broadcast_to(jnp.eye(d), ones) if len(ones) == 3 else jnp.ones(ones, jnp.float32)
  middle = jnp.sum(weights[:, None] * x, axis=0) / jnp.sum(weights)
  now = Mixture(jnp.full(k, 1 / k, jnp.float32), jnp.broadcast_to(middle, (k, d)), unit)

  def about(_, now):  # first the means, and then the covariances about them: nothing cancels
    now = now._replace(covariances=unit)
    by = mixture.factors(now)
    seen = mixture.sums(now, by, x, weights, labels, mixture.block_size(k, d))
    return mixture.maximise(now, by, seen, reg)

  return jax.lax.fori_loop(0, 2, about, now)


def _start(x, k, key, weights, known, active) -> np.ndarray:
  """Labels by k-means, renamed so that they agree with the known ones as far as they can, which then replace them."""
  from scipy.optimize import linear_sum_assignment

  names = np.flatnonzero(active).astype(np.int32)
  labels = np.asarray(k_means.fit(x, len(names), key=key, weights=weights).labels)
  known = np.asarray(known)
  seen = known >= 0
  table = np.zeros((len(names), k))
  np.add.at(table, (labels[seen], known[seen]), 1)
  names = names[linear_sum_assignment(-table[:, names])[1]]
  return np.where(seen, known, names[labels]).astype(np.int32)


def _check(x, k, weights, known, active, covariance, restarts, reg) -> None:
  traced = lambda value: isinstance(value, jax.core.Tracer)
  n = x.shape[0]
  require(covariance in COVARIANCES, "cluster.covariance", covariance, f"choose one of {list(COVARIANCES)}")
  require(restarts >= 1, "cluster.restarts", restarts, "use at least 1")
  require(traced(reg) or reg >= 0, "cluster.reg", reg, "use at least 0")
  require(weights.shape == (n,), "cluster.weights", weights.shape, f"give one weight a row: {(n,)}")
  require(known.shape == (n,), "cluster.labels", known.shape, f"give one label a row: {(n,)}")
  fix = f"give {k} bools, at least one of them True"
  require(active.shape == (k,) and bool(active.any()), "cluster.active", active.tolist(), fix)
  if any(map(traced, (x, weights, known))):
    return
  weights, known = np.asarray(weights), np.asarray(known)
  good = bool(((weights >= 0) & (weights < np.inf)).all() and (weights > 0).any())
  require(good, "cluster.weights", "negative, not finite or all 0", "use weights of at least 0, some of them above")
  usable = np.r_[active, True][np.clip(known, -1, k)]
  inside = bool(((known < k) & (usable | (known < 0))).all())
  require(inside, "cluster.labels", "a label out of range", f"use -1, or an active component of 0 to {k - 1}")
