"""How alike representations are: cosines, and the measures of label-agnostic forgetting (source: see `laf`)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.parallel import spread

TINY = 1e-12


def alignment(
  c: jax.Array, d: jax.Array, retain_mask: jax.Array, forget_mask: jax.Array, tau: Any, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
  """sum_i (c_i - log sum_j exp(d_j / tau)) as `alignment_loss` returns it.

  Args:
    c: `[b]` of the retained samples; d: `[m]` of those to forget.
    retain_mask, forget_mask: float32 0/1 `[b]` and `[m]`.
    tau: temperature > 0; may be traced.
    axis: name of the mapped device axis.
  """
  allsum = functools.partial(spread.allsum, axis=axis)
  high = jnp.max(spread.gather(jax.lax.stop_gradient(jnp.where(forget_mask > 0, d, 0)), axis)) / tau
  mine = jnp.sum(forget_mask * jnp.exp(d / tau - high))
  own, n = jnp.sum(retain_mask * c), allsum(jnp.sum(retain_mask))
  total = jax.lax.stop_gradient(allsum(mine))
  value = allsum(own) - n * (jnp.log(total) + high)
  return own - n * mine / total, value  # the logarithm's gradient, part by part


def phi(o: jax.Array, e: jax.Array, mask: jax.Array) -> jax.Array:
  """sum over the samples with mask 1 of exp(m / (m + 1)), m = |o - e|^2: each between 1 and e; float32 scalar.

  Args:
    o, e: float `[b, d]`.
    mask: float32 0/1 `[b]`.
  """
  m = jnp.sum((o - e) ** 2, axis=-1)
  return jnp.sum(mask * jnp.exp(m / (m + 1)))


def unit(x: jax.Array, tiny: float = TINY) -> jax.Array:
  """Rows float `[..., d]` scaled to length 1; `tiny` is added below the root, so rows of zeros stay."""
  return x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + tiny)


def apart(e: jax.Array, before: jax.Array) -> jax.Array:
  """1 - cos(e, before) of rows `[b, d]`, float32 `[b]` in [0, 2]."""
  length = lambda x: jnp.sqrt(jnp.sum(x * x, axis=-1) + TINY)
  return 1 - jnp.sum(e * before, axis=-1) / (length(e) * length(before))
