"""Distances and nearest centres, by blocks of rows: never a tensor of samples x centres x features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
  """`fn(x)` for a row-wise `fn`, applied to `chunk` rows of x at a time.

  Only one block of intermediates is alive, and x is never copied: the last block overlaps the one before it.
  """
  n = x.shape[0]
  if n <= chunk:
    return fn(x)

  def body(out, start):
    part = fn(jax.lax.dynamic_slice_in_dim(x, start, chunk))
    put = lambda whole, rows: jax.lax.dynamic_update_slice_in_dim(whole, rows, start, 0)
    return jax.tree.map(put, out, part), None

  shapes = jax.eval_shape(fn, jax.ShapeDtypeStruct((chunk, *x.shape[1:]), x.dtype))
  out = jax.tree.map(lambda s: jnp.zeros((n, *s.shape[1:]), s.dtype), shapes)
  return jax.lax.scan(body, out, jnp.asarray(_starts(n, chunk)))[0]


def cluster_sums(x: jax.Array, weights: jax.Array, labels: jax.Array, k: int, chunk: int = 4096) -> jax.Array:
  """The weighted sum of the rows of each cluster, float32 `[k, d]`; one block of rows at a time."""
  n = x.shape[0]
  chunk = min(chunk, n)
  cut = lambda array, start: jax.lax.dynamic_slice_in_dim(array, start, chunk)

  def body(total, at):
    start, first = at
    fresh = start + jnp.arange(chunk) >= first  # rows of the overlap were counted before
    weight = jnp.where(fresh, cut(weights, start), 0)
    member = jnp.where(cut(labels, start)[:, None] == jnp.arange(k), weight[:, None], 0)
    return total + jnp.matmul(member.T, cut(x, start), precision=HIGHEST), None

  starts = _starts(n, chunk)
  firsts = np.arange(len(starts), dtype=np.int32) * chunk
  zero = jnp.zeros((k, x.shape[1]), jnp.float32)
  return jax.lax.scan(body, zero, (jnp.asarray(starts), jnp.asarray(firsts)))[0]


def _starts(n: int, chunk: int) -> np.ndarray:
  return np.minimum(np.arange(-(-n // chunk), dtype=np.int32) * chunk, n - chunk).astype(np.int32)


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
