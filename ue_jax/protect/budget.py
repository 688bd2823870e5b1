"""What a protection did to each picture: distances, visibility, and how many perturbations there are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.pictures import to_float


def audit(clean: np.ndarray, protected: np.ndarray, chunk: int = 512, most: int = 1000) -> Mapping[str, np.ndarray]:
  """Compares pictures `[n, h, w, c]` (uint8, or float in [0, 1]) one by one.

  Returns:
    name -> float32 `[n]`: `linf` and `l2` in units of [0, 1]; `psnr` in dB (infinity if equal); `ssim` in [-1, 1];
    `clipped`, the share of values that were changed and now lie at 0 or 1. And `distinct`, an int: how many different
    perturbations the first `most` pictures have; what was cut at 0 or 1 agrees with anything.

  Raises:
    Invalid: for shapes that differ.
  """
  shapes = (clean.shape, protected.shape)
  require(clean.ndim == 4 and shapes[0] == shapes[1], "audit", shapes, "give pictures of equal shapes")
  compiled = jax.jit(_compare)
  size = min(chunk, len(clean))
  parts = []
  for start in range(0, len(clean), size):
    rows = np.minimum(np.arange(start, start + size), len(clean) - 1)
    parts.append(jax.tree.map(np.asarray, compiled(clean[rows], protected[rows])))
  out = {name: np.concatenate([part[name] for part in parts])[: len(clean)] for name in parts[0]}
  return {**out, "distinct": distinct(clean[:most], protected[:most])}


def distinct(clean: np.ndarray, protected: np.ndarray) -> int:
  """The number of different perturbations; values of `protected` at either end of the range agree with anything."""
  top = 255 if protected.dtype == np.uint8 else 1
  delta = (protected.astype(np.float32) - clean.astype(np.float32)).reshape(len(clean), -1)
  known = ((protected > 0) & (protected < top)).reshape(len(clean), -1)
  values, seen, count = np.zeros_like(delta), np.zeros_like(known), 0
  few = np.linspace(0, delta.shape[1] - 1, min(64, delta.shape[1])).astype(int)  # most pairs part on these already
  for d, k in zip(delta, known):
    agree = np.arange(count)
    for columns in (few, slice(None)):
      both = seen[agree][:, columns] & k[columns]
      agree = agree[~(both & (np.abs(values[agree][:, columns] - d[columns]) > 1e-6)).any(1)]
    at = agree[0] if len(agree) else count
    values[at, k], seen[at] = d[k], seen[at] | k
    count = max(count, at + 1)
  return int(count)


def ssim(a: jax.Array, b: jax.Array) -> jax.Array:
  """Structural similarity of float pictures `[n, h, w, c]` in [0, 1], float32 `[n]` (Wang et al. 2004).

  Gaussian window of 11 pixels and deviation 1.5 (smaller pictures: the largest odd window), mean over channels.
  """
  size = min(11, *(side - 1 + side % 2 for side in a.shape[1:3]))
  x = np.arange(size) - size // 2
  window = np.exp(-(x**2) / (2 * 1.5**2))
  window = jnp.asarray(window / window.sum(), jnp.float32)

  def smooth(x):
    h, w = x.shape[1] - size + 1, x.shape[2] - size + 1
    x = sum(window[i] * x[:, i : i + h] for i in range(size))
    return sum(window[i] * x[:, :, i : i + w] for i in range(size))

  ma, mb = smooth(a), smooth(b)
  va, vb, cov = smooth(a * a) - ma * ma, smooth(b * b) - mb * mb, smooth(a * b) - ma * mb
  c1, c2 = 0.01**2, 0.03**2
  value = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
  return jnp.mean(value, axis=(1, 2, 3))


def _compare(clean, protected):
  a, b = to_float(clean), to_float(protected)
  delta = b - a
  if clean.dtype == np.uint8 and protected.dtype == np.uint8:  # equal bytes differ by exactly 0
    delta = (protected.astype(jnp.int32) - clean.astype(jnp.int32)).astype(jnp.float32) / jnp.float32(255)
  square = jnp.sum(delta * delta, axis=(1, 2, 3))
  at_end = (delta != 0) & ((b <= 0) | (b >= 1))
  return {
    "linf": jnp.max(jnp.abs(delta), axis=(1, 2, 3)),
    "l2": jnp.sqrt(square),
    "psnr": -10 * jnp.log10(square / math.prod(a.shape[1:])),
    "ssim": ssim(a, b),
    "clipped": jnp.mean(at_end.astype(jnp.float32), axis=(1, 2, 3)),
  }
