"""Weights in [0, 1] with a given sum: the relaxation of choosing m out of n, and the way back.

Source of the projection: Fan et al., "Challenging Forgets", ECCV 2024, appendix (the capped simplex, by bisection).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def project(a: jax.Array, m: Any, rounds: int = 40) -> jax.Array:
  """The nearest point to `a` in {0 <= x <= 1, sum x = m}: clip(a - mu, 0, 1), mu by bisection.

  Args:
    a: float32 `[n]`.
    m: in (0, n]; may be traced, and need not be whole.
    rounds: of bisection; 40 are beyond the precision of float32.

  With c the ceil(m)-th largest entry, mu lies within [c - 1, c]: m entries are clipped to 1 at its lower end, less
  than m are above its upper one.
  """
  m = jnp.asarray(m, jnp.float32)
  order = jnp.clip(jnp.ceil(m).astype(jnp.int32) - 1, 0, a.shape[0] - 1)
  a = a - (-jnp.sort(-a))[order]
  at = lambda mu: jnp.clip(a - mu, 0.0, 1.0)

  def halve(ends, _):
    low, high = ends
    middle = (low + high) / 2
    much = jnp.sum(at(middle)) > m
    return (jnp.where(much, middle, low), jnp.where(much, high, middle)), None

  (low, high), _ = jax.lax.scan(halve, (jnp.float32(-1), jnp.float32(0)), length=rounds)
  return at((low + high) / 2)


def top(w: jax.Array, m: int) -> jax.Array:
  """The indicator of the m largest entries, float32 `[n]`; of equal ones the first count."""
  return jnp.zeros_like(w).at[jax.lax.top_k(w, m)[1]].set(1)


def size(share: float, groups: int) -> int:
  """How many of the groups are chosen: at least one, and not all."""
  return min(max(round(share * groups), 1), groups - 1)


def group_means(values: jax.Array, group: jax.Array, groups: int) -> jax.Array:
  """The mean of `values` `[n]` over the samples of each group, float32 `[groups]`; 0 for an empty one."""
  total = jnp.zeros(groups).at[group].add(values)
  return total / jnp.maximum(jnp.zeros(groups).at[group].add(1.0), 1)
