"""Grayscale as a countermeasure (Liu et al., "Image shortcut squeezing", ICML 2023): undoes low-frequency noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.pictures import to_bytes, to_float
from ue_jax.core.procedure import Procedure, once
from ue_jax.protect.publish import rewrite

WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def defend(test: bool = True) -> Procedure:
  """Makes the pictures of `train` grey, and of all other rows if `test` (as the paper does): Data -> Data."""
  return once(lambda key, data: rewrite(data, transform, test=test))


@jax.jit
def transform(x: jax.Array) -> jax.Array:
  """Luma in as many equal channels as before, `[b, h, w, 1 or 3]`; bytes give bytes, floats in [0, 1] floats."""
  if x.shape[-1] == 1:
    return x
  luma = jnp.sum(to_float(x) * WEIGHTS, axis=-1, keepdims=True)
  grey = jnp.broadcast_to(luma, x.shape)
  return to_bytes(grey) if x.dtype == np.uint8 else grey
