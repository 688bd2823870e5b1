"""The augmentations of UEraser (Qin et al., "Learning the Unlearnable: Adversarial Augmentations Suppress Unlearnable
Example Attacks", 2023): plasma brightness, plasma contrast, shuffled channels, then one operation of TrivialAugment.

Plasma is fractal noise by diamonds and squares (Fournier, Fussell, Carpenter, "Computer rendering of stochastic
models", 1982). Ranges are those of the paper: roughness 0.3 to 0.7, intensity of the brightness 0.5 to 1.

All are augmentations as in `data.augment`, and `data.augment.build` knows their names.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.data import trivial

ROUGHNESS, INTENSITY = (0.3, 0.7), (0.5, 1.0)


def ueraser(share=0.5):
  """Plasma brightness, plasma contrast and shuffled channels, each in a random `share` of the pictures, then `trivial`.

  The last in twice that share, at most in all: as published in all of them.
  """
  last = trivial.trivial(jnp.minimum(1, 2 * share))
  parts = (plasma_brightness(share), plasma_contrast(share), channel_shuffle(share), last)

  def apply(key, images, targets):
    for number, part in enumerate(parts):
      images, targets = part(jax.random.fold_in(key, number), images, targets)
    return images, targets

  return apply


def plasma_brightness(share=1.0, roughness=ROUGHNESS, intensity=INTENSITY):
  """Adds `(2 plasma - 1) strength` to all channels alike, cut at 0 and 1.

  Args:
    share: of the pictures, 0 to 1; may be traced.
    roughness, intensity: ranges that each picture draws its roughness and its strength from; may be traced.
  """

  def change(key, images):
    draw, noise = jax.random.split(key)
    strength = _between(draw, intensity, len(images))[:, None, None, None]
    return images + (2 * _plasma(noise, images, roughness) - 1) * strength

  return _some(change, share)


def plasma_contrast(share=1.0, roughness=ROUGHNESS):
  """Stretches the distance to mid-grey by `4 plasma`, cut at 0 and 1; arguments as in `plasma_brightness`."""
  change = lambda key, images: (images - 0.5) * 4 * _plasma(key, images, roughness) + 0.5
  return _some(change, share)


def channel_shuffle(share=0.5):
  """Puts the channels of a random `share` (0 to 1, may be traced) of the pictures in a random order each."""

  def change(key, images):
    b, _, _, c = images.shape
    order = jnp.argsort(jax.random.uniform(key, (b, c)), axis=-1)
    return jnp.take_along_axis(images, order[:, None, None], axis=-1)

  return _some(change, share)


def plasma(key: jax.Array, roughness: jax.Array, height: int, width: int) -> jax.Array:
  """Fractal noise float32 `[b, height, width]`, of which each picture spans [0, 1].

  Args:
    key: one key.
    roughness: float32 `[b]` in (0, 1): the noise shrinks by this factor whenever the distance of the points halves.
    height, width: of the corner that is cut from a square grid of side 2^n + 1.
  """
  sides = [2]
  while sides[-1] < max(height, width):
    sides.append(2 * sides[-1] - 1)
  ends = np.cumsum([side * side for side in sides]).tolist()
  drawn = jax.random.uniform(key, (len(roughness), ends[-1]), minval=-1.0)  # at once: compiles far faster
  grid, size = (drawn[:, : ends[0]].reshape(-1, 2, 2) + 1) / 2, jnp.ones_like(roughness)
  for side, first, last in zip(sides[1:], ends[:-1], ends[1:]):
    size = size * roughness
    grid = refine(grid, drawn[:, first:last].reshape(-1, side, side) * size[:, None, None])
  cut = grid[:, :height, :width]
  low, high = (f(cut, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
  return (cut - low) / jnp.maximum(high - low, 1e-6)


def refine(grid: jax.Array, noise: jax.Array) -> jax.Array:
  """One step of diamonds and squares: `[b, m, m]` to `[b, 2m - 1, 2m - 1]`, old points at the even places.

  The middle of a square is the mean of its corners, the middle of an edge the mean of its two ends and of the one or
  two middles beside it; each plus its place in `noise` `[b, 2m - 1, 2m - 1]`, which is not looked at elsewhere.
  """
  corners = grid[:, 1:, 1:] + grid[:, :-1, 1:] + grid[:, 1:, :-1] + grid[:, :-1, :-1]
  middles = corners / 4 + noise[:, 1::2, 1::2]
  swap = lambda x: jnp.swapaxes(x, 1, 2)
  across = _edges(grid, middles) + noise[:, ::2, 1::2]
  down = swap(_edges(swap(grid), swap(middles))) + noise[:, 1::2, ::2]
  even, odd = _between_columns(grid, across), _between_columns(down, middles)
  return swap(_between_columns(swap(even), swap(odd)))


def _between_columns(x, y):
  """The columns of x `[b, n, m]` with those of y `[b, n, m - 1]` between them."""
  b, n, m = x.shape
  return jnp.stack([x, jnp.pad(y, ((0, 0), (0, 0), (0, 1)))], axis=-1).reshape(b, n, 2 * m)[..., :-1]


def _edges(grid, middles):
  """Means at the middles of horizontal edges, `[b, m, m - 1]`."""
  ends = grid[:, :, :-1] + grid[:, :, 1:]
  beside = jnp.pad(middles, ((0, 0), (1, 0), (0, 0))) + jnp.pad(middles, ((0, 0), (0, 1), (0, 0)))
  rows = jnp.arange(grid.shape[1])
  count = 4 - (rows == 0).astype(jnp.float32) - (rows == grid.shape[1] - 1).astype(jnp.float32)
  return (ends + beside) / count[:, None]


def _plasma(key, images, roughness):
  """Plasma of the size of the pictures, `[b, h, w, 1]`."""
  draw, noise = jax.random.split(key)
  return plasma(noise, _between(draw, roughness, len(images)), *images.shape[1:3])[..., None]


def _between(key, bounds, count):
  low, high = (jnp.asarray(bound, jnp.float32) for bound in bounds)
  return low + (high - low) * jax.random.uniform(key, (count,))


def _some(change, share):
  """The augmentation that changes a random share of the pictures."""

  def apply(key, images, targets):
    which, how = jax.random.split(key)
    chosen = jax.random.bernoulli(which, share, (len(images), 1, 1, 1))
    return jnp.where(chosen, jnp.clip(change(how, images), 0, 1), images), targets

  return apply
