"""Distances and nearest centres, by blocks of rows: never a tensor of samples x centres x features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid
from ue_jax.parallel import mesh

HIGHEST = jax.lax.Precision.HIGHEST
IN_CACHE = 2**18  # scalars: a block of scores that stays in a core's second cache
WALK = 8  # positions in one turn of the loop of `listed`


def sqeuclidean(x: jax.Array, centers: jax.Array) -> jax.Array:
  """Squared Euclidean distances, float32 `[n, k]`, of the rows of x `[n, d]` to those of centers `[k, d]`.

  Uses |x|^2 + |c|^2 - 2 x.c in full float32, never below 0. It loses digits when |x| is much larger than the
  spread: centre the data first.
  """
  x, centers = x.astype(jnp.float32), centers.astype(jnp.float32)
  cross = jnp.matmul(x, centers.T, precision=HIGHEST)
  return jnp.maximum(jnp.sum(x * x, -1)[:, None] + jnp.sum(centers * centers, -1) - 2 * cross, 0)


def euclidean(x: jax.Array, centers: jax.Array) -> jax.Array:
  """Euclidean distances, float32 `[n, k]`; the digits that `sqeuclidean` loses weigh more under the root."""
  return jnp.sqrt(sqeuclidean(x, centers))


def cosine(x: jax.Array, centers: jax.Array) -> jax.Array:
  """1 - the cosine of the angle, float32 `[n, k]` in [0, 2]; 1 where a vector is zero."""
  unit = lambda v: v / jnp.maximum(jnp.linalg.norm(v, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
  x, centers = unit(x.astype(jnp.float32)), unit(centers.astype(jnp.float32))
  return jnp.clip(1 - jnp.matmul(x, centers.T, precision=HIGHEST), 0, 2)


def l1(x: jax.Array, centers: jax.Array) -> jax.Array:
  """Sums of absolute differences, float32 `[n, k]`; one feature at a time."""
  x, centers = x.astype(jnp.float32), centers.astype(jnp.float32)
  add = lambda total, column: (total + jnp.abs(column[0][:, None] - column[1]), None)
  return jax.lax.scan(add, jnp.zeros((x.shape[0], centers.shape[0]), jnp.float32), (x.T, centers.T))[0]


METRICS = {"sqeuclidean": sqeuclidean, "euclidean": euclidean, "cosine": cosine, "l1": l1}


def pairwise(x: jax.Array, y: jax.Array, metric: str = "euclidean", chunk: int = 1024) -> jax.Array:
  """All distances of the rows of x `[n, d]` to those of y `[m, d]`, float32 `[n, m]`, `chunk` rows of x at a time.

  Raises:
    Invalid: for an unknown metric.
  """
  if metric not in METRICS:
    raise Invalid("cluster.metric", metric, f"choose one of {sorted(METRICS)}")
  return by_blocks(lambda rows: METRICS[metric](rows, y), x, chunk)


def block_size(n: int, k: int) -> int:
  """How many rows of `n` to compare with `k` centres at once, so that the scores stay in the cache."""
  return max(1, min(n, max(128, min(2048, IN_CACHE // k))))


def by_blocks(fn: Callable[[Any], Any], x: Any, chunk: int) -> Any:
  """`fn(x)` for a row-wise `fn`, applied to `chunk` rows at a time; x is an array or a tree of arrays of equal length.

  Only one block of intermediates is alive, and x is never copied: the last block overlaps the one before it.
  """
  n = len(jax.tree.leaves(x)[0])
  if n <= chunk:
    return fn(x)

  def body(out, start):
    part = fn(jax.tree.map(lambda array: jax.lax.dynamic_slice_in_dim(array, start, chunk), x))
    put = lambda whole, rows: jax.lax.dynamic_update_slice_in_dim(whole, rows, start, 0)
    return jax.tree.map(put, out, part), None

  shape = lambda array: jax.ShapeDtypeStruct((chunk, *array.shape[1:]), array.dtype)
  shapes = jax.eval_shape(fn, jax.tree.map(shape, x))
  out = jax.tree.map(lambda s: jnp.zeros((n, *s.shape[1:]), s.dtype), shapes)
  return jax.lax.scan(body, out, jnp.asarray(_starts(n, chunk)))[0]


def listed(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The positions where mask `[n]` is True, int32 `[n]` filled up with 0, and how many there are.

  One walk on a CPU, where it takes a tenth of the time of the sums and the scatter that make up `jnp.nonzero`.
  """
  n, count = len(mask), jnp.sum(mask, dtype=jnp.int32)
  if mesh.on_accelerator():
    return jnp.nonzero(mask, size=n, fill_value=0)[0].astype(jnp.int32), count
  marks = jnp.pad(mask, (0, -n % WALK)).astype(jnp.int32)

  def body(i, carry):
    found, at = carry
    for j in range(WALK):  # without a branch: what is not marked is written over by the next
      found = jax.lax.dynamic_update_index_in_dim(found, i * WALK + j, at, 0)
      at = at + marks[i * WALK + j]
    return found, at

  start = jnp.zeros(len(marks) + 1, jnp.int32), jnp.int32(0)
  found, _ = jax.lax.fori_loop(0, len(marks) // WALK, body, start)
  return jnp.where(jnp.arange(n) < count, found[:n], 0), count


def cluster_sums(x: jax.Array, weights: jax.Array, labels: jax.Array, k: int, chunk: int = 4096) -> jax.Array:
  """The weighted sum of the rows of each cluster, float32 `[k, d]`; one block of rows at a time.

  A product with indicators on an accelerator, where adding in any order would change the last bits; a scatter on CPU.
  """
  n = x.shape[0]
  chunk = min(chunk, n)
  cut = lambda array, start: jax.lax.dynamic_slice_in_dim(array, start, chunk)

  def body(total, at):
    start, first = at
    fresh = start + jnp.arange(chunk) >= first  # rows of the overlap were counted before
    weight = jnp.where(fresh, cut(weights, start), 0)
    if not mesh.on_accelerator():
      return total.at[cut(labels, start)].add(weight[:, None] * cut(x, start)), None
    member = jnp.where(cut(labels, start)[:, None] == jnp.arange(k), weight[:, None], 0)
    return total + jnp.matmul(member.T, cut(x, start), precision=HIGHEST), None

  starts = _starts(n, chunk)
  firsts = np.arange(len(starts), dtype=np.int32) * chunk
  zero = jnp.zeros((k, x.shape[1]), jnp.float32)
  return jax.lax.scan(body, zero, (jnp.asarray(starts), jnp.asarray(firsts)))[0]


def _starts(n: int, chunk: int) -> np.ndarray:
  return np.minimum(np.arange(-(-n // chunk), dtype=np.int32) * chunk, n - chunk).astype(np.int32)


def lowest(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The first position of the smallest value of every row of `[b, k]`, int32 `[b]`, and that value.

  Two passes that vectorise, which on CPU are half again as fast as `argmin`.
  """
  least = jnp.min(scores, axis=1)
  at = jnp.where(scores <= least[:, None], jnp.arange(scores.shape[1], dtype=jnp.int32), scores.shape[1] - 1)
  return jnp.min(at, axis=1), least


def assign_top1(x: jax.Array, centers: jax.Array, chunk: int = 0) -> tuple[jax.Array, jax.Array]:
  """The nearest centre of every row: labels int32 `[n]` and its squared distance float32 `[n]`.

  Ties go to the lower label. The distance is that of the difference vector, so it is exactly 0 for equal points.
  `chunk` rows at a time; 0 chooses.
  """

  def block(rows):
    labels, _ = lowest(sqeuclidean(rows, centers))
    return labels, jnp.sum((rows - centers[labels]) ** 2, axis=1)

  return by_blocks(block, x, chunk or block_size(*x.shape[:1], centers.shape[0]))


def assign_top2(x: jax.Array, centers: jax.Array, chunk: int = 0) -> tuple[jax.Array, ...]:
  """The two nearest centres of every row: `(labels, sq_distances, second labels, second sq_distances)`, each `[n]`."""

  def block(rows):
    scores = sqeuclidean(rows, centers)
    first, near = lowest(scores)
    second, next_near = lowest(jnp.where(jnp.arange(scores.shape[1]) == first[:, None], jnp.inf, scores))
    return first, near, second, next_near

  return by_blocks(block, x, chunk or block_size(*x.shape[:1], centers.shape[0]))
