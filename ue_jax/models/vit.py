"""Vision transformers (Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, section 3.1)."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

SITES = ("attention", "mlp_out", "residual")


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Attention of every token to every token; all are `[batch, length, heads, size]`."""
  scores = jnp.einsum("bthd,buhd->bhtu", q, k) / math.sqrt(q.shape[-1])
  return jnp.einsum("bhtu,buhd->bthd", jax.nn.softmax(scores, axis=-1), v)


def patches(x: jax.Array, side: int) -> jax.Array:
  """Pictures `[b, h, w, c]` as rows of pixels of their squares, `[b, (h / side) (w / side), side side c]`."""
  b, h, w, c = x.shape
  x = x.reshape(b, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, -1, side * side * c)


class Block(nn.Module):
  heads: int
  hidden: int
  site: str

  @nn.compact
  def __call__(self, x, taps):
    width = x.shape[-1]
    split = lambda y: y.reshape(*y.shape[:2], self.heads, -1)
    here = lambda site, value: tap(taps, f"{self.site}/{site}", value)
    h = nn.LayerNorm(name="ln1")(x)
    q, k, v = (split(nn.Dense(width, name=name)(h)) for name in ("q", "k", "v"))
    x = x + here("attention", nn.Dense(width, name="o")(attend(q, k, v).reshape(x.shape)))
    h = nn.LayerNorm(name="ln2")(x)
    h = nn.gelu(nn.Dense(self.hidden, name="up")(h), approximate=False)
    return here("residual", x + here("mlp_out", nn.Dense(width, name="down")(h)))


class ViT(nn.Module):
  classes: int
  patch: int
  width: int
  depth: int
  heads: int
  hidden: int
  normalise: str

  @nn.compact
  def __call__(self, x, train, taps):
    del train
    x = layers.pictures(x, self.normalise)
    fits = all(n % self.patch == 0 for n in x.shape[1:3])
    require(fits, "model.patch", self.patch, f"give a divisor of both sides of the pictures, {x.shape[1:3]}")
    x = nn.Dense(self.width, name="embed")(patches(x, self.patch))
    first = self.param("first", nn.initializers.normal(0.02), (1, 1, self.width))
    x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, self.width)), x], axis=1)
    x = x + self.param("positions", nn.initializers.normal(0.02), (1, *x.shape[1:]))
    for i in range(self.depth):
      x = Block(self.heads, self.hidden, f"block_{i}", name=f"block_{i}")(x, taps)
    x = tap(taps, "features", nn.LayerNorm(name="norm")(x)[:, 0])
    return nn.Dense(self.classes, name="head")(x), x


def model(
  classes: int = 10,
  patch: int = 4,
  width: int = 64,
  depth: int = 2,
  heads: int = 4,
  hidden: int | None = None,
  normalise: str = "half",
) -> Model:
  """A vision transformer on pictures `[b, h, w, c]`, uint8 or float32 in [0, 1]; no state.

  A picture becomes a row of square patches with a learned first token and learned positions, so that parameters fit
  one picture size only. `Out.features` is the normed first token `[b, width]`. ViT-B/16 has `patch=16`, `width=768`,
  `depth=12`, `heads=12`. Patches are cut by a reshape: there is no convolution.

  Args:
    classes: size of the logits.
    patch: side of a patch in pixels, a divisor of both sides of the pictures.
    width: of the residual stream, a multiple of `heads`.
    depth: number of blocks.
    heads: of the attention.
    hidden: width of the MLP; None for four times `width`.
    normalise: name of channel statistics in `layers.NORMALISE`.

  Sites for taps: `block_i/attention` and `block_i/mlp_out` (what they add), `block_i/residual` (the stream after the
  block), `features`.

  Raises:
    Invalid: for sizes that are not positive whole numbers or do not divide each other, an unknown `normalise`.
  """
  layers.check_positive(classes=classes, patch=patch, width=width, depth=depth, heads=heads)
  hidden = 4 * width if hidden is None else hidden
  layers.check_positive(hidden=hidden)
  require(width % heads == 0, "model.width", width, f"give a multiple of heads = {heads}")

  def std(name, shape):
    if name in ("first", "positions"):
      return 0.02
    residual = name.endswith(("/o/kernel", "/down/kernel"))
    return layers.lecun(name, shape) / (math.sqrt(2 * depth) if residual else 1.0)

  module = ViT(classes, patch, width, depth, heads, hidden, layers.check_normalise(normalise))
  sites = [*(f"block_{i}/{site}" for i in range(depth) for site in SITES), "features"]
  return layers.wrap(module, std=std, sites=sites)
