"""Indices that judge a partition by the samples alone: silhouettes, Calinski-Harabasz, Davies-Bouldin.

Distances are formed a block of rows at a time, never as n x n or n x k x d. With one cluster they are undefined: NaN.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import given
from ue_jax.cluster.distances import HIGHEST, by_blocks, sqeuclidean
from ue_jax.core.errors import require

NOISE = ("own", "drop")
TINY = jnp.finfo(jnp.float32).tiny


def silhouette(x, labels, chunk: int = 1024, *, metric: str = "euclidean", noise: str = "own") -> float:
  """Mean silhouette, in [-1, 1]; NaN for a single cluster, 0 for singletons.

  Distances are formed `chunk` rows at a time. Arguments as for `silhouettes`; Rousseeuw, 1987.
  """
  return float(silhouettes(x, labels, chunk, metric=metric, noise=noise).mean())


def silhouettes(x, labels, chunk: int = 1024, *, metric: str = "euclidean", noise: str = "own") -> np.ndarray:
  """The silhouette of each sample, float32 `[n]`.

  Args:
    x: rows `[n, d]`; or, for the metric `precomputed`, the distances `[n, n]` of all samples.
    labels: `[n]`.
    chunk: rows of distances that are alive at a time.
    metric: `euclidean` or `precomputed`.
    noise: `own`: the label -1 is a cluster like any other; `drop`: such samples are left out, of the result too.
  """
  require(metric in ("euclidean", "precomputed"), "labels.metric", metric, "choose 'euclidean' or 'precomputed'")
  given = metric == "precomputed"
  x, labels, k = _prepare(x, labels, noise, square=given)
  if k == 1:
    return np.full(len(labels), np.nan, np.float32)
  return np.asarray(_silhouettes(x, labels, k=_places(k), chunk=chunk, given=given))


def simplified_silhouette(x, labels, chunk: int = 4096, noise: str = "own") -> float:
  """The silhouette with distances to the clusters' means in place of mean distances: O(n k d), in [-1, 1]."""
  x, labels, k = _prepare(x, labels, noise)
  return float(_simplified(x, labels, k=_places(k), chunk=chunk)) if k > 1 else float("nan")


def medoid_silhouette(distances, medoids=None) -> float:
  """Mean of 1 - (distance to the nearest medoid) / (distance to the second nearest), in [0, 1].

  1 where both distances are 0. Lenssen & Schubert, "Clustering by direct optimization of the medoid silhouette", 2022.

  Args:
    distances: `[n, k]` of the samples to the medoids; or `[n, n]` with `medoids` given.
    medoids: int `[k]` positions; NaN is returned for a single one.
  """
  given.rows(distances, "labels.distances")
  distances = np.asarray(distances)
  near = distances if medoids is None else distances[:, np.asarray(medoids)]
  if near.shape[1] < 2:
    return float("nan")
  first, second = np.partition(near, 1, axis=1)[:, :2].T.astype(np.float64)
  ratio = np.divide(first, second, out=np.zeros_like(first), where=second > 0)
  return float(np.mean(1 - ratio))


def calinski_harabasz(x, labels, noise: str = "own") -> float:
  """Variance between the clusters over that within, each by its degrees of freedom; at least 0, high is good.

  1 if the samples of each cluster are all equal (as scikit-learn has it); NaN if each is a cluster of its own.
  """
  counts, offset, inside, _, _ = _moments(x, labels, noise)
  n, k = counts.sum(), len(counts)
  if k == 1 or k == n:
    return float("nan")
  between, within = np.sum(counts * offset), np.sum(inside)
  return float(between * (n - k) / (within * (k - 1))) if within > 0 else 1.0


def davies_bouldin(x, labels, noise: str = "own") -> float:
  """Mean over clusters of the worst (spread + other's spread) / distance of the means; at least 0, low is good."""
  counts, _, _, spread, centers = _moments(x, labels, noise)
  if len(counts) == 1:
    return float("nan")
  apart = np.sqrt(np.sum((centers[:, None] - centers) ** 2, axis=-1))
  if np.allclose(spread, 0) or np.allclose(apart, 0):
    return 0.0
  ratio = np.divide(spread[:, None] + spread, apart, out=np.zeros_like(apart), where=apart > 0)
  return float(np.mean(ratio.max(1)))


def check_noise(noise: str) -> None:
  """Raises Invalid unless `noise` is one of `NOISE`."""
  require(noise in NOISE, "labels.noise", noise, f"choose one of {list(NOISE)}")


def _prepare(x, labels, noise: str, square: bool = False) -> tuple[jax.Array, jax.Array, int]:
  """Centred rows, labels int32 that leave no number out, and how many there are."""
  check_noise(noise)
  x, labels = np.asarray(given.rows(x, "labels.x")), given.labels(labels)
  require(len(x) == len(labels), "labels", (x.shape, labels.shape), "give one label a row of x")
  require(not square or x.shape[0] == x.shape[1], "labels.x", x.shape, "give the distances of all samples, [n, n]")
  if noise == "drop":
    kept = labels != -1
    require(bool(kept.any()), "labels", "noise only", "give at least one sample that is not noise")
    x, labels = (x[np.ix_(kept, kept)] if square else x[kept]), labels[kept]
  names, labels = np.unique(labels, return_inverse=True)
  if not square:
    x = x - x.mean(0, dtype=np.float64).astype(np.float32)
  return jnp.asarray(x), jnp.asarray(labels, jnp.int32), len(names)


def _places(k: int) -> int:
  """At least k, and one number for many k: so few programs serve all of them. What is beyond k stays empty."""
  return max(16, 1 << (k - 1).bit_length())


@functools.partial(jax.jit, static_argnames=("k", "chunk", "given"))
def _silhouettes(x, labels, *, k, chunk, given):
  member = jax.nn.one_hot(labels, k, dtype=jnp.float32)
  counts = member.sum(0)
  everyone = jnp.arange(x.shape[0])

  def sums(rows):
    itself = rows[:, None] == everyone  # the root would magnify its rounding
    distances = x[rows] if given else jnp.where(itself, 0, jnp.sqrt(sqeuclidean(x[rows], x)))
    return jnp.matmul(distances, member, precision=HIGHEST)

  total = by_blocks(sums, everyone, chunk)
  own = counts[labels]
  inside = jnp.take_along_axis(total, labels[:, None], 1)[:, 0] / jnp.maximum(own - 1, 1)
  others = (member == 0) & (counts > 0)
  outside = jnp.min(jnp.where(others, total / jnp.maximum(counts, 1), jnp.inf), axis=1)
  value = (outside - inside) / jnp.maximum(jnp.maximum(inside, outside), TINY)
  return jnp.where(own > 1, value, 0)


@functools.partial(jax.jit, static_argnames=("k", "chunk"))
def _simplified(x, labels, *, k, chunk):
  counts = jax.ops.segment_sum(jnp.ones(len(x)), labels, k)
  centers = jax.ops.segment_sum(x, labels, k) / jnp.maximum(counts, 1)[:, None]

  def block(rows):
    others = (jax.nn.one_hot(labels[rows], k) == 0) & (counts > 0)
    distances = jnp.sqrt(sqeuclidean(x[rows], centers))
    inside = jnp.sqrt(jnp.sum((x[rows] - centers[labels[rows]]) ** 2, axis=1))
    outside = jnp.min(jnp.where(others, distances, jnp.inf), axis=1)
    return (outside - inside) / jnp.maximum(jnp.maximum(inside, outside), TINY)

  return jnp.mean(by_blocks(block, jnp.arange(x.shape[0]), chunk))


def _moments(x, labels, noise: str) -> tuple[np.ndarray, ...]:
  """For each cluster in float64: count, squared distance of its mean to that of all, sum of squared distances of its
  samples to its mean, their mean distance, and the mean `[k, d]`."""
  x, labels, k = _prepare(x, labels, noise)
  counts, centers, inside, spread = (np.asarray(v, np.float64)[:k] for v in _spreads(x, labels, k=_places(k)))
  middle = counts @ centers / counts.sum()
  return counts, np.sum((centers - middle) ** 2, axis=1), inside, spread, centers


@functools.partial(jax.jit, static_argnames=("k",))
def _spreads(x, labels, *, k):
  total = lambda values: jax.ops.segment_sum(values, labels, k)
  counts = total(jnp.ones(x.shape[0]))
  shared = jnp.maximum(counts, 1)
  centers = total(x) / shared[:, None]
  sq = jnp.sum((x - centers[labels]) ** 2, axis=1)
  return counts, centers, total(sq), total(jnp.sqrt(sq)) / shared
