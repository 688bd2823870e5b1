"""Distances and nearest centres, by blocks of rows: never a tensor of samples x centres x features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST


def sqeuclidean(x: jax.Array, centers: jax.Array) -> jax.Array:
  """Squared Euclidean distances, float32 `[n, k]`, of the rows of x `[n, d]` to those of centers `[k, d]`.

  Uses |x|^2 + |c|^2 - 2 x.c in full float32, never below 0. It loses digits when |x| is much larger than the
  spread: centre the data first.
  """
  x, centers = x.astype(jnp.float32), centers.astype(jnp.float32)
  cross = jnp.matmul(x, centers.T, precision=HIGHEST)
  return jnp.maximum(jnp.sum(x * x, -1)[:, None] + jnp.sum(centers * centers, -1) - 2 * cross, 0)


def by_blocks(fn: Callable[[jax.Array], Any], x: jax.Array, chunk: int) -> Any:
  """`fn(x)` for a row-wise `fn`, applied to `chunk` rows of x at a time; only one block of intermediates is alive."""
  n = x.shape[0]
  if n <= chunk:
    return fn(x)
  blocks = -(-n // chunk)
  padded = jnp.pad(x, [(0, blocks * chunk - n)] + [(0, 0)] * (x.ndim - 1))
  out = jax.lax.map(fn, padded.reshape(blocks, chunk, *x.shape[1:]))
  return jax.tree.map(lambda leaf: leaf.reshape(blocks * chunk, *leaf.shape[2:])[:n], out)


def assign_top1(x: jax.Array, centers: jax.Array, chunk: int = 4096) -> tuple[jax.Array, jax.Array]:
  """The nearest centre of every row: labels int32 `[n]` and its squared distance float32 `[n]`.

  Ties go to the lower label. The distance is that of the difference vector, so it is exactly 0 for equal points.
  """

  def block(rows):
    labels = jnp.argmin(sqeuclidean(rows, centers), axis=1).astype(jnp.int32)
    return labels, jnp.sum((rows - centers[labels]) ** 2, axis=1)

  return by_blocks(block, x, chunk)


def assign_top2(x: jax.Array, centers: jax.Array, chunk: int = 4096) -> tuple[jax.Array, ...]:
  """The two nearest centres of every row: `(labels, sq_distances, second labels, second sq_distances)`, each `[n]`."""

  def block(rows):
    negative, labels = jax.lax.top_k(-sqeuclidean(rows, centers), 2)
    labels = labels.astype(jnp.int32)
    return labels[:, 0], -negative[:, 0], labels[:, 1], -negative[:, 1]

  return by_blocks(block, x, chunk)
