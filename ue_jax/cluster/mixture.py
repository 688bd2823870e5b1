"""The arithmetic of Gaussian mixtures: densities and one step of expectation and maximisation, in float32.

Everything is taken in coordinates whitened by each component (`y = (x - mean) L`, L the Cholesky factor of the
precision): differences are formed before anything is squared, so that nothing cancels however far the data lie from the
origin, and new covariances are corrections of the last ones. One block of rows at a time; components come first, so
that the sums over them are over whole vectors.

The shape of `Mixture.covariances` says which kind it is: `[k, d, d]` full, `[1, d, d]` tied, `[k, d]` diag, `[k, 1]`
spherical. A component of weight 0 is absent: it gets no sample and stays as it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster.distances import HIGHEST
from ue_jax.parallel.spread import allsum

EPS = float(jnp.finfo(jnp.float32).eps)


class Mixture(NamedTuple):
  """Gaussians: `weights` `[k]`, `means` `[k, d]`, and `covariances` of one of the four shapes."""

  weights: jax.Array
  means: jax.Array
  covariances: jax.Array


class Factors(NamedTuple):
  """Of each covariance: `root` (its Cholesky factor, or standard deviations), the inverse `whiten`, and log density."""

  root: jax.Array
  whiten: jax.Array
  peak: jax.Array  # [k] log density at the mean


class Moments(NamedTuple):
  """Sums over samples in whitened coordinates: `[k]`, `[k, d]`, `[k, d, d]` or `[k, d]`; log likelihood and weight."""

  count: jax.Array
  first: jax.Array
  second: jax.Array
  likelihood: jax.Array
  weight: jax.Array


def factors(mixture: Mixture) -> Factors:
  """The Cholesky factors of all components."""
  covariances, d = mixture.covariances, mixture.means.shape[1]
  constant = -0.5 * d * math.log(2 * math.pi)
  if covariances.ndim == 2:
    root = jnp.sqrt(covariances)
    return Factors(root, 1 / root, constant - jnp.sum(jnp.log(jnp.broadcast_to(root, mixture.means.shape)), axis=1))
  root = jnp.linalg.cholesky(covariances)
  whiten = jnp.swapaxes(_inverse(root), -1, -2)
  return Factors(root, whiten, constant - jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1))


def whitened(mixture: Mixture, by: Factors, rows: jax.Array) -> jax.Array:
  """The rows `[c, d]` in the coordinates of each component: `[k, c, d]`."""
  apart = rows - mixture.means[:, None]
  if by.whiten.ndim == 2:
    return apart * by.whiten[:, None]
  return jnp.matmul(apart, by.whiten, precision=HIGHEST)


def joint(mixture: Mixture, by: Factors, y: jax.Array) -> jax.Array:
  """log(weight * density) of whitened rows: `[k, c]`; -inf for absent components."""
  return (jnp.log(mixture.weights) + by.peak)[:, None] - 0.5 * jnp.sum(y * y, axis=-1)


def moments(mixture: Mixture, by: Factors, rows: jax.Array, weights: jax.Array, labels: jax.Array) -> Moments:
  """What one block of rows adds to the sums.

  Args:
    rows: `[c, d]`.
    weights: `[c]`, at least 0.
    labels: int32 `[c]`; the component to which a row is known to belong, or -1.
  """
  y = whitened(mixture, by, rows)
  log = joint(mixture, by, y)
  own = labels == jnp.arange(log.shape[0], dtype=jnp.int32)[:, None]
  log = jnp.where((labels >= 0) & ~own, -jnp.inf, log)  # a known component leaves no other
  total = jax.nn.logsumexp(log, axis=0)
  share = jnp.where(labels >= 0, own.astype(jnp.float32), jnp.exp(log - total)) * weights
  scaled = y * share[..., None]
  if mixture.covariances.ndim == 3:
    second = jnp.matmul(jnp.swapaxes(scaled, 1, 2), y, precision=HIGHEST)
  else:
    second = jnp.sum(scaled * y, axis=1)
  likelihood = jnp.sum(jnp.where(weights > 0, weights * total, 0))
  return Moments(share.sum(1), scaled.sum(1), second, likelihood, weights.sum())


def maximise(mixture: Mixture, by: Factors, seen: Moments, reg: jax.Array) -> Mixture:
  """The mixture of highest likelihood for these sums; `reg` is added to the variances."""
  count = seen.count + 10 * EPS
  move = seen.first / count[:, None]
  present = seen.count > 0
  weights = jnp.where(present, count, 0)
  weights = weights / jnp.maximum(jnp.sum(weights), EPS)
  if mixture.covariances.ndim == 2:
    means = mixture.means + move * by.root
    variance = (seen.second / count[:, None] - move * move) * by.root**2
    if mixture.covariances.shape[1] == 1:
      variance = jnp.mean(variance, axis=1, keepdims=True)
    covariances = jnp.maximum(variance, 0) + reg
    kept = present[:, None]
  else:
    means = mixture.means + jnp.matmul(by.root, move[..., None], precision=HIGHEST)[..., 0]
    scatter = seen.second - seen.count[:, None, None] * move[:, :, None] * move[:, None]
    tied = mixture.covariances.shape[0] == 1
    whole = jnp.sum(scatter, axis=0, keepdims=True) if tied else scatter
    whole = whole / jnp.maximum(jnp.sum(seen.count), EPS) if tied else whole / count[:, None, None]
    covariances = _regular(_symmetric(_sandwich(by.root, whole)), reg)
    kept = jnp.ones(1, bool)[:, None, None] if tied else present[:, None, None]
  covariances = jnp.where(kept, covariances, mixture.covariances)
  return Mixture(weights, jnp.where(present[:, None], means, mixture.means), covariances)


def sums(mixture: Mixture, by: Factors, x, weights, labels, block: int, axis: str | None = None) -> Moments:
  """`moments` of all rows `[n, d]`, `block` rows at a time; over the devices of the mapped `axis`, too."""
  n = x.shape[0]
  if n <= block:
    return allsum(moments(mixture, by, x, weights, labels), axis)
  short = -n % block
  cut = lambda v, fill: jnp.pad(v, ((0, short),) + ((0, 0),) * (v.ndim - 1), constant_values=fill).reshape(
    -1, block, *v.shape[1:]
  )
  parts = (cut(x, 0), cut(weights, 0), cut(labels, -1))
  add = lambda total, part: (jax.tree.map(jnp.add, total, moments(mixture, by, *part)), None)
  shapes = jax.eval_shape(lambda *part: moments(mixture, by, *part), *(p[0] for p in parts))
  zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  return allsum(jax.lax.scan(add, zero, parts)[0], axis)


def block_size(k: int, d: int) -> int:
  """Rows whose whitened coordinates for all components stay in the cache of a core (or are plenty for a GPU)."""
  scalars = 2**18 if jax.default_backend() == "cpu" else 2**25
  return int(np.clip(scalars // (k * d), 64, 65536))


def _inverse(lower: jax.Array) -> jax.Array:
  """The inverses of lower triangular matrices; of small ones row by row: the batched solve takes long to compile."""
  if lower.shape[-1] > 64:
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return jax.scipy.linalg.solve_triangular(lower, eye, lower=True)

  def row(i, done):
    at = jax.lax.dynamic_index_in_dim(lower, i, -2, keepdims=False)
    pivot = jax.lax.dynamic_index_in_dim(at, i, -1)
    rest = jnp.matmul(at[..., None, :], done, precision=HIGHEST)[..., 0, :]
    unit = jax.nn.one_hot(i, lower.shape[-1], dtype=lower.dtype)
    return jax.lax.dynamic_update_index_in_dim(done, (unit - rest) / pivot, i, -2)

  return jax.lax.fori_loop(0, lower.shape[-1], row, jnp.zeros_like(lower))


def _sandwich(root: jax.Array, middle: jax.Array) -> jax.Array:
  half = jnp.matmul(root, middle, precision=HIGHEST)
  return jnp.matmul(half, jnp.swapaxes(root, -1, -2), precision=HIGHEST)


def _symmetric(matrix: jax.Array) -> jax.Array:
  return (matrix + jnp.swapaxes(matrix, -1, -2)) / 2


def _regular(covariances: jax.Array, reg: jax.Array) -> jax.Array:
  """Adds `reg` to the diagonal, and where float32 could not take the Cholesky factor even so, what it needs."""
  d = covariances.shape[-1]
  eye = jnp.eye(d, dtype=covariances.dtype)
  plain = covariances + reg * eye
  largest = jnp.max(jnp.diagonal(plain, axis1=-2, axis2=-1), axis=-1)
  pivots = jnp.diagonal(jnp.linalg.cholesky(plain), axis1=-2, axis2=-1)
  enough = jnp.min(pivots, axis=-1) ** 2 > 4 * d * EPS * largest  # False for NaN
  return jnp.where(enough[..., None, None], plain, plain + (16 * d * EPS * largest)[..., None, None] * eye)
