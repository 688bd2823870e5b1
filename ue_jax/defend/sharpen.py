"""Random sharpening and a low-pass filter: undoes class-wise convolutions.

Source: Kim and Sandoval-Segura, "Learning from Convolution-based Unlearnable Datasets" (2024): every picture is
convolved with a random 3x3 sharpening kernel, then only the lowest 30 % of its DCT coefficients are kept.
Here the eight neighbours share `1 - centre` at random, so that brightness is kept; a coefficient is low by its
distance to the mean coefficient, in units of the sides.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure, once
from ue_jax.defend import each


def defend(centre=2.5, spread=0.25, keep=0.3, test: bool = False) -> Procedure:
  """Sharpens and low-pass filters the pictures of `train`: Data -> Data.

  Args:
    centre, spread: the kernel's middle is normal with this mean and deviation, cut at 1 and two deviations;
      `centre=1, spread=0` does not sharpen. May be traced.
    keep: share of DCT coefficients that are kept, above 0, at most 1; may be traced.
    test: True treats all other rows too.

  Raises:
    Invalid: for values out of range.
  """
  for field, value, low, high in (("centre", centre, 1, 100), ("spread", spread, 0, 100)):
    if isinstance(value, (int, float)):
      require(low <= value <= high, f"defend.{field}", value, f"give a number in [{low}, {high}]")
  if isinstance(keep, (int, float)):
    require(0 < keep <= 1, "defend.keep", keep, "give a share above 0, at most 1")

  def run(key, data):
    change = lambda k, x: low_pass(sharpen(x, kernel(k, centre, spread)), keep)
    return each.rewrite(key, data, change, test=test)

  return once(run)


def kernel(key: jax.Array, centre=2.5, spread=0.25) -> jax.Array:
  """A random sharpening kernel float32 `[3, 3]` of sum 1: its middle at least 1, its other entries at most 0."""
  middle_key, around_key = jax.random.split(key)
  middle = jnp.maximum(centre + spread * jax.random.truncated_normal(middle_key, -2.0, 2.0), 1)
  around = jax.random.uniform(around_key, (3, 3)).at[1, 1].set(0)
  return (around / jnp.sum(around) * (1 - middle)).at[1, 1].set(middle)


@jax.jit
def sharpen(x: jax.Array, weights: jax.Array) -> jax.Array:
  """The picture float32 `[h, w, c]` correlated with `[3, 3]`, edges repeated, cut at 0 and 1."""
  h, w, _ = x.shape
  padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
  return jnp.clip(sum(weights[i, j] * padded[i : i + h, j : j + w] for i in range(3) for j in range(3)), 0, 1)


@jax.jit
def low_pass(x: jax.Array, keep=0.3) -> jax.Array:
  """The picture `[h, w, c]` from its lowest DCT coefficients, `ceil(keep h w)` of them; not cut to a range."""
  rows, columns = jnp.asarray(dct(x.shape[0])), jnp.asarray(dct(x.shape[1]))
  exact = lambda a, b, x: jnp.einsum("up,pqc,vq->uvc", a, x, b, precision=jax.lax.Precision.HIGHEST)
  kept = (order(*x.shape[:2]) < jnp.asarray(keep, jnp.float32) * (x.shape[0] * x.shape[1])).astype(jnp.float32)
  return exact(rows.T, columns.T, exact(rows, columns, x) * kept[..., None])


def dct(n: int) -> np.ndarray:
  """The orthonormal n-point DCT-II, float32 `[frequency, place]`."""
  frequency, place = np.arange(n)[:, None], np.arange(n)[None]
  matrix = np.cos((2 * place + 1) * frequency * np.pi / (2 * n)) * np.sqrt(2 / n)
  matrix[0] /= np.sqrt(2)
  return matrix.astype(np.float32)


def order(h: int, w: int) -> np.ndarray:
  """The rank of every coefficient by its frequency, float32 `[h, w]`: 0 for the mean, h w - 1 for the highest."""
  radius = np.hypot(np.arange(h)[:, None] / h, np.arange(w)[None] / w)
  ranks = np.empty(h * w, np.float32)
  ranks[np.argsort(radius.ravel(), kind="stable")] = np.arange(h * w)
  return ranks.reshape(h, w)
