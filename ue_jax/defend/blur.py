"""Gaussian blur as a countermeasure.

The blur of a known benchmark has size 3 and deviation 0.1: its neighbours weigh exp(-50), so it does nothing. Here
deviations below 0.8 are refused.
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


def defend(sigma=1.0, size: int = 5, test: bool = False) -> Procedure:
  """Blurs the pictures of `train`: Data -> Data.

  Args:
    sigma: standard deviation in pixels, at least 0.8.
    size: side of the window in pixels, odd and at least 3.
    test: True blurs all other rows too.

  Raises:
    Invalid: for values out of range.
  """
  if isinstance(sigma, (int, float)):
    require(0.8 <= sigma < float("inf"), "defend.sigma", sigma, "use at least 0.8: less is as good as no blur")
  require(isinstance(size, int) and size >= 3 and size % 2 == 1, "defend.size", size, "give an odd number from 3 on")
  return once(lambda key, data: rewrite(data, lambda x: transform(x, sigma, size), test=test))


def window(sigma, size: int) -> jax.Array:
  """The normalised one-dimensional Gaussian, float32 `[size]`; sigma may be traced."""
  place = jnp.arange(size, dtype=jnp.float32) - size // 2
  weight = jnp.exp(-0.5 * jnp.square(place / sigma))
  return weight / jnp.sum(weight)


@functools.partial(jax.jit, static_argnames="size")
def transform(x: jax.Array, sigma=1.0, size: int = 5) -> jax.Array:
  """Separable Gaussian blur of `[b, h, w, c]` with repeated edges; bytes give bytes, floats in [0, 1] floats."""
  weight, pad = window(sigma, size), size // 2
  h, w = x.shape[1:3]
  padded = jnp.pad(to_float(x), ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
  tall = sum(weight[i] * padded[:, i : i + h] for i in range(size))
  out = sum(weight[i] * tall[:, :, i : i + w] for i in range(size))
  return to_bytes(out) if x.dtype == np.uint8 else out
