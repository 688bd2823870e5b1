"""The two conversions between bytes and floats: what is published is bytes, what is computed on is floats."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np


def to_float(image):
  """uint8 0..255 -> float32 in [0, 1]; floats pass unchanged. Works on numpy and (traced) JAX arrays."""
  if image.dtype != np.uint8:
    return image
  xp = np if isinstance(image, np.ndarray) else jnp
  return image.astype(np.float32) / xp.float32(255)


def to_bytes(image, quantise: str = "round"):
  """Float [0, 1] -> uint8, by rounding to the nearest (`round`) or by truncation (`floor`).

  Values outside [0, 1] are clipped. Works on numpy and (traced) JAX arrays.
  """
  xp = np if isinstance(image, np.ndarray) else jnp
  scaled = xp.clip(image, 0, 1) * xp.float32(255)
  return (xp.round(scaled) if quantise == "round" else xp.floor(scaled)).astype(np.uint8)
