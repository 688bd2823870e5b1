"""Spectral clustering: k-means on the leading eigenvectors of the normalised graph of the samples.

Ng, Jordan & Weiss, "On spectral clustering: analysis and an algorithm", 2001 (rows of length 1); von Luxburg, "A
tutorial on spectral clustering", 2007 (the random walk's vectors). Small graphs are taken apart by a dense `eigh`;
large ones are never formed: Chebyshev polynomials of the graph sharpen a block of vectors until they span the leading
ones (Zhou & Saad, 2007), with products only.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import affinities, k_means
from ue_jax.cluster.distances import HIGHEST
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure, once

ROWS = ("unit", "random_walk")
DENSE = 3000  # samples up to which the matrix is formed
SPARE = 10  # vectors beyond those asked for
DEGREE = 10  # of the polynomial: products between two orthonormalisations


class Embedding(NamedTuple):
  """Where the samples lie.

  Attributes:
    places: float32 `[n, k]`, the rows that k-means sees.
    values: float32 `[k]`, the smallest eigenvalues of the normalised Laplacian, ascending, in [0, 2]: as many are 0 as
      the graph has components.
    vectors: float32 `[n, k]`, their eigenvectors, of length 1, the entry of largest magnitude positive.
    residual: float32, the largest length of `M v - lambda v`.
  """

  places: jax.Array
  values: jax.Array
  vectors: jax.Array
  residual: jax.Array


def fit(
  x, k: int, *, key, affinity: str = "knn", m: int = 10, symmetry: str = "max", gamma=1.0, rows: str = "unit",
  restarts: int = 10, dense: int = DENSE, max_steps=60, tol=1e-5,
) -> tuple[Clustering, Embedding]:  # fmt: skip
  """Clusters the rows of x `[n, d]` by the graph of who is near whom.

  Args:
    x, affinity, m, symmetry, gamma: see `affinities.affinity`.
    k: number of clusters, and of eigenvectors.
    key: PRNG key, of the k-means (and of the first block of a large graph).
    rows: `unit`: every place has length 1; `random_walk`: places are divided by the root of the degree.
    restarts: of the k-means.
    dense: samples up to which the matrix is formed and taken apart as a whole.
    max_steps, tol: of the block method: most polynomials, and the residual at which to stop.

  Returns:
    `(Clustering, Embedding)`; `cost` is that of the k-means.

  Raises:
    Invalid: for values out of range, NaN or infinity.
  """
  require(rows in ROWS, "cluster.rows", rows, f"choose one of {list(ROWS)}")
  n = len(x)
  require(1 <= k <= n, "cluster.k", k, f"choose 1 to {n}, the number of samples")
  graph = affinities.affinity(x, affinity, m=m, symmetry=symmetry, gamma=gamma)
  found = embed(graph, k, key=key, rows=rows, dense=dense, max_steps=max_steps, tol=tol)
  parts = k_means.fit(found.places, k, key=key, restarts=restarts)
  return Clustering(parts.labels, None, None, parts.cost, parts.steps, parts.converged), found


def cluster(
  k: int = 10, array: str = "image", affinity: str = "knn", m: int = 10, symmetry: str = "max", gamma: float = 1.0,
  rows: str = "unit", restarts: int = 10,
) -> Procedure:  # fmt: skip
  """Spectral clustering of an array of the Data, flattened to one row a sample: Data -> Clustering. See `fit`."""

  def run(key, data: Data) -> Clustering:
    x = k_means.matrix(data, array)
    settings = dict(affinity=affinity, m=min(m, len(x) - 1), symmetry=symmetry, gamma=gamma, rows=rows)
    return jax.tree.map(np.asarray, fit(x, k, key=key, restarts=restarts, **settings)[0])

  return once(run)


def embed(graph, k: int, *, key, rows: str = "unit", dense: int = DENSE, max_steps=60, tol=1e-5) -> Embedding:
  """The embedding of a graph that `affinities.affinity` made; arguments as for `fit`."""
  whole = affinities.size(graph) <= max(dense, k + SPARE)
  return _embed(graph, key, jnp.int32(max_steps), jnp.float32(tol), k=k, rows=rows, whole=whole)


@functools.partial(jax.jit, static_argnames=("k", "rows", "whole"))
def _embed(graph, key, max_steps, tol, *, k, rows, whole) -> Embedding:
  n = affinities.size(graph)
  degree = affinities.times(graph, jnp.ones((n, 1), jnp.float32))
  root = jnp.where(degree > 0, jnp.sqrt(degree), 1)
  product = lambda y: affinities.times(graph, y / root) / root
  if whole:
    values, vectors = jnp.linalg.eigh(affinities.matrix(graph) / root / root.T)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
  else:
    values, vectors = leading(product, n, k, key=key, max_steps=max_steps, tol=tol)
  vectors = _signed(vectors)
  residual = jnp.max(jnp.linalg.norm(product(vectors) - vectors * values, axis=0))
  length = root if rows == "random_walk" else jnp.linalg.norm(vectors, axis=1, keepdims=True)
  return Embedding(vectors / jnp.maximum(length, 1e-12), 1 - values, vectors, residual)


def leading(product, n: int, k: int, *, key, max_steps=60, tol=1e-5) -> tuple[jax.Array, jax.Array]:
  """The k largest eigenvalues, descending, and their vectors `[n, k]`, of a symmetric matrix with spectrum in [-1, 1].

  Args:
    product: y `[n, c]` -> the matrix times y.
    n: its size.
    k: how many.
    key: PRNG key of the first block of vectors.
    max_steps: most polynomials of degree 10.
    tol: largest residual of the k vectors at which to stop; float32 does not reach much less than 1e-6.
  """
  width = min(k + SPARE, n)

  def ritz(block):
    basis, _ = jnp.linalg.qr(block)
    image = product(basis)
    small = jnp.matmul(basis.T, image, precision=HIGHEST)
    values, turn = jnp.linalg.eigh((small + small.T) / 2)
    values, turn = values[::-1], turn[:, ::-1]
    vectors, image = (jnp.matmul(v, turn, precision=HIGHEST) for v in (basis, image))
    missed = jnp.max(jnp.linalg.norm((image - vectors * values)[:, :k], axis=0))
    return values, vectors, missed

  def sharpen(carry):
    step, (values, vectors, _) = carry
    return step + 1, ritz(_chebyshev(product, vectors, jnp.minimum(values[-1], 0.999)))

  going = lambda carry: (carry[0] < max_steps) & ~(carry[1][2] <= tol)
  first = jax.random.normal(key, (n, width), jnp.float32)
  values, vectors, _ = jax.lax.while_loop(going, sharpen, (jnp.int32(0), ritz(first)))[1]
  return values[:k], vectors[:, :k]


def _chebyshev(product, block: jax.Array, top: jax.Array) -> jax.Array:
  """The block times the polynomial that is small on [-1, top] and 1 at 1, so that what lies above is drawn out."""
  half, middle = (top + 1) / 2, (top - 1) / 2
  sigma = half / (1 - middle)
  now = (product(block) - middle * block) * (sigma / half)

  def raise_(_, carry):
    before, now, last = carry
    following = 1 / (2 / sigma - last)
    new = (product(now) - middle * now) * (2 * following / half) - last * following * before
    return now, new, following

  return jax.lax.fori_loop(1, DEGREE, raise_, (block, now, sigma))[1]


def _signed(vectors: jax.Array) -> jax.Array:
  """Each vector with its entry of largest magnitude positive."""
  at = jnp.argmax(jnp.abs(vectors), axis=0)
  return vectors * jnp.where(jnp.take_along_axis(vectors, at[None], 0) < 0, -1.0, 1.0)
