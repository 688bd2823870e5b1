"""The nearest and the second nearest medoid of every point, and what a swap changes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster.dissimilarities import Source, lower
from ue_jax.cluster.distances import listed

BLOCK = 256
OWN = -1.0  # cost of a medoid at itself while it is looked up: even among duplicates it belongs to itself


class Nearest(NamedTuple):
  """Who serves each point.

  Attributes:
    medoids: int32 `[k]`.
    table: float32 `[n, k]`, the cost of each point at each medoid (`OWN` at itself).
    near, second: int32 `[n]`, the slots of the nearest and the second nearest medoid; ties go to the lower slot.
    d1, d2: float32 `[n]`, their costs; d2 is infinite for a single medoid.
  """

  medoids: jax.Array
  table: jax.Array
  near: jax.Array
  d1: jax.Array
  second: jax.Array
  d2: jax.Array


def nearest(source: Source, medoids: jax.Array) -> Nearest:
  """Looks at every point's cost at every medoid."""
  k = medoids.shape[0]
  table = source.columns(medoids).at[medoids, jnp.arange(k)].set(OWN)
  return Nearest(medoids, table, *two_lowest(table))


def two_lowest(rows: jax.Array) -> tuple[jax.Array, ...]:
  """`(slot, cost, second slot, second cost)` of each row `[c, k]` of costs."""
  k = rows.shape[1]
  slots = jnp.arange(k, dtype=jnp.int32)

  def lowest(rows):
    low = jnp.min(rows, axis=1)
    return jnp.min(jnp.where(rows == low[:, None], slots, k), axis=1), low

  near, d1 = lowest(rows)
  second, d2 = lowest(jnp.where(slots == near[:, None], jnp.inf, rows))
  return near, jnp.maximum(d1, 0), second, jnp.maximum(d2, 0)


def swap(now: Nearest, slot, j, x: jax.Array, really: Any = True) -> tuple[Nearest, jax.Array, jax.Array]:
  """Puts candidate j, whose column is x `[n]`, in the place of the medoid in `slot`; changes nothing unless `really`.

  Returns `(nearest, points, count)`: the first `count` of points int32 `[n]` are those whose costs may have changed.
  """
  n = x.shape[0]
  x = jnp.where(really, x.at[j].set(OWN), jax.lax.dynamic_slice_in_dim(now.table, slot, 1, 1)[:, 0])
  table = jax.lax.dynamic_update_slice(now.table, x[:, None], (0, slot))
  touched = really & ((now.near == slot) | (now.second == slot) | (x < now.d2))
  points, count = listed(touched)
  size = min(BLOCK, n)

  def block(i, found):
    start = jnp.minimum(i * size, n - size)
    u = jax.lax.dynamic_slice_in_dim(points, start, size)
    return tuple(whole.at[u].set(part) for whole, part in zip(found, two_lowest(table[u])))

  found = jax.lax.fori_loop(0, (count + size - 1) // size, block, (now.near, now.d1, now.second, now.d2))
  return Nearest(now.medoids.at[slot].set(jnp.where(really, j, now.medoids[slot])), table, *found), points, count


def gain(now: Nearest, slot: jax.Array, x: jax.Array) -> jax.Array:
  """The change of the total cost by a swap of the medoid in `slot` for the candidate with column x, exactly summed."""
  left = jnp.where(now.near == slot, now.d2, now.d1)
  return total(lower(x, left) - now.d1)


def total(values: jax.Array, width: int = 128) -> jax.Array:
  """The sum of float32 `[n]`, in two stages: a long float32 sum in strict order loses digits."""
  padded = jnp.pad(values, (0, -values.shape[0] % width))
  return jnp.sum(jnp.sum(padded.reshape(-1, width), axis=0))
