"""Linear CKA: how alike two representations of the same samples are, whatever their bases and scales.

Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019. With centred X `[n, d]`, Y `[n, e]`

  CKA = |X'Y|_F^2 / (|X'X|_F |Y'Y|_F),

the feature form of <K, L> / (|K| |L|) with K = XX', L = YY': sums over samples of d x e moments, and no n x n matrix.
Sums over parts of the samples (devices, files) are sums of `Moments`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require


class Moments(NamedTuple):
  """Sums over samples, float64; of two parts they add up field by field.

  Attributes:
    n: how many.
    x, y: sums of the rows, `[d]` and `[e]`.
    xx, xy, yy: X'X `[d, d]`, X'Y `[d, e]`, Y'Y `[e, e]`.
  """

  n: np.ndarray
  x: np.ndarray
  y: np.ndarray
  xx: np.ndarray
  xy: np.ndarray
  yy: np.ndarray


def cka(x: np.ndarray, y: np.ndarray, estimator: str = "full", batch: int = 512) -> float:
  """Linear CKA of two representations; 1 if one is the other turned, scaled and shifted.

  Args:
    x: float `[n, d]`.
    y: float `[n, e]`, of the same samples in the same order.
    estimator: `full`, from the moments of all samples, in [0, 1]; `unbiased`, at most 1 and about 0 for unrelated ones;
      `batched`, the mean over consecutive batches as in the released code of unlearning audits, noisier, and dependent
      on the order.
    batch: samples a batch for `batched`; the last may be smaller, and is left out if it has fewer than two.

  Raises:
    Invalid: for another estimator, unlike lengths, too few samples (2; 4 for `unbiased`), values that are not finite,
      or a representation that is constant.
  """
  ways = {"full": _full, "unbiased": _unbiased, "batched": functools.partial(_batched, size=batch)}
  require(estimator in ways, "measure.estimator", estimator, f"choose one of {sorted(ways)}")
  least = 4 if estimator == "unbiased" else 2
  shapes = (np.shape(x), np.shape(y))
  fits = x.ndim == y.ndim == 2 and len(x) == len(y) >= least
  require(fits, "features", shapes, f"give two arrays [n, width] of the same samples, at least {least}")
  require(bool(np.isfinite(x).all() and np.isfinite(y).all()), "features", "NaN or infinity", "check the models")
  return ways[estimator](x, y)


def moments(x: np.ndarray, y: np.ndarray, chunk: int = 4096, device: bool | None = None) -> Moments:
  """The sums over samples of two representations.

  Args:
    x, y: float `[n, d]`, `[n, e]`.
    chunk: samples a product on the device.
    device: products in float32 of the accelerator, added up in float64; None: if there is one. On CPUs all of it is
      float64. Give centred features in float32: the difference of large sums has few digits.
  """
  device = jax.default_backend() != "cpu" if device is None else device
  wide = [np.asarray(one, np.float64) for one in (x, y)]
  if device:
    parts = [_products(jnp.asarray(x[i : i + chunk]), jnp.asarray(y[i : i + chunk])) for i in range(0, len(x), chunk)]
    xx, xy, yy = (sum(np.asarray(part, np.float64) for part in many) for many in zip(*parts))
  else:
    xx, xy, yy = wide[0].T @ wide[0], wide[0].T @ wide[1], wide[1].T @ wide[1]
  return Moments(np.float64(len(x)), wide[0].sum(0), wide[1].sum(0), xx, xy, yy)


@jax.jit
def _products(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  times = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
  x, y = x.astype(jnp.float32), y.astype(jnp.float32)
  return times(x.T, x), times(x.T, y), times(y.T, y)


def from_moments(m: Moments) -> float:
  """CKA `full` in [0, 1] from sums over all samples.

  Raises:
    Invalid: if one representation is the same for all samples.
  """
  centred = [m.xx - np.outer(m.x, m.x) / m.n, m.xy - np.outer(m.x, m.y) / m.n, m.yy - np.outer(m.y, m.y) / m.n]
  xx, xy, yy = (float(np.sum(np.square(one))) for one in centred)
  size = np.square(np.trace(m.xx)), np.square(np.trace(m.yy))
  varies = xx > 1e-18 * size[0] and yy > 1e-18 * size[1]
  require(bool(varies), "features", "constant", "one value for all samples is no representation: check the model")
  return float(np.clip(xy / np.sqrt(xx * yy), 0.0, 1.0))


def _full(x: np.ndarray, y: np.ndarray) -> float:
  return from_moments(moments(_centred(x), _centred(y)))


def _batched(x: np.ndarray, y: np.ndarray, size: int) -> float:
  starts = [i for i in range(0, len(x), size) if len(x) - i >= 2]
  return float(np.mean([_full(x[i : i + size], y[i : i + size]) for i in starts]))


def _unbiased(x: np.ndarray, y: np.ndarray) -> float:
  """The ratio of unbiased estimates of HSIC (Song et al., "Feature Selection via Dependence Maximization", 2012)."""
  x, y = _centred(x), _centred(y)
  xy, xx, yy = _hsic(x, y), _hsic(x, x), _hsic(y, y)
  fix = "too few samples, or one value for all of them: use 'full'"
  require(xx > 0 and yy > 0, "features", "no spread that an unbiased estimate sees", fix)
  return float(xy / np.sqrt(xx * yy))


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
  """Unbiased HSIC of linear kernels; every sum of K and L without their diagonals is one of products of features."""
  n = len(x)
  own = [np.sum(one * one, axis=1) for one in (x, y)]  # the diagonals
  rows = [one @ one.sum(0) - mine for one, mine in zip((x, y), own)]  # sums of the rows without them
  trace = np.sum(np.square(x.T @ y)) - own[0] @ own[1]
  means = rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
  return float((trace + means - 2 / (n - 2) * rows[0] @ rows[1]) / (n * (n - 3)))


def _centred(x: np.ndarray) -> np.ndarray:
  x = np.asarray(x, np.float64)
  return x - x.mean(0)
