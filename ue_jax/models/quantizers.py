"""Rounding of weights to few values, as functions of arrays: integers, NF4 and FP4, with one scale a tensor or block.

Sources: integers as in round-to-nearest; NF4 of Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023,
appendix E; FP4 as in the package `bitsandbytes`, whose 4 bits are what evaluations of unlearning loaded.
Everything is simulated: the values that a file in that format would give back, in the dtype that came in. Blocks of
GGUF files (`gguf_blocks`) are groups of 32 with `half`, so that weights read from one come back as they are:

| block | kind | bits |
| --- | --- | --- |
| `Q4_1` | `minmax` | 4 |
| `Q4_0` | `signed` | 4 |
| `Q8_0` | `absmax` | 8 |

The packages that write them round halves of a step away from 0 or up, and here they go to the even code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require

NF4 = (
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
HALF = (1 / 192, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0)
FP4 = (*(-x for x in reversed(HALF)), 0.0, *HALF)
LEVELS = {"nf4": NF4, "fp4": FP4}
KINDS = ("absmax", "saturating", "signed", "minmax", *LEVELS)
PER = ("tensor", "channel", "group")


class Rounded(NamedTuple):
  """A rounded array.

  Attributes:
    values: what the codes stand for, in shape and dtype of the array.
    codes: int32 `[groups, size, out]`, the array as blocks; `size` inputs of an output, padded at the end.
    scale: float32 `[groups, 1, out]` (`[1, 1, 1]` for a whole tensor); below 0 or above for `signed`, above for others.
    zero: float32 like `scale`, what code 0 stands for; 0 but for `minmax`.
  """

  values: jax.Array
  codes: jax.Array
  scale: jax.Array
  zero: jax.Array


def check(kind: str, bits: int, per: str, group: int, half: bool = False) -> None:
  """Raises Invalid for what `quantize` does not take."""
  require(kind in KINDS, "quantize.kind", kind, f"choose one of {KINDS}")
  require(per in PER, "quantize.per", per, f"choose one of {PER}")
  whole = type(bits) is int and 2 <= bits <= 16
  require(whole, "quantize.bits", bits, "give a whole number from 2 to 16")
  require(kind not in LEVELS or bits == 4, "quantize.bits", bits, f"give 4: {kind} has 16 values")
  require(type(group) is int and group >= 1, "quantize.group", group, "give a whole number of inputs, at least 1")
  require(type(half) is bool, "quantize.half", half, "give True (float16 scales) or False (float32)")


def quantize(
  w: jax.Array, kind: str = "absmax", bits: int = 4, per: str = "channel", group: int = 64, half: bool = False
) -> Rounded:
  """The array rounded to the nearest code; halves go to the even code, as `jnp.round` does.

  `absmax`: codes -L-1 to L with L = 2^(bits-1) - 1, scale max|w| / L. `saturating`: the same codes with the scale
  max|w| / 2^(bits-1) of Zhang et al., 2024, whose largest positive value is cut by one step. `signed`: the same with
  that scale negative where the largest is positive, so that it is always the other end that is cut. `minmax`: codes 0
  to 2^bits - 1 from the smallest value to the largest. `nf4`, `fp4`: 16 and 15 fixed levels times max|w|.

  Args:
    w: floats `[..., in, out]`; leading axes (windows of a convolution) count as inputs.
    kind, bits, per, group, half: static. One scale for the `tensor`, for each output (`channel`), or for each `group`
      consecutive inputs of an output; a last group that is shorter has a scale of its own. With `half` scales and
      smallest values are stored as float16, after the codes were chosen with the exact ones, as in files; beyond 65504
      they are infinite.

  Raises:
    Invalid: for a vector, or see `check`.
  """
  check(kind, bits, per, group, half)
  require(jnp.ndim(w) >= 2, "quantize.w", jnp.shape(w), "give an array [in, out]")
  blocks, inside = _blocks(w, per, group)
  axes, low = (0, 1, 2) if per == "tensor" else (1,), 0.0
  stored = _float16 if half else lambda x: x
  if kind == "minmax":
    low = jnp.min(jnp.where(inside, blocks, jnp.inf), axes, keepdims=True)
    high = jnp.max(jnp.where(inside, blocks, -jnp.inf), axes, keepdims=True)
    scale = _not_zero((high - low) / (2**bits - 1))
    codes = jnp.clip(jnp.round((blocks - low) / scale), 0, 2**bits - 1)
    low = stored(low)
    values = codes * stored(scale) + low
  elif kind in LEVELS:
    levels, scale = jnp.asarray(LEVELS[kind], jnp.float32), _not_zero(jnp.max(jnp.abs(blocks), axes, keepdims=True))
    codes = jnp.searchsorted((levels[1:] + levels[:-1]) / 2, blocks / scale)
    values = levels[codes] * stored(scale)
  else:
    top = 2 ** (bits - 1)
    scale = _not_zero(_step(kind, blocks, axes, top))
    codes = jnp.clip(jnp.round(blocks / scale), -top, top - 1)
    values = codes * stored(scale)
  flat = values.reshape(-1, values.shape[-1])[: math.prod(w.shape[:-1])].reshape(w.shape).astype(w.dtype)
  codes = jnp.where(inside, codes, 0).astype(jnp.int32)
  return Rounded(flat, codes, stored(scale), jnp.zeros_like(scale) + low)


def straight_through(
  w: jax.Array, kind: str = "absmax", bits: int = 4, per: str = "channel", group: int = 64, half: bool = False
) -> jax.Array:
  """The values of `quantize`, with the gradient of the identity (Bengio et al., 2013): for training under rounding."""
  return w + jax.lax.stop_gradient(quantize(w, kind, bits, per, group, half).values - w)


def _blocks(w, per, group):
  """float32 `[groups, size, out]`, and which of it is no padding, `[groups, size, 1]`."""
  flat = w.reshape(-1, w.shape[-1]).astype(jnp.float32)
  rows = len(flat)
  size = min(group, rows) if per == "group" else rows
  groups = -(-rows // size)
  flat = jnp.pad(flat, ((0, groups * size - rows), (0, 0)))
  inside = (jnp.arange(groups * size) < rows).reshape(groups, size, 1)
  return flat.reshape(groups, size, -1), inside


def _step(kind, blocks, axes, top):
  """The scale of integers around 0; `top` is 2^(bits-1)."""
  if kind == "signed":
    low, high = (f(blocks, axes, keepdims=True) for f in (jnp.min, jnp.max))
    return jnp.where(high > -low, high, low) / -top
  return jnp.max(jnp.abs(blocks), axes, keepdims=True) / (top - 1 if kind == "absmax" else top)


def _not_zero(scale):
  return jnp.where(scale != 0, scale, 1.0)


def _float16(x):
  """float32 numbers that float16 has: a conversion there and back may be compiled away, and small ones flushed to 0."""
  small = jnp.round(x * 2.0**24) * 2.0**-24
  return jnp.where(jnp.abs(x) < 2.0**-14, small, jax.lax.reduce_precision(x, exponent_bits=5, mantissa_bits=10))
