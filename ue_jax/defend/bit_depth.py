"""Reduction of the bit depth as a countermeasure (Liu et al., "Image shortcut squeezing", ICML 2023)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.pictures import to_bytes, to_float
from ue_jax.core.procedure import Procedure, once
from ue_jax.protect.publish import rewrite


def defend(bits=2, test: bool = False) -> Procedure:
  """Leaves 2^bits levels a channel in the pictures of `train`: Data -> Data.

  Args:
    bits: 1 to 8; the paper uses 2.
    test: True reduces all other rows too.

  Raises:
    Invalid: for bits out of range.
  """
  if isinstance(bits, (int, float)):
    require(1 <= bits <= 8, "defend.bits", bits, "give a number in [1, 8]")
  return once(lambda key, data: rewrite(data, lambda x: transform(x, bits), test=test))


@jax.jit
def transform(x: jax.Array, bits=2) -> jax.Array:
  """Rounds `[b, h, w, c]` to 2^bits equally spaced levels with both ends kept; bytes give bytes, floats floats.

  `bits` may be traced.
  """
  top = jnp.exp2(jnp.asarray(bits, jnp.float32)) - 1
  out = jnp.round(jnp.clip(to_float(x), 0, 1) * top) / top
  return to_bytes(out) if x.dtype == np.uint8 else out
