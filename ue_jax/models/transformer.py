"""Decoder of the Llama family: RMSNorm, rotary positions, grouped queries, SwiGLU (Touvron et al., 2023)."""

from __future__ import annotations

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

SITES = ("attention", "gate", "keys", "mlp_out", "residual")


class RMSNorm(nn.Module):
  """Root-mean-square normalisation, computed in float32 (Zhang and Sennrich, 2019)."""

  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.epsilon)
    return wide.astype(x.dtype) * scale.astype(x.dtype)


def rotate(x: jax.Array, base: float) -> jax.Array:
  """Rotary position embedding (Su et al., 2021), pairs taken from the two halves of the last axis.

  Args:
    x: `[batch, length, heads, size]`, size even; position 0 is the first of `length`.
    base: wave lengths go from 2 pi to 2 pi base.
  """
  half = x.shape[-1] // 2
  frequency = jnp.asarray(base, jnp.float32) ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None] * frequency
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Causal attention with float32 softmax; each key head serves `heads / kv_heads` query heads in a row.

  Args:
    q: `[batch, length, heads, size]`.
    k, v: `[batch, length, kv_heads, size]`.

  Returns:
    `[batch, length, heads, size]` in the dtype of `v`.
  """
  batch, length, heads, size = q.shape
  q = q.reshape(batch, length, k.shape[2], -1, size)
  scores = jnp.einsum("btkgs,buks->bkgtu", q, k, preferred_element_type=jnp.float32) / math.sqrt(size)
  seen = jnp.tril(jnp.ones((length, length), bool))
  weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)  # a token always sees itself: no empty row
  return jnp.einsum("bkgtu,buks->btkgs", weights.astype(v.dtype), v).reshape(batch, length, heads, size)


def _rows(linear, x: jax.Array) -> jax.Array:
  """A linear map of `[batch, length, width]`, as one product of matrices: its gradient is a third faster on CPU."""
  return linear(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


class Block(nn.Module):
  heads: int
  kv_heads: int
  hidden: int
  rope_base: float
  site: str

  @nn.compact
  def __call__(self, x, taps):
    width = x.shape[-1]
    size = width // self.heads
    linear = lambda features, name: functools.partial(_rows, nn.Dense(features, use_bias=False, name=name))
    split = lambda y: y.reshape(*y.shape[:2], -1, size)
    here = lambda site, value: tap(taps, f"{self.site}/{site}", value)

    h = RMSNorm(name="ln1")(x)
    q = rotate(split(linear(width, "q")(h)), self.rope_base)
    k = rotate(split(linear(self.kv_heads * size, "k")(h)), self.rope_base)
    v = split(linear(self.kv_heads * size, "v")(h))
    x = x + here("attention", linear(width, "o")(attend(q, k, v).reshape(x.shape)))

    h = RMSNorm(name="ln2")(x)
    gate = here("gate", linear(self.hidden, "gate")(h))
    keys = here("keys", nn.silu(gate) * linear(self.hidden, "up")(h))
    return here("residual", x + here("mlp_out", linear(width, "down")(keys)))


class Transformer(nn.Module):
  vocabulary: int
  width: int
  depth: int
  heads: int
  kv_heads: int
  hidden: int
  rope_base: float
  tied: bool

  @nn.compact
  def __call__(self, ids, train, taps):
    del train
    embed = nn.Embed(self.vocabulary, self.width, name="embed")
    x = embed(ids)
    for i in range(self.depth):
      name = f"block_{i}"
      x = Block(self.heads, self.kv_heads, self.hidden, self.rope_base, name, name=name)(x, taps)
    x = RMSNorm(name="norm")(x)
    logits = embed.attend(x) if self.tied else _rows(nn.Dense(self.vocabulary, use_bias=False, name="head"), x)
    return logits.astype(jnp.float32), x


def model(
  vocabulary: int,
  width: int = 96,
  depth: int = 2,
  heads: int = 4,
  kv_heads: int | None = None,
  hidden: int = 192,
  rope_base: float = 1e4,
  tied: bool = False,
) -> Model:
  """A causal language model: ids int32 `[b, t]` -> logits float32 `[b, t, vocabulary]`, for the token after each.

  `Out.features` is the normed residual stream `[b, t, width]`. Padding on the right needs no mask: what comes
  later is never seen. Parameters may be cast to bfloat16; norms and softmax stay float32.
  Parameters: `embed`, `block_i/{ln1,q,k,v,o,ln2,gate,up,down}`, `norm`, `head` (none if `tied`).
  At the start, weights have deviation 1/sqrt(fan_in), `embed` 1/sqrt(width), and what writes to the residual stream
  (`o`, `down`) a further 1/sqrt(2 depth).

  Args:
    vocabulary: number of tokens.
    width: of the residual stream; `width / heads` must be a whole even number.
    depth: number of blocks.
    heads: query heads.
    kv_heads: key and value heads, a divisor of `heads`; None for as many.
    hidden: width of the MLP.
    rope_base: base of the rotary wave lengths.
    tied: the head is the transposed embedding.

  Sites for taps: `block_i/attention` (what attention adds), `block_i/gate` (before SiLU), `block_i/keys` (input of
  `down`), `block_i/mlp_out` (what the MLP adds), `block_i/residual` (the stream after the block).

  Raises:
    Invalid: for sizes that are not positive whole numbers or do not divide each other.
  """
  kv_heads = heads if kv_heads is None else kv_heads
  layers.check_positive(
    vocabulary=vocabulary, width=width, depth=depth, heads=heads, kv_heads=kv_heads, hidden=hidden
  )
  require(width % (2 * heads) == 0, "model.width", width, f"give a multiple of 2 * heads = {2 * heads}")
  require(heads % kv_heads == 0, "model.kv_heads", kv_heads, f"give a divisor of heads = {heads}")

  def std(name, shape):
    if name.startswith("embed/"):
      return 1 / math.sqrt(shape[-1])
    residual = name.endswith(("/o/kernel", "/down/kernel"))
    return layers.lecun(name, shape) / (math.sqrt(2 * depth) if residual else 1.0)

  module = Transformer(vocabulary, width, depth, heads, kv_heads, hidden, rope_base, tied)
  return layers.wrap(module, std=std, sites=[f"block_{i}/{site}" for i in range(depth) for site in SITES])
