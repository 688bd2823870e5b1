"""TrivialAugment (Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021).

Every picture gets one operation drawn at random, with a random strength of 31: no strength to tune. Operations and
ranges are those of its wide space; the published shift of 32 pixels is here the side of the picture. The operations
do what Pillow's do, within a grey level.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

LEVELS = 30  # the strongest
GREY = (0.299, 0.587, 0.114)


def trivial(share=1.0):
  """One random operation of random strength in a random `share` (0 to 1, may be traced) of the pictures."""

  def apply(key, images, targets):
    which, of_kind, of_level, of_sign = jax.random.split(key, 4)
    b = len(images)
    kind = jax.random.randint(of_kind, (b,), 0, len(OPERATIONS))
    level = jax.random.randint(of_level, (b,), 0, LEVELS + 1).astype(jnp.float32) / LEVELS
    sign = jnp.where(jax.random.bernoulli(of_sign, 0.5, (b,)), 1.0, -1.0)
    chosen = jax.random.bernoulli(which, share, (b, 1, 1, 1))
    changed = jax.vmap(operate)(kind, images.astype(jnp.float32), level, sign)
    return jnp.where(chosen, changed.astype(images.dtype), images), targets

  return apply


def operate(kind: jax.Array, image: jax.Array, level: jax.Array, sign: jax.Array) -> jax.Array:
  """The operation with number `kind` on one picture.

  Args:
    kind: int scalar, a place in `OPERATIONS`.
    image: float32 `[height, width, channels]` in [0, 1].
    level: strength in [0, 1]. sign: 1 or -1, for operations that have two directions.
  """
  return jnp.clip(jax.lax.switch(kind, list(OPERATIONS.values()), image, level, sign), 0, 1)


def _brightness(image, level, sign):
  return image * (1 + 0.99 * level * sign)


def _color(image, level, sign):
  return _blend(_grey(image), image, 0.99 * level * sign)


def _contrast(image, level, sign):
  return _blend(jnp.round(255 * jnp.mean(_grey(image))) / 255, image, 0.99 * level * sign)


def _sharpness(image, level, sign):
  h, w, _ = image.shape
  padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
  around = sum(padded[i : i + h, j : j + w] for i in range(3) for j in range(3))
  rows, columns = jnp.arange(h)[:, None, None], jnp.arange(w)[None, :, None]
  inner = (rows > 0) & (rows < h - 1) & (columns > 0) & (columns < w - 1)
  return _blend(jnp.where(inner, (around + 4 * image) / 13, image), image, 0.99 * level * sign)


def _posterize(image, level, sign):
  del sign
  step = 2.0 ** jnp.round(6 * level)  # 8 to 2 bits are left
  return jnp.floor(_bytes(image) / step) * step / 255


def _solarize(image, level, sign):
  del sign
  return jnp.where(_bytes(image) >= jnp.round(255 * (1 - level)), 1 - image, image)


def _autocontrast(image, level, sign):
  del level, sign
  low, high = jnp.min(image, axis=(0, 1)), jnp.max(image, axis=(0, 1))
  return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1), image)


def _equalize(image, level, sign):
  """Every channel by its own table of 256 values, in whole steps as Pillow has it."""
  del level, sign
  h, w, c = image.shape
  values = _bytes(image).astype(jnp.int32).reshape(-1, c).T
  ordered = jnp.sort(values, axis=-1)
  below = jax.vmap(jnp.searchsorted, (0, 0))(ordered, values)  # how many are darker
  last = jnp.sum(values == ordered[:, -1:], axis=-1, keepdims=True)
  step = (h * w - last) // 255
  table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
  return jnp.where(step > 0, table, values).T.reshape(image.shape).astype(jnp.float32) / 255


def _rotate(image, level, sign):
  angle = jnp.deg2rad(135 * level * sign)
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  return _affine(image, jnp.array([[cosine, -sine], [sine, cosine]]), jnp.zeros(2), centred=True)


def _shear_x(image, level, sign):
  return _affine(image, jnp.eye(2).at[0, 1].set(0.99 * level * sign), jnp.zeros(2))


def _shear_y(image, level, sign):
  return _affine(image, jnp.eye(2).at[1, 0].set(0.99 * level * sign), jnp.zeros(2))


def _translate_x(image, level, sign):
  return _affine(image, jnp.eye(2), jnp.trunc(image.shape[1] * level) * sign * jnp.array([0.0, 1.0]))


def _translate_y(image, level, sign):
  return _affine(image, jnp.eye(2), jnp.trunc(image.shape[0] * level) * sign * jnp.array([1.0, 0.0]))


def _affine(image, matrix, shift, centred=False):
  """The picture whose pixel (row, column) is that at `(row, column) @ matrix + shift`, the nearest; black outside."""
  h, w, _ = image.shape
  grid = jnp.stack(jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) + 0.5 for n in (h, w)), indexing="ij"), axis=-1)
  centre = jnp.array([h / 2, w / 2]) if centred else jnp.zeros(2)
  exact = jax.lax.Precision.HIGHEST
  at = jnp.floor(jnp.matmul(grid - centre, matrix, precision=exact) + centre + shift).astype(jnp.int32)
  inside = jnp.all((at >= 0) & (at < jnp.array([h, w])), axis=-1, keepdims=True)
  return jnp.where(inside, image[jnp.clip(at[..., 0], 0, h - 1), jnp.clip(at[..., 1], 0, w - 1)], 0)


def _grey(image):
  """Luma `[height, width, 1]`, of a grey picture the picture."""
  weights = jnp.array(GREY if image.shape[-1] == 3 else (1 / image.shape[-1],) * image.shape[-1])
  return jnp.sum(image * weights, axis=-1, keepdims=True)


def _bytes(image):
  return jnp.round(255 * image)


def _blend(base, image, more):
  return base + (1 + more) * (image - base)


OPERATIONS = {
  "identity": lambda image, level, sign: image, "shear_x": _shear_x, "shear_y": _shear_y, "translate_x": _translate_x,
  "translate_y": _translate_y, "rotate": _rotate, "brightness": _brightness, "color": _color, "contrast": _contrast,
  "sharpness": _sharpness, "posterize": _posterize, "solarize": _solarize, "autocontrast": _autocontrast,
  "equalize": _equalize,
}  # fmt: skip
