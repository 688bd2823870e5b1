"""Who is like whom: symmetric weighted graphs of samples with zero diagonal, as matrices or as products with them.

- `rbf`: exp(-gamma |x - y|^2);
- `self_tuning`: exp(-|x - y|^2 / (s s')), s the distance to the 7th neighbour (Zelnik-Manor & Perona, "Self-tuning
  spectral clustering", 2004);
- `knn`: 1 between near neighbours, whether either is the other's neighbour (`max`) or by halves (`mean`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import given, neighbours
from ue_jax.cluster.distances import HIGHEST, by_blocks, sqeuclidean
from ue_jax.core.errors import require
from ue_jax.parallel import mesh

KINDS = ("knn", "rbf", "self_tuning", "precomputed")
SYMMETRIES = ("max", "mean")
DIFFERENCES = 8  # features up to which distances are sums of squared differences
ALIVE = 2**24  # affinities of a kernel that are alive at a time


class Matrix(NamedTuple):
  """Affinities float32 `[n, n]`."""

  values: jax.Array


class Kernel(NamedTuple):
  """exp(-|x_i - x_j|^2 s_i s_j), computed anew whenever it is needed: rows x `[n, d]` and scales s `[n]`."""

  x: jax.Array
  scales: jax.Array


class Edges(NamedTuple):
  """E + E', where E has `values` `[n, m]` in the columns `index` int32 `[n, m]` of its rows."""

  index: jax.Array
  values: jax.Array


def affinity(x, kind: str = "knn", *, m: int = 10, symmetry: str = "max", gamma=1.0) -> Matrix | Kernel | Edges:
  """The graph of the rows of x `[n, d]`.

  Args:
    x: rows; or, for the kind `precomputed`, symmetric affinities `[n, n]` of at least 0, whose diagonal is not read.
    kind: one of `KINDS`.
    m: neighbours (of `knn`), or the number of the neighbour whose distance is the scale (of `self_tuning`: use 7).
    symmetry: of `knn`.
    gamma: of `rbf`, above 0.

  Raises:
    Invalid: for unknown kinds, or values out of range.
  """
  require(kind in KINDS, "cluster.affinity", kind, f"choose one of {list(KINDS)}")
  require(symmetry in SYMMETRIES, "cluster.symmetry", symmetry, f"choose one of {list(SYMMETRIES)}")
  x = given.rows(x)
  if kind == "precomputed":
    return _given(x)
  if kind == "rbf":
    require(not isinstance(gamma, (int, float)) or gamma > 0, "cluster.gamma", gamma, "use a number above 0")
    return Kernel(x - x.mean(0), jnp.broadcast_to(jnp.sqrt(jnp.float32(gamma)), x.shape[0]))
  graph = neighbours.graph(x, m)
  if kind == "self_tuning":
    sigma = jnp.sqrt(graph.sq[:, -1])  # 0 among more than m equal rows, which then are near each other alone
    return Kernel(x - x.mean(0), 1 / jnp.maximum(sigma, 1e-6 * jnp.max(sigma) + jnp.finfo(jnp.float32).tiny))
  half = jnp.float32(0.5)
  return Edges(graph.index, jnp.where(_mutual(graph.index) | (symmetry == "mean"), half, 2 * half))


def times(graph: Matrix | Kernel | Edges, y: jax.Array) -> jax.Array:
  """The product of the affinities with y `[n, c]`; of a kernel a block of rows at a time."""
  if isinstance(graph, Matrix):
    return jnp.matmul(graph.values, y, precision=HIGHEST)
  if isinstance(graph, Kernel):
    n = graph.x.shape[0]
    block = lambda rows: jnp.matmul(_kernel(graph, rows), y, precision=HIGHEST)
    return by_blocks(block, jnp.arange(n), max(1, min(n, ALIVE // n)))
  out = jnp.zeros_like(y)
  for j in range(graph.index.shape[1]):  # one neighbour at a time: no tensor of points x neighbours x c
    to, weight = graph.index[:, j], graph.values[:, j, None]
    out = (out + weight * y[to]).at[to].add(weight * y)
  return out


def matrix(graph: Matrix | Kernel | Edges) -> jax.Array:
  """The affinities float32 `[n, n]`."""
  if isinstance(graph, Matrix):
    return graph.values
  if isinstance(graph, Kernel):
    return _kernel(graph, jnp.arange(graph.x.shape[0]))
  n = graph.index.shape[0]
  e = jnp.zeros((n, n), jnp.float32).at[jnp.arange(n)[:, None], graph.index].set(graph.values)
  return e + e.T


def size(graph: Matrix | Kernel | Edges) -> int:
  """The number of samples."""
  return jax.tree.leaves(graph)[0].shape[0]


def _kernel(graph: Kernel, rows: jax.Array) -> jax.Array:
  some = graph.x[rows]
  if some.shape[1] <= DIFFERENCES:  # exactly: scales may be far below the extent of the data
    sq = sum((some[:, j, None] - graph.x[:, j]) ** 2 for j in range(some.shape[1]))
  else:
    sq = sqeuclidean(some, graph.x)
  near = jnp.exp(-sq * graph.scales[rows][:, None] * graph.scales)
  return jnp.where(rows[:, None] == jnp.arange(graph.x.shape[0]), 0, near)


def _mutual(index: jax.Array) -> jax.Array:
  """bool `[n, m]`: whether each neighbour has the point as its neighbour, too."""
  itself = jnp.arange(index.shape[0], dtype=index.dtype)[:, None]
  return jnp.stack([jnp.any(index[to] == itself, axis=1) for to in index.T], axis=1)


def _given(a: jax.Array) -> Matrix:
  require(a.shape[0] == a.shape[1], "cluster.x", a.shape, "give the affinities of all samples, [n, n]")
  if not isinstance(a, jax.core.Tracer):
    seen = mesh.at_hand(a)
    require(bool((seen >= 0).all()), "cluster.x", "negative affinities", "use affinities of at least 0")
    close = bool((abs(seen - seen.T) <= 1e-6 + 1e-4 * abs(seen)).all())
    require(close, "cluster.x", "not symmetric", "use symmetric affinities, such as (a + a.T) / 2")
  return Matrix(jnp.where(jnp.eye(a.shape[0], dtype=bool), 0, (a + a.T) / 2))
