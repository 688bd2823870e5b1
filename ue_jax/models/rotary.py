"""Rotary position embedding (Su et al., 2021), and the ways to stretch it over longer texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require

FIELDS = {  # kind of stretching -> its numbers, under the names of released configurations
  "linear": ("factor",),
  "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
Scaling = tuple[str, tuple]  # kind and its numbers in the order of FIELDS


def scaling(settings: Mapping[str, Any] | None, field: str = "model.rope_scaling") -> Scaling | None:
  """The checked, hashable form of a configuration's `rope_scaling`; None for rotations as they are.

  Args:
    settings: None, or a mapping with `rope_type` (`type` in old files): `default`; `linear` with `factor`, which
      divides all frequencies (Chen et al., 2023); `llama3` with `factor`, `low_freq_factor`, `high_freq_factor` and
      `original_max_position_embeddings` (Llama 3.1: long waves only).
    field: how messages call it.

  Raises:
    Invalid: for another kind, or numbers that are missing or not above 0.
  """
  kind = "default" if settings is None else settings.get("rope_type", settings.get("type", "default"))
  if kind == "default":
    return None
  require(kind in FIELDS, f"{field}.rope_type", kind, f"use a model with one of {['default', *FIELDS]}")
  missing = [name for name in FIELDS[kind] if name not in settings]
  require(not missing, field, dict(settings), f"give {missing} too")
  numbers = tuple(_number(settings[name], f"{field}.{name}") for name in FIELDS[kind])
  if kind == "llama3":
    require(numbers[2] > numbers[1], f"{field}.high_freq_factor", numbers[2], "give one above low_freq_factor")
  return kind, numbers


def _number(value, field):
  good = type(value) in (int, float) and value > 0 and math.isfinite(value)
  require(good, field, value, "give a number above 0")
  return float(value)


def frequencies(half: int, base: jax.Array | float, scaled: Scaling | None = None) -> jax.Array:
  """Radians a position for each of `half` pairs, float32 `[half]`: from 1 to nearly 1 / base, before `scaled`."""
  plain = jnp.asarray(base, jnp.float32) ** (-jnp.arange(half, dtype=jnp.float32) / half)
  if scaled is None:
    return plain
  kind, numbers = scaled
  if kind == "linear":
    return plain / numbers[0]
  factor, low, high, length = numbers
  turns = length * plain / (2 * math.pi)  # within the length of training
  kept = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
  return plain * (kept + (1 - kept) / factor)


def turns(
  where: jax.Array | int, half: int, base: jax.Array | float, scaled: Scaling | None = None
) -> tuple[jax.Array, jax.Array]:
  """Cosines and sines of all rotations, float32 `[length, 1, half]` or `[batch, length, 1, half]`.

  Those of counted positions are numbers before anything is compiled, if `base` is one: a compiler would find them anew
  for every head of every block.

  Args:
    where: int32 positions `[batch, length]`, or how many there are, the first of which is 0.
    half: pairs of a head.
    base: wave lengths go from 2 pi to 2 pi base.
    scaled: see `scaling`.
  """
  with jax.ensure_compile_time_eval():
    at = np.arange(where, dtype=np.int32) if isinstance(where, int) else where
    pace = frequencies(half, base, scaled)
    known = not isinstance(at, jax.core.Tracer) and not isinstance(pace, jax.core.Tracer)
    return (_compiled if known else _turned)(at, pace)


def _turned(at: jax.Array, pace: jax.Array) -> tuple[jax.Array, jax.Array]:
  angle = at.astype(jnp.float32)[..., None, None] * pace
  return jnp.cos(angle), jnp.sin(angle)


_compiled = jax.jit(_turned)  # one small program for a length, not six


def rotate(x: jax.Array, by: tuple[jax.Array, jax.Array]) -> jax.Array:
  """Rotary position embedding, pairs taken from the two halves of the last axis.

  Args:
    x: `[batch, length, heads, size]`, size even.
    by: the `turns` of its positions.
  """
  cos, sin = by
  a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)
