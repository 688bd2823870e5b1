"""Who serves whom at what cost: a matrix, or rows computed from vectors when they are asked for.

d(o, j) is the cost of serving point o by candidate j: D[o, j] for a matrix, which need not be symmetric or keep the
triangle inequality. Each device holds the columns of its own candidates; a `Source` hides which of the two it is,
and where the columns lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster.distances import by_blocks, pairwise
from ue_jax.parallel.spread import allsum

BLOCK = 256  # rows computed from vectors at a time


class Source(NamedTuple):
  """Dissimilarities of n points to this device's m candidates.

  Attributes:
    n: the number of points.
    ids: int32 `[m]`, which points the candidates are.
    valid: bool `[m]`, False for padding.
    rows: int32 `[c]` -> float32 `[c, m]`: the costs of serving these points.
    columns: `(js, points=None)` -> float32 `[n or len(points), c]`: the costs of being served by the candidates js
      `[c]`, of whichever device; the same on every device.
    span: `(start, size)` -> float32 `[n, size]`: the columns of this device's candidates from position `start` on.
    stored: True if a row lies in memory, so that one at a time is best.
    axis: the name of the mapped device axis, or None.
  """

  n: int
  ids: jax.Array
  valid: jax.Array
  rows: Callable[[jax.Array], jax.Array]
  columns: Callable[..., jax.Array]
  span: Callable[[jax.Array, int], jax.Array]
  stored: bool
  axis: str | None

  def column(self, j: jax.Array) -> jax.Array:
    """The cost of serving each point by candidate j, float32 `[n]`."""
    return self.columns(j[None])[:, 0]


def matrix(d: jax.Array, ids: jax.Array, valid: jax.Array, axis: str | None = None) -> Source:
  """The source of a stored matrix: d float32 `[n, m]`, this device's columns."""
  m = d.shape[1]

  def columns(js, points=None):
    at = jnp.clip(js - ids[0], 0, m - 1)
    mine = valid[at] & (ids[at] == js)
    if points is not None:
      found = d[points[:, None], at]
    elif js.shape[0] == 1:
      found = jax.lax.dynamic_slice_in_dim(d, at[0], 1, 1)
    else:
      found = jnp.take(d, at, axis=1)
    return allsum(jnp.where(mine, found, 0), axis)

  rows = lambda u: jax.lax.dynamic_slice_in_dim(d, u[0], 1, 0) if u.shape[0] == 1 else d[u]
  span = lambda start, size: jax.lax.dynamic_slice_in_dim(d, start, size, 1)
  return Source(d.shape[0], ids, valid, rows, columns, span, True, axis)


def vectors(x: jax.Array, ids: jax.Array, valid: jax.Array, metric: str, axis: str | None = None) -> Source:
  """The source that computes rows from x float32 `[n, d]` and never holds more than a block of them."""
  candidates = x[ids]

  def cost(points, js, y):
    return jnp.where(points[:, None] == js, 0, pairwise(x[points], y, metric))

  def columns(js, points=None):
    points = jnp.arange(x.shape[0], dtype=jnp.int32) if points is None else points
    return by_blocks(lambda u: cost(u, js, x[js]), points, 4096)

  span = lambda start, size: columns(jax.lax.dynamic_slice_in_dim(ids, start, size))
  return Source(x.shape[0], ids, valid, lambda u: cost(u, ids, candidates), columns, span, False, axis)


def form(x: jax.Array, ids: jax.Array, valid: jax.Array, metric: str, axis: str | None = None) -> Source:
  """The source that first forms this device's columns of the matrix, by blocks of rows."""
  computed = vectors(x, ids, valid, metric, axis)
  d = by_blocks(computed.rows, jnp.arange(x.shape[0], dtype=jnp.int32), BLOCK)
  return matrix(d, ids, valid, axis)


def fold(source: Source, points: jax.Array, count: Any, fn: Callable, carry: Any) -> Any:
  """`carry = fn(carry, u, d(u, .))` for the first `count` of `points` `[n]`, one after another."""
  if source.stored:
    one = lambda i, c: fn(c, points[i], source.rows(points[i][None])[0])
    return jax.lax.fori_loop(0, count, one, carry)

  def block(carry, u, rows, live):
    one = lambda i, c: fn(c, u[i], rows[i])
    return jax.lax.fori_loop(jnp.argmax(live), jnp.argmax(live) + jnp.sum(live), one, carry)

  return fold_blocks(source, points, count, block, carry)


def fold_blocks(source: Source, points: jax.Array, count: Any, fn: Callable, carry: Any) -> Any:
  """`carry = fn(carry, u, rows, live)` for blocks u int32 `[c]` of the first `count` points, with rows `[c, m]`.

  Only where live, bool `[c]`, is True is a row meant: the others are padding, or were there before.
  """
  size = min(BLOCK, source.n)

  def block(i, carry):
    start = jnp.minimum(i * size, source.n - size)
    at = start + jnp.arange(size, dtype=jnp.int32)
    u = jax.lax.dynamic_slice_in_dim(points, start, size)
    return fn(carry, u, source.rows(u), (at >= i * size) & (at < count))

  return jax.lax.fori_loop(0, (count + size - 1) // size, block, carry)


def lower(a: jax.Array, b: jax.Array) -> jax.Array:
  """The minimum of numbers that are not NaN: one instruction, where `jnp.minimum` takes five on a CPU."""
  return jnp.where(a < b, a, b)


def between(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  """x, but at least `low` and at most `high`; the same of `jnp.clip`."""
  return jnp.where(x < low, low, lower(x, high))
