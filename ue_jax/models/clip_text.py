"""What CLIP's towers share, the residual attention block, and its text towers.

Pure functions over plain dicts of parameters. Depth, widths, heads and lengths are the shapes of the parameters, so a
checkpoint needs no description beside it.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

QUICK = 1.702  # CLIP's first release: x sigmoid(1.702 x) in place of x Phi(x)
LARGEST = -1  # `end`: the text ends at its largest id, as in the released code


def linear(p: dict, x: jax.Array) -> jax.Array:
  """`x @ kernel (+ bias)` over the last axis."""
  out = x @ p["kernel"]
  return out + p["bias"] if "bias" in p else out


def layer_norm(p: dict, x: jax.Array) -> jax.Array:
  """Layer normalisation over the last axis, epsilon 1e-5."""
  mean = jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * p["scale"] + p["bias"]


def gelu(x: jax.Array, quick: jax.Array) -> jax.Array:
  """x Phi(x), or where `quick` (bool scalar) is True x sigmoid(1.702 x)."""
  return x * jnp.where(quick, jax.nn.sigmoid(QUICK * x), jax.scipy.stats.norm.cdf(x))


def attend(p: dict, x: jax.Array, at: jax.Array | None = None, seen: jax.Array | None = None) -> jax.Array:
  """Multi-head attention.

  Args:
    p: `q`, `k`, `v` with kernels `[width, heads, size]` and biases `[heads, size]`; `o` with `[heads, size, out]`.
    x: keys and values, float32 `[b, t, width]`.
    at: queries `[b, u, width]`; default `x`.
    seen: bool `[u, t]`, which keys a query may look at; default all.

  Returns:
    `[b, u, out]`.
  """
  split = lambda name, y: jnp.einsum("btw,whs->bhts", y, p[name]["kernel"]) + p[name]["bias"][:, None]
  q, k, v = split("q", x if at is None else at), split("k", x), split("v", x)
  scores = jnp.einsum("bhus,bhts->bhut", q, k) / math.sqrt(q.shape[-1])
  scores = scores if seen is None else jnp.where(seen, scores, -jnp.inf)
  mixed = jnp.einsum("bhut,bhts->buhs", jax.nn.softmax(scores, axis=-1), v)
  return jnp.einsum("buhs,hso->buo", mixed, p["o"]["kernel"]) + p["o"]["bias"]


def blocks(p: dict, x: jax.Array, quick: jax.Array, seen: jax.Array | None = None) -> jax.Array:
  """All residual blocks `block_0`, `block_1`, ... of a tower on `[b, t, width]`: normalise, then attend or MLP."""
  for i in range(depth(p)):
    block = p[f"block_{i}"]
    x = x + attend(block, layer_norm(block["ln1"], x), seen=seen)
    x = x + linear(block["down"], gelu(linear(block["up"], layer_norm(block["ln2"], x)), quick))
  return x


def depth(p: dict) -> int:
  """How many blocks a tower has."""
  return sum(name.startswith("block_") for name in p)


def encode(p: dict, state: dict, ids: jax.Array) -> jax.Array:
  """The embedding of texts, float32 `[b, d]`, not normalised.

  Args:
    p: of a transformer (`embed`, `positions`, `block_i`, `ln_final`, `projection`); or `embed` alone, and then the
      mean over the tokens; or `projection` alone, a linear map of sentence embeddings.
    state: `end` int32: the id that ends a text, where the transformer is read; `LARGEST` for the largest id. Without
      it the transformer is read at the last position. `quick` bool: which activation.
    ids: int32 `[b, t]`, t up to the number of positions; 0 is padding. Sentence embeddings: float32 `[b, n]`.
  """
  if "embed" not in p:
    return linear(p["projection"], ids)
  x = p["embed"][ids]
  if "positions" not in p:
    there = (ids > 0).astype(jnp.float32)[..., None]
    return jnp.sum(x * there, axis=1) / jnp.maximum(jnp.sum(there, axis=1), 1)
  length = ids.shape[1]
  x = blocks(p, x + p["positions"][:length], state["quick"], jnp.tril(jnp.ones((length, length), bool)))
  end = state["end"]
  found = ids == jnp.where(end == LARGEST, jnp.max(ids, axis=1, keepdims=True), end)
  at = jnp.where(jnp.any(found, axis=1), jnp.argmax(found, axis=1), length - 1)
  return linear(p["projection"], layer_norm(p["ln_final"], x[jnp.arange(len(x)), at]))


def block_shapes(width: int, heads: int, hidden: int) -> dict:
  """Shapes of the parameters of one block."""
  norm = {"scale": (width,), "bias": (width,)}
  return {
    "ln1": norm, "ln2": norm, **attention_shapes(width, heads, width),
    "up": {"kernel": (width, hidden), "bias": (hidden,)}, "down": {"kernel": (hidden, width), "bias": (width,)},
  }  # fmt: skip


def attention_shapes(width: int, heads: int, out: int) -> dict:
  """Shapes of the parameters of `attend`."""
  size = width // heads
  into = {"kernel": (width, heads, size), "bias": (heads, size)}
  return {"q": into, "k": into, "v": into, "o": {"kernel": (heads, size, out), "bias": (out,)}}


def shapes(kind: str, vocabulary: int, length: int, width: int, depth: int, heads: int, hidden: int, out: int) -> dict:
  """Shapes of the parameters of a text tower: `transformer`, `mean`, or `sentence` (`width` is then its input)."""
  if kind == "sentence":
    return {"projection": {"kernel": (width, out)}}
  if kind == "mean":
    return {"embed": (vocabulary, out)}
  return {
    "embed": (vocabulary, width), "positions": (length, width), "ln_final": {"scale": (width,), "bias": (width,)},
    "projection": {"kernel": (width, out)}, **{f"block_{i}": block_shapes(width, heads, hidden) for i in range(depth)},
  }  # fmt: skip
