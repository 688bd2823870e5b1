"""What a protection did to each picture: distances, visibility, and how many perturbations there are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.pictures import to_float
from ue_jax.core.pieces import pieces


def audit(clean: np.ndarray, protected: np.ndarray, chunk: int = 512, most: int = 1000) -> Mapping[str, np.ndarray]:
  """Compares pictures `[n, h, w, c]` (uint8, or float in [0, 1]) one by one.

  Returns:
    name -> float32 `[n]`: `linf` and `l2` in units of [0, 1]; `psnr` in dB (infinity if equal); `ssim` in [-1, 1];
    `clipped`, the share of values that were changed and now lie at 0 or 1. And `distinct`, an int: how many different
    perturbations the first `most` pictures have; what was cut at 0 or 1 agrees with anything.

  Raises:
    Invalid: for shapes that differ, or no pictures.
  """
  shapes = (clean.shape, protected.shape)
  require(clean.ndim == 4 and shapes[0] == shapes[1], "audit", shapes, "give pictures of equal shapes")
  require(len(clean) >= 1, "audit", shapes, "give at least one picture")
  compiled = jax.jit(_compare)
  parts = []
  for rows in pieces(len(clean), chunk):
    parts.append(jax.tree.map(np.asarray, compiled(clean[rows], protected[rows])))
  out = {name: np.concatenate([part[name] for part in parts])[: len(clean)] for name in parts[0]}
  return {**out, "distinct": distinct(clean[:most], protected[:most])}


def distinct(clean: np.ndarray, protected: np.ndarray, cut: bool = True) -> int:
  """The number of different perturbations; values of `protected` at either end of the range agree with anything.

  With `cut` False nothing was cut there: all values count.
  """
  top = 255 if protected.dtype == np.uint8 else 1
  delta = (protected.astype(np.float32) - clean.astype(np.float32)).reshape(len(clean), -1)
  known = ((protected > 0) & (protected < top) | (not cut)).reshape(len(clean), -1)
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
  return jnp.mean(_similarity(a, b, _window(a.shape[1:3])), axis=(1, 2, 3))


def similar(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """`ssim` on the host, of float pictures that may be beyond [0, 1]; float64 `[n]`."""
  return _similarity(a, b, _window(a.shape[1:3])).mean((1, 2, 3), dtype=np.float64)


def picture(clean: np.ndarray, protected: np.ndarray, strip: int = 256) -> dict[str, float]:
  """What `audit` says of ONE picture uint8 `[h, w, c]` of any size, on the host: nothing is compiled for its size.

  Returns:
    `linf`, `l2`, `psnr`, `ssim`, `clipped`. Rows are taken `strip` at a time, so a large picture needs no more memory.

  Raises:
    Invalid: for shapes that differ, or what are no bytes.
  """
  shapes = (clean.shape, protected.shape)
  require(clean.ndim == 3 and shapes[0] == shapes[1], "picture", shapes, "give pictures of equal shapes")
  bytes_ = clean.dtype == np.uint8 and protected.dtype == np.uint8
  require(bytes_, "picture", (clean.dtype.name, protected.dtype.name), "give uint8")
  window = _window(clean.shape[:2])
  most, square, at_end, alike = 0, 0, 0, 0.0
  for start in range(0, len(clean), strip):
    a, b = clean[start : start + strip], protected[start : start + strip]
    delta = b.astype(np.int32) - a
    most, square = max(most, int(np.abs(delta).max())), square + int((delta * delta).sum(dtype=np.int64))
    at_end += int(((delta != 0) & ((b == 0) | (b == 255))).sum())
    a, b = (to_float(x[start : start + strip + len(window) - 1])[None] for x in (clean, protected))
    if a.shape[1] >= len(window):  # windows that begin in this strip
      alike += float(_similarity(a, b, window).sum(dtype=np.float64))
  h, w, c = clean.shape
  windows = (h - len(window) + 1) * (w - len(window) + 1) * c
  mean = square / 255**2 / clean.size
  psnr = -10 * math.log10(mean) if mean else math.inf
  l2 = math.sqrt(square) / 255
  return {"linf": most / 255, "l2": l2, "psnr": psnr, "ssim": alike / windows, "clipped": at_end / clean.size}


def _window(size: tuple[int, int]) -> np.ndarray:
  length = min(11, *(side - 1 + side % 2 for side in size))
  x = np.arange(length) - length // 2
  window = np.exp(-(x**2) / (2 * 1.5**2))
  return (window / window.sum()).astype(np.float32)


def _similarity(a, b, window: np.ndarray):
  """`[n, h - size + 1, w - size + 1, c]`, the similarity in every window; numpy or JAX."""
  size = len(window)

  def smooth(x):
    h, w = x.shape[1] - size + 1, x.shape[2] - size + 1
    x = sum(window[i] * x[:, i : i + h] for i in range(size))
    return sum(window[i] * x[:, :, i : i + w] for i in range(size))

  ma, mb = smooth(a), smooth(b)
  va, vb, cov = smooth(a * a) - ma * ma, smooth(b * b) - mb * mb, smooth(a * b) - ma * mb
  c1, c2 = 0.01**2, 0.03**2
  return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))


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
