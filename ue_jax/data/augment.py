"""Augmentations: pure functions `(key, images, targets) -> (images, targets)`, safe under jit and vmap.

Images are float32 `[batch, height, width, channels]` in [0, 1], targets float32 `[batch, classes]`
(one-hot, or already mixed). Each picture draws on its own unless the docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.data import rand_augment, trivial, ueraser

Augment = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def crop(pad: int = 4) -> Augment:
  """Pads with black and cuts a random window of the old size (He et al. 2016, section 4.2). `pad` in pixels, static."""
  require(isinstance(pad, int) and pad >= 0, "augment.crop.pad", pad, "give a number of pixels, 0 or more")

  def apply(key, images, targets):
    b, h, w, c = images.shape
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corners = jax.random.randint(key, (b, 2), 0, 2 * pad + 1)
    cut = lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], jnp.zeros_like(at[0])), (h, w, c))
    return jax.vmap(cut)(padded, corners), targets

  return apply


def flip(share: float = 0.5) -> Augment:
  """Mirrors a random `share` (0 to 1, may be traced) of the pictures left to right."""
  _number("augment.flip.share", share, 0, 1)

  def apply(key, images, targets):
    chosen = jax.random.bernoulli(key, share, (images.shape[0], 1, 1, 1))
    return jnp.where(chosen, images[:, :, ::-1], images), targets

  return apply


def mixup(alpha: float = 1.0) -> Augment:
  """Blends each picture and target with another of the batch (Zhang et al. 2018, equation 1).

  One weight Beta(alpha, alpha) for the whole batch; alpha above 0, may be traced.
  """
  _number("augment.mixup.alpha", alpha, 0)

  def apply(key, images, targets):
    key_weight, key_partner = jax.random.split(key)
    weight = _beta(key_weight, alpha)
    other = jax.random.permutation(key_partner, images.shape[0])
    blend = lambda x: weight.astype(x.dtype) * x + (1 - weight).astype(x.dtype) * x[other]
    return blend(images), blend(targets)

  return apply


def cutmix(alpha: float = 1.0) -> Augment:
  """Pastes a box of another picture of the batch; targets follow the area (Yun et al. 2019, equation 1).

  One box for the whole batch, its area share drawn from Beta(alpha, alpha), its centre uniform; the part
  outside the picture is cut off and the weight is that of the pixels really kept. alpha above 0, may be traced.
  """
  _number("augment.cutmix.alpha", alpha, 0)

  def apply(key, images, targets):
    key_weight, key_centre, key_partner = jax.random.split(key, 3)
    side = jnp.sqrt(1 - _beta(key_weight, alpha))
    h, w = images.shape[1:3]
    centre = jax.random.uniform(key_centre, (2,)) * jnp.array([h, w], jnp.float32)
    inside = _box(centre[:1], centre[1:], side * h / 2, side * w / 2, h, w)
    kept = 1 - jnp.mean(inside.astype(jnp.float32))
    other = jax.random.permutation(key_partner, images.shape[0])
    mixed = jnp.where(inside[..., None], images[other], images)
    return mixed, kept.astype(targets.dtype) * targets + (1 - kept).astype(targets.dtype) * targets[other]

  return apply


def cutout(size: int = 16) -> Augment:
  """Blackens a square of `size` pixels around a random pixel (DeVries and Taylor 2017); it may stick out."""
  require(isinstance(size, int) and size >= 0, "augment.cutout.size", size, "give a side in pixels, 0 or more")

  def apply(key, images, targets):
    b, h, w, _ = images.shape
    corners = jax.random.randint(key, (b, 2), 0, jnp.array([h, w])) - size // 2
    rows, columns = jnp.arange(h)[None, :, None], jnp.arange(w)[None, None, :]
    top, left = corners[:, 0, None, None], corners[:, 1, None, None]
    inside = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    return jnp.where(inside[..., None], jnp.zeros_like(images), images), targets

  return apply


def build(names: Sequence[str | Augment]) -> Augment:
  """One augmentation from several, applied in order with independent keys.

  Args:
    names: `crop`, `flip`, `mixup`, `cutmix`, `cutout`, `trivial`, `rand`, or of `data.ueraser` `plasma_brightness`,
      `plasma_contrast`, `channel_shuffle` and all with `trivial` as `ueraser`; with their defaults, or with their
      first argument as in `crop:2`, `mixup:0.4`; or augmentations themselves. Empty for none.
  Raises:
    Invalid: for an unknown name or an argument that is not a number.
  """
  parts = tuple(_parse(name) if isinstance(name, str) else name for name in names)

  def apply(key, images, targets):
    for number, part in enumerate(parts):
      images, targets = part(jax.random.fold_in(key, number), images, targets)
    return images, targets

  return apply


def _share(factory: Callable[..., Augment]) -> Callable[..., Augment]:
  """An augmentation of `data.ueraser` or `data.trivial` whose argument, the share of pictures, comes from outside."""

  def make(*share):
    for value in share:
      _number(f"augment.{factory.__name__}.share", value, 0, 1)
    return factory(*share)

  return make


def _rand(strength=9) -> Augment:
  """`data.rand_augment.rand` with its two operations, of a strength from outside."""
  _number("augment.rand.strength", strength, 0, rand_augment.STRONGEST)
  return rand_augment.rand(strength)


_KNOWN = {"crop": (crop, int), "flip": (flip, float), "mixup": (mixup, float), "cutmix": (cutmix, float),
          "cutout": (cutout, int), "rand": (_rand, float)}
_KNOWN |= {part.__name__: (_share(part), float) for part in (
  ueraser.ueraser, ueraser.plasma_brightness, ueraser.plasma_contrast, ueraser.channel_shuffle,
  trivial.trivial)}


def _parse(text: str) -> Augment:
  name, _, argument = text.partition(":")
  require(name in _KNOWN, "augment", text, f"choose from {sorted(_KNOWN)}")
  factory, number = _KNOWN[name]
  try:
    values = [number(argument)] if argument else []
  except ValueError:
    values = None
  require(values is not None, "augment", text, f"write a number after the colon, as in '{name}:1'")
  return factory(*values)


def _number(field: str, value, low: float, high: float = float("inf")) -> None:
  if isinstance(value, (int, float)):  # a traced value is the caller's business
    inside = low <= value <= high and (value > low or high < float("inf"))
    require(inside, field, value, f"choose {low} to {high}" if high < float("inf") else f"choose a number above {low}")


def _beta(key: jax.Array, alpha) -> jax.Array:
  """One draw of Beta(alpha, alpha), float32 scalar, by the polar form of Student's t (Devroye 1996, section 3).

  `jax.random.beta` rejects in loops and takes seconds to compile.
  """
  u, v = jax.random.uniform(key, (2,), minval=jnp.finfo(jnp.float32).tiny)
  power, cosine = u ** (1 / jnp.asarray(alpha, jnp.float32)), jnp.cos(2 * jnp.pi * v)
  below = jnp.maximum(power + (1 - power) * cosine**2, jnp.finfo(jnp.float32).tiny)
  return 0.5 + 0.5 * cosine * jnp.sqrt((1 - power) / below)


def _box(y: jax.Array, x: jax.Array, half_height, half_width, h: int, w: int) -> jax.Array:
  """bool [b, h, w]: pixels whose centre lies in the box around (y, x) `[b]`."""
  rows = jnp.abs(jnp.arange(h, dtype=jnp.float32)[None] + 0.5 - y[:, None]) < half_height
  columns = jnp.abs(jnp.arange(w, dtype=jnp.float32)[None] + 0.5 - x[:, None]) < half_width
  return rows[:, :, None] & columns[:, None, :]
