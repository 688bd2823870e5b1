"""Random bilinear warping: every pixel is read a little beside its place.

Source: Wang et al., "Corrupting Convolution-based Unlearnable Datasets with Pixel-based Image Transformations" (2023):
offsets are uniform in [-alpha, alpha], alpha = 2 pixels, drawn for every pixel of every picture.
Here places outside the picture are moved to its edge.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure, once
from ue_jax.defend import each


def defend(alpha=2.0, test: bool = False) -> Procedure:
  """Warps the pictures of `train`: Data -> Data.

  Args:
    alpha: the largest offset in pixels, in both directions; may be traced. 0 does nothing.
    test: True warps all other rows too.

  Raises:
    Invalid: for an alpha out of range.
  """
  if isinstance(alpha, (int, float)):
    require(0 <= alpha < float("inf"), "defend.alpha", alpha, "give a number of pixels, 0 or more")

  def run(key, data):
    change = lambda k, x: warp(x, alpha * jax.random.uniform(k, (*x.shape[:2], 2), minval=-1.0))
    return each.rewrite(key, data, change, test=test)

  return once(run)


@jax.jit
def warp(x: jax.Array, offsets: jax.Array) -> jax.Array:
  """The picture read at its places plus `offsets`, between pixels by bilinear interpolation.

  Args:
    x: float32 `[h, w, c]`.
    offsets: float32 `[h, w, 2]`, in pixels down and to the right.
  """
  h, w, _ = x.shape
  down = jnp.clip(jnp.arange(h, dtype=jnp.float32)[:, None] + offsets[..., 0], 0, h - 1)
  right = jnp.clip(jnp.arange(w, dtype=jnp.float32)[None] + offsets[..., 1], 0, w - 1)
  top, left = jnp.floor(down).astype(jnp.int32), jnp.floor(right).astype(jnp.int32)
  below, beside = jnp.minimum(top + 1, h - 1), jnp.minimum(left + 1, w - 1)
  a, b = (down - top.astype(jnp.float32))[..., None], (right - left.astype(jnp.float32))[..., None]
  upper = x[top, left] * (1 - b) + x[top, beside] * b
  lower = x[below, left] * (1 - b) + x[below, beside] * b
  return upper * (1 - a) + lower * a
