"""JPEG compression as a pure function of pictures (Liu et al., "Image shortcut squeezing", ICML 2023).

Baseline JPEG (ITU-T T.81) up to the entropy coding, which loses nothing: JFIF colour transform, optional 4:2:0 chroma
subsampling with triangular upsampling, 8x8 DCT, the example quantisation tables of annex K scaled by quality as in
the IJG library, rounding. Runs under jit and vmap; `quality` may be traced.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.pictures import to_bytes, to_float
from ue_jax.core.procedure import Procedure, once
from ue_jax.protect.publish import rewrite

LUMA = np.array([
  [16, 11, 10, 16, 24, 40, 51, 61],
  [12, 12, 14, 19, 26, 58, 60, 55],
  [14, 13, 16, 24, 40, 57, 69, 56],
  [14, 17, 22, 29, 51, 87, 80, 62],
  [18, 22, 37, 56, 68, 109, 103, 77],
  [24, 35, 55, 64, 81, 104, 113, 92],
  [49, 64, 78, 87, 103, 121, 120, 101],
  [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32)  # fmt: skip
CHROMA = np.full((8, 8), 99, np.float32)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)


def defend(quality=10, subsample: bool = True, test: bool = False) -> Procedure:
  """JPEG on the pictures of `train`: Data -> Data.

  Args:
    quality: 1 (smallest) to 100; the paper uses 10.
    subsample: True halves the chroma in both directions (4:2:0).
    test: True compresses all other rows too.

  Raises:
    Invalid: for a quality out of range.
  """
  if isinstance(quality, (int, float)):
    require(1 <= quality <= 100, "defend.quality", quality, "give a number in [1, 100]")
  return once(lambda key, data: rewrite(data, lambda x: transform(x, quality, subsample), test=test))


@functools.partial(jax.jit, static_argnames="subsample")
def transform(x: jax.Array, quality=10, subsample: bool = True) -> jax.Array:
  """Compresses and decompresses pictures `[b, h, w, 1 or 3]` of any size; bytes give bytes, floats in [0, 1] floats.

  Floats are rounded to bytes first, as an encoder would be given them. Edges are repeated up to whole blocks.
  """
  levels = jnp.round(jnp.clip(to_float(x), 0, 1) * 255)
  h, w, channels = x.shape[1:]
  side = 16 if subsample and channels == 3 else 8
  levels = jnp.pad(levels, ((0, 0), (0, -h % side), (0, -w % side), (0, 0)), mode="edge")
  out = _colour(levels, quality, subsample) if channels == 3 else _plane(levels[..., 0], LUMA, quality)[..., None]
  out = jnp.clip(jnp.round(out), 0, 255)[:, :h, :w] / jnp.float32(255)
  return to_bytes(out) if x.dtype == np.uint8 else out


def tables(quality, base: np.ndarray) -> jax.Array:
  """The quantisation table `[8, 8]` of a quality, whole numbers in 1..255 as float32."""
  quality = jnp.asarray(quality, jnp.float32)
  scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
  return jnp.clip(jnp.floor((jnp.asarray(base) * scale + 50) / 100), 1, 255)


def dct_matrix() -> np.ndarray:
  """The orthonormal 8-point DCT-II, float32 `[frequency, place]`."""
  frequency, place = np.arange(8)[:, None], np.arange(8)[None]
  matrix = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
  matrix[0] /= np.sqrt(2)
  return matrix.astype(np.float32)


def _colour(levels, quality, subsample):
  ycc = jnp.round(_mix(levels, TO_YCC) + jnp.asarray([0, 128, 128], jnp.float32))
  y = _plane(ycc[..., 0], LUMA, quality)
  chroma = []
  for c in (1, 2):
    plane = _halved(ycc[..., c]) if subsample else ycc[..., c]
    plane = jnp.clip(jnp.round(_plane(plane, CHROMA, quality)), 0, 255)
    chroma.append(_doubled(_doubled(plane, 1), 2) if subsample else plane)
  y = jnp.clip(jnp.round(y), 0, 255)
  return _mix(jnp.stack([y, chroma[0] - 128, chroma[1] - 128], -1), TO_RGB)


def _mix(x, matrix):
  return jnp.matmul(x, jnp.asarray(matrix.T), precision=jax.lax.Precision.HIGHEST)


def _plane(plane, base, quality):
  """One channel `[b, h, w]` through DCT, quantisation and back; levels 0..255."""
  b, h, w = plane.shape
  blocks = (plane - 128).reshape(b, h // 8, 8, w // 8, 8)
  matrix, table = jnp.asarray(dct_matrix()), tables(quality, base)[:, None]
  exact = jax.lax.Precision.HIGHEST
  coefficients = jnp.einsum("up,bipjq,vq->biujv", matrix, blocks, matrix, precision=exact)
  kept = jnp.round(coefficients / table) * table
  return jnp.einsum("up,biujv,vq->bipjq", matrix, kept, matrix, precision=exact).reshape(b, h, w) + 128


def _halved(plane):
  b, h, w = plane.shape
  return jnp.round(jnp.mean(plane.reshape(b, h // 2, 2, w // 2, 2), axis=(2, 4)))


def _doubled(plane, axis):
  """Triangular upsampling: three quarters of the nearer sample, one quarter of the farther."""
  n = plane.shape[axis]
  before = jnp.take(plane, np.maximum(np.arange(n) - 1, 0), axis)
  after = jnp.take(plane, np.minimum(np.arange(n) + 1, n - 1), axis)
  pair = jnp.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
  return pair.reshape(*plane.shape[:axis], 2 * n, *plane.shape[axis + 1 :])
