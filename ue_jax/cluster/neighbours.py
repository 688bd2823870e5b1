"""Exact nearest neighbours by blocks of rows, and sums over the graph they make.

A point is never its own neighbour: it is left out by its position, not by its distance, so that of equal points each
finds the others.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import given
from ue_jax.cluster.distances import by_blocks, sqeuclidean
from ue_jax.core.errors import require

BLOCK = 2**22  # distances alive at a time
SPARE = 4  # candidates beyond those asked for, whose order by the exact distance may differ from that by the fast one


class Graph(NamedTuple):
  """Directed edges from every point to its nearest neighbours.

  Attributes:
    index: int32 `[n, m]`, the neighbours of each point, the nearest first; of equally near ones the lower position.
    sq: float32 `[n, m]`, their squared Euclidean distances, exactly 0 between equal points.
  """

  index: jax.Array
  sq: jax.Array


def graph(x, m: int, *, chunk: int = 0) -> Graph:
  """The `m` nearest neighbours of every row of x `[n, d]` among the other rows.

  Args:
    x: float rows; centred internally, so that nothing is lost far from the origin.
    m: neighbours a point, 1 to n - 1; the point itself is not one of them.
    chunk: rows compared with all at a time; 0 chooses, so that memory does not grow with n squared.

  Raises:
    Invalid: for m out of range, or NaN or infinity.
  """
  x = given.rows(x)
  n = x.shape[0]
  require(1 <= m < n, "cluster.neighbours", m, f"choose 1 to {n - 1}: every point has {n - 1} others")
  return _graph(x, m, chunk or max(1, BLOCK // n))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _graph(x: jax.Array, m: int, chunk: int) -> Graph:
  n = x.shape[0]
  x = x - jnp.mean(x, axis=0)
  tried = min(m + SPARE, n - 1)

  def block(rows):
    itself = rows[:, None] == jnp.arange(n)
    fast = jnp.where(itself, jnp.inf, sqeuclidean(x[rows], x))
    index = jnp.sort(jax.lax.top_k(-fast, tried)[1].astype(jnp.int32), axis=1)  # equally near ones: lower first
    exact = jnp.sum((x[rows][:, None] - x[index]) ** 2, axis=2)
    negative, order = jax.lax.top_k(-exact, m)
    return Graph(jnp.take_along_axis(index, order, 1), -negative)

  return by_blocks(block, jnp.arange(n), chunk)


@jax.jit
def gather_sum(graph: Graph, y: jax.Array) -> jax.Array:
  """W y for the directed graph W of ones: the sum of y `[n, k]` over the neighbours of each point."""
  total = y[graph.index[:, 0]]
  for j in range(1, graph.index.shape[1]):  # one neighbour at a time: no tensor of points x neighbours x k
    total = total + y[graph.index[:, j]]
  return total


@jax.jit
def scatter_sum(graph: Graph, y: jax.Array) -> jax.Array:
  """W' y: the sum of y `[n, k]` over the points whose neighbour each point is."""
  total = jnp.zeros_like(y)
  for j in range(graph.index.shape[1]):
    total = total.at[graph.index[:, j]].add(y)
  return total


@functools.partial(jax.jit, static_argnames="symmetric")
def dense(graph: Graph, symmetric: bool = True) -> jax.Array:
  """The matrix float32 `[n, n]` of a small graph: 1 for an edge; symmetric: the mean of both directions."""
  n = graph.index.shape[0]
  w = jnp.zeros((n, n), jnp.float32).at[jnp.arange(n)[:, None], graph.index].set(1.0)
  return (w + w.T) / 2 if symmetric else w


def affinity(x, m: int, *, symmetric: bool = True) -> Any:
  """The graph of a host array as a `scipy.sparse.csr_matrix` of ones (or halves and ones, if symmetric)."""
  from scipy.sparse import csr_matrix

  found = graph(x, m)
  n = found.index.shape[0]
  rows, columns = np.repeat(np.arange(n), m), np.asarray(found.index).ravel()
  w = csr_matrix((np.ones(n * m, np.float32), (rows, columns)), shape=(n, n))
  return (w + w.T) / 2 if symmetric else w
