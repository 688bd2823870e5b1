"""External and internal scores of a partition, on the host; all are invariant to renaming the clusters."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster.distances import HIGHEST, by_blocks, sqeuclidean
from ue_jax.core.errors import require


def contingency(true, predicted) -> np.ndarray:
  """Counts int64 `[classes, clusters]`: how many samples of each true class lie in each cluster."""
  true, predicted = np.asarray(true).ravel(), np.asarray(predicted).ravel()
  require(len(true) == len(predicted) > 0, "labels", (true.shape, predicted.shape), "give two labellings of one length")
  rows, a = np.unique(true, return_inverse=True)
  columns, b = np.unique(predicted, return_inverse=True)
  return np.bincount(a * len(columns) + b, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))


def accuracy(true, predicted) -> float:
  """Share of samples right under the best one-to-one map of clusters to classes (linear assignment), in [0, 1].

  Clusters without a class of their own count as errors.
  """
  from scipy.optimize import linear_sum_assignment

  table = contingency(true, predicted)
  return float(table[linear_sum_assignment(-table)].sum() / table.sum())


def nmi(true, predicted) -> float:
  """Mutual information over the arithmetic mean of the entropies, in [0, 1]; 1 if both have one cluster only."""
  joint = contingency(true, predicted) / len(np.asarray(true).ravel())
  a, b = joint.sum(1), joint.sum(0)
  outer, seen = np.outer(a, b), joint > 0
  mutual = np.sum(joint[seen] * np.log(joint[seen] / outer[seen]))
  mean = (_entropy(a) + _entropy(b)) / 2
  return float(np.clip(mutual / mean, 0, 1)) if mean > 0 else 1.0


def ari(true, predicted) -> float:
  """Adjusted Rand index of Hubert & Arabie, in [-0.5, 1]; 0 is chance."""
  table = contingency(true, predicted).astype(np.float64)
  pairs = lambda counts: float(np.sum(counts * (counts - 1)) / 2)
  together, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
  expected = rows * columns / max(pairs(table.sum()), 1.0)
  most = (rows + columns) / 2
  return float((together - expected) / (most - expected)) if most != expected else 1.0


def purity(true, predicted) -> float:
  """Share of samples that belong to the largest class of their cluster, in (0, 1]."""
  table = contingency(true, predicted)
  return float(table.max(0).sum() / table.sum())


def silhouette(x, labels, chunk: int = 1024) -> float:
  """Mean silhouette with Euclidean distances, in [-1, 1]; NaN for a single cluster, 0 for singletons.

  Distances are formed `chunk` rows at a time.
  """
  values = silhouettes(x, labels, chunk)
  return float(values.mean())


def silhouettes(x, labels, chunk: int = 1024) -> np.ndarray:
  """The silhouette of each sample, float32 `[n]`."""
  x = jnp.asarray(x, jnp.float32)
  _, labels = np.unique(np.asarray(labels), return_inverse=True)
  k = int(labels.max()) + 1
  if k == 1:
    return np.full(len(labels), np.nan, np.float32)
  return np.asarray(_silhouettes(x - x.mean(0), jnp.asarray(labels, jnp.int32), k=k, chunk=chunk))


@functools.partial(jax.jit, static_argnames=("k", "chunk"))
def _silhouettes(x, labels, *, k, chunk):
  member = jax.nn.one_hot(labels, k, dtype=jnp.float32)
  counts = member.sum(0)

  everyone = jnp.arange(x.shape[0])

  def sums(rows):
    itself = rows[:, None] == everyone  # the root would magnify its rounding
    distances = jnp.where(itself, 0, jnp.sqrt(sqeuclidean(x[rows], x)))
    return jnp.matmul(distances, member, precision=HIGHEST)

  total = by_blocks(sums, everyone, chunk)
  own = counts[labels]
  inside = jnp.take_along_axis(total, labels[:, None], 1)[:, 0] / jnp.maximum(own - 1, 1)
  outside = jnp.min(jnp.where(member > 0, jnp.inf, total / counts), axis=1)
  value = (outside - inside) / jnp.maximum(jnp.maximum(inside, outside), jnp.finfo(jnp.float32).tiny)
  return jnp.where(own > 1, value, 0)


def _entropy(p: np.ndarray) -> float:
  p = p[p > 0]
  return float(-np.sum(p * np.log(p)))
