"""What the tokens of a decoder see of each other: attention, windows, padding, and the cache of keys and values."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Tokens(NamedTuple):
  """Texts of different lengths, for a decoder: positions are counted over the valid tokens of a row.

  Attributes:
    ids: int32 `[batch, length]`.
    valid: bool `[batch, length]`, False for padding, left or right.
  """

  ids: jax.Array
  valid: jax.Array


class Packed(NamedTuple):
  """Several texts in a row (`data.packed`), for a decoder: each is read as if it stood alone, from position 0 on.

  Attributes:
    ids: int32 `[batch, length]`.
    segment: int32 `[batch, length]`: equal for the tokens of one text, which stand together; another for its neighbour.
  """

  ids: jax.Array
  segment: jax.Array


class Cache(NamedTuple):
  """Keys and values of the tokens read so far, to go on from; see `Model.cache`.

  Attributes:
    keys, values: a tuple with `[batch, slots, kv_heads, size]` for each block, keys rotated where positions are.
    valid: bool `[batch, slots]`: which slots hold a token that may be seen.
    filled: int32 scalar: slots used, padding included.
  """

  keys: tuple[jax.Array, ...]
  values: tuple[jax.Array, ...]
  valid: jax.Array
  filled: jax.Array


def attend(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None = None) -> jax.Array:
  """Attention with float32 softmax; each key head serves `heads / kv_heads` query heads in a row.

  On CPU by products of rows, elsewhere by `jax.nn.dot_product_attention`: the same numbers up to rounding.

  Args:
    q: `[batch, length, heads, size]`.
    k, v: `[batch, slots, kv_heads, size]`.
    seen: bool, `[length, slots]` or `[batch, length, slots]`, at least one True for each query; None: causal.

  Returns:
    `[batch, length, heads, size]` in the dtype of `v`.
  """
  if jax.default_backend() != "cpu":
    return given(q, k, v, seen)
  batch, length, heads, size = q.shape
  slots, kv_heads = k.shape[1:3]
  # The queries of a key head as the rows of one product, in the order in which the scores are masked: a quarter faster
  # on CPU, gradient included, than products over five axes.
  rows = q.reshape(batch, length, kv_heads, -1, size).transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, -1, size)
  scores = jnp.einsum("bkrs,buks->bkru", rows, k, preferred_element_type=jnp.float32) / math.sqrt(size)
  seen = jnp.tril(jnp.ones((length, length), bool)) if seen is None else seen
  seen = seen[:, None, None] if seen.ndim == 3 else seen
  scores = jnp.where(seen, scores.reshape(batch, kv_heads, -1, length, slots), -jnp.inf)
  # Softmax divides behind the product: a pass over fewer numbers, and one array of this size is kept for the gradient.
  top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))  # a token sees itself: finite
  shares = jnp.exp(scores - top).reshape(batch, kv_heads, -1, slots)
  mixed = jnp.einsum("bkru,buks->bkrs", shares.astype(v.dtype), v, preferred_element_type=jnp.float32)
  mixed = (mixed / jnp.sum(shares, axis=-1, keepdims=True)).astype(v.dtype)
  return mixed.reshape(batch, heads, length, size).transpose(0, 2, 1, 3)


def given(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None = None) -> jax.Array:
  """`attend` by the function that JAX has for it, which chooses how it is computed."""
  k, q = k.astype(v.dtype), q.astype(v.dtype)  # it takes one dtype
  mask = seen if seen is None else jnp.expand_dims(seen, (0, 1) if seen.ndim == 2 else 1)
  with jax.numpy_dtype_promotion("standard"):  # inside, it promotes bfloat16
    return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=seen is None)


def visible(length: int, slots: int, window: int | None, valid: jax.Array | None, first: jax.Array | int = 0):
  """Which slots each of `length` tokens sees, the first of them in slot `first`; see `seen` of `attend`.

  Those up to its own that are valid and among the last `window` (None: all); always its own, so that padding too has
  something to see.
  """
  query, slot = first + jnp.arange(length)[:, None], jnp.arange(slots)
  seen = slot <= query
  if window is not None:
    seen &= slot > query - window
  return seen if valid is None else seen & (valid[:, None, :] | (slot == query))


def counted(valid: jax.Array) -> jax.Array:
  """The position of each token among the valid ones of its row, int32 like `valid`; 0 for padding on the left."""
  return jnp.maximum(jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1, 0)


def apart(segment: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Which tokens are of one segment, bool `[batch, length, length]`, and their positions in it, int32."""
  at = jnp.arange(segment.shape[1], dtype=jnp.int32)
  new = segment != jnp.pad(segment[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
  begin = jax.lax.cummax(jnp.where(new, at, 0), axis=1)
  return segment[:, :, None] == segment[:, None, :], at - begin
