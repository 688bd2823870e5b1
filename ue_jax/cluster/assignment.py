"""Linear assignment on the device: the cheapest one-to-one map of rows to columns, also inside jit and vmap.

Shortest augmenting paths with potentials (Jonker and Volgenant, "A shortest augmenting path algorithm for dense and
sparse linear assignment problems", 1987; the rectangular form of Crouse, 2016): every row is added by the shortest path
to a free column, O(rows * columns) each. Meant for tables of up to a few hundred classes.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require


class _Path(NamedTuple):
  """A search for the shortest path from one row: `column` is where it stands, `row` the row matched to it."""

  row: jax.Array
  column: jax.Array
  length: jax.Array  # of the path so far
  nearest: jax.Array  # [columns] the shortest path known to each column
  before: jax.Array  # [columns] the row from which it is reached
  scanned: jax.Array  # [columns] bool


def solve(cost, maximize: bool = False) -> jax.Array:
  """The column of each row under the assignment of least (or greatest) total: int32 `[rows]`.

  Args:
    cost: finite `[rows, columns]`. Integers are computed in int32, exactly (keep `rows * |cost|` below 2^30);
      everything else in float32.
    maximize: look for the greatest total.

  Returns:
    Every column at most once; -1 for the rows that are left over if there are more rows than columns.

  Raises:
    Invalid: for anything but a matrix, or for NaN and infinity.
  """
  cost = jnp.asarray(cost)
  require(cost.ndim == 2 and cost.size > 0, "cluster.cost", cost.shape, "give a matrix [rows, columns]")
  whole = jnp.issubdtype(cost.dtype, jnp.integer) or cost.dtype == jnp.bool_
  cost = cost.astype(jnp.int32 if whole else jnp.float32)
  if not whole and not isinstance(cost, jax.core.Tracer):
    require(bool(jnp.isfinite(cost).all()), "cluster.cost", "NaN or infinity", "give finite costs")
  return _solve(-cost if maximize else cost)


@functools.partial(jax.jit, static_argnames="k")
def accuracy(true, predicted, k: int, mask=None) -> jax.Array:
  """Share of samples right under the best one-to-one map of clusters to classes: float32 scalar in [0, 1].

  The same number as `scores.accuracy`, for traced labels.

  Args:
    true, predicted: int32 `[n]`, both in 0..k-1. A negative prediction is an error.
    k: the larger number of classes and clusters; static.
    mask: `[n]`, 0 for rows that do not count.
  """
  counts = contingency(true, predicted, k, mask)
  columns = _solve(-counts)
  weight = jnp.ones(jnp.shape(true)) if mask is None else jnp.asarray(mask) != 0
  right = jnp.take_along_axis(counts, columns[:, None], 1).sum()
  return right.astype(jnp.float32) / jnp.maximum(weight.astype(jnp.float32).sum(), 1)


def contingency(true, predicted, k: int, mask=None) -> jax.Array:
  """Counts int32 `[k, k]`: how many samples of class i lie in cluster j; rows with a negative label are not counted."""
  true, predicted = jnp.asarray(true, jnp.int32), jnp.asarray(predicted, jnp.int32)
  counted = (true >= 0) & (predicted >= 0)
  counted = counted if mask is None else counted & (jnp.asarray(mask) != 0)
  cell = jnp.where(counted, true * k + predicted, k * k)
  return jax.ops.segment_sum(jnp.ones_like(cell), cell, k * k + 1)[:-1].reshape(k, k)


@jax.jit
def _solve(cost: jax.Array) -> jax.Array:
  rows, columns = cost.shape
  if rows > columns:  # match the columns, and turn the map round
    row_of = _solve(cost.T)
    return jnp.full(rows, -1, jnp.int32).at[row_of].set(jnp.arange(columns, dtype=jnp.int32))
  zero = lambda size: jnp.zeros(size, cost.dtype)
  nobody = jnp.full(columns, -1, jnp.int32)
  carry = jax.lax.fori_loop(0, rows, functools.partial(_add, cost), (zero(rows), zero(columns), nobody))
  row_of = carry[2]
  place = jnp.where(row_of >= 0, row_of, rows)
  return jnp.zeros(rows + 1, jnp.int32).at[place].set(jnp.arange(columns, dtype=jnp.int32))[:rows]


def _add(cost: jax.Array, row: Any, carry: tuple) -> tuple:
  """Matches one more row: potentials `u` of rows and `v` of columns, and `row_of` each column (-1: free)."""
  u, v, row_of = carry
  row = jnp.asarray(row, jnp.int32)
  path = _search(cost, row, u, v, row_of)
  # rows on the tree are those matched to scanned columns, and the new one itself
  slack = jnp.where(path.scanned, path.length - path.nearest, 0)
  matched = jnp.where(path.scanned & (row_of >= 0), row_of, u.shape[0])
  u = u.at[matched].add(slack, mode="drop").at[row].add(path.length)
  return u, v - slack, _turn(row, path, row_of)


def _search(cost, row, u, v, row_of) -> _Path:
  big = jnp.asarray(jnp.inf if jnp.issubdtype(cost.dtype, jnp.floating) else jnp.iinfo(jnp.int32).max, cost.dtype)

  def step(path: _Path) -> _Path:
    reach = path.length + (cost[path.row] - u[path.row] - v)
    shorter = ~path.scanned & (reach < path.nearest)
    nearest = jnp.where(shorter, reach, path.nearest)
    before = jnp.where(shorter, path.row, path.before)
    open_ = jnp.where(path.scanned, big, nearest)
    length = jnp.min(open_)
    column = jnp.argmax((open_ == length) & ~path.scanned).astype(jnp.int32)
    return _Path(row_of[column], column, length, nearest, before, path.scanned.at[column].set(True))

  n, nothing = cost.shape[1], jnp.int32(-1)
  first = _Path(row, nothing, jnp.zeros_like(big), jnp.full(n, big), jnp.full(n, nothing), jnp.zeros(n, bool))
  return jax.lax.while_loop(lambda path: path.row >= 0, step, first)


def _turn(row, path: _Path, row_of: jax.Array) -> jax.Array:
  """Walks the path back from its free column, giving every column on it the row from which it was reached."""
  column_of = jnp.full(path.before.shape[0] + 1, -1, jnp.int32)
  place = jnp.where(row_of >= 0, row_of, path.before.shape[0])
  column_of = column_of.at[place].set(jnp.arange(row_of.shape[0], dtype=jnp.int32))

  def step(carry):
    column, row_of = carry
    owner = path.before[column]
    following = jnp.where(owner == row, -1, column_of[owner])
    return following, row_of.at[column].set(owner)

  return jax.lax.while_loop(lambda carry: carry[0] >= 0, step, (path.column, row_of))[1]
