"""Scores of a partition against the truth, on the host; all are invariant to renaming the clusters.

Those that need no truth (silhouette and others, see `internal`) can be had under the same roof. Wherever a labelling
may hold -1 for noise, `noise` says what becomes of it: `own`, -1 is a cluster like any other; `drop`, samples that are
noise in either labelling are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ue_jax.cluster import given, internal
from ue_jax.core.errors import require

silhouette, silhouettes = internal.silhouette, internal.silhouettes
simplified_silhouette, medoid_silhouette = internal.simplified_silhouette, internal.medoid_silhouette
calinski_harabasz, davies_bouldin = internal.calinski_harabasz, internal.davies_bouldin


class Split(NamedTuple):
  """Accuracy over all samples, those of known (old) classes, and those of novel ones; NaN where there are none."""

  all: float
  old: float
  new: float


def contingency(true, predicted, noise: str = "own") -> np.ndarray:
  """Counts int64 `[classes, clusters]`: how many samples of each true class lie in each cluster.

  Raises:
    Invalid: for labellings of unequal or no length (after noise was dropped), or an unknown `noise`.
  """
  true, predicted = _pair(true, predicted, noise)
  rows, a = np.unique(true, return_inverse=True)
  columns, b = np.unique(predicted, return_inverse=True)
  return np.bincount(a * len(columns) + b, minlength=len(rows) * len(columns)).reshape(len(rows), len(columns))


def accuracy(true, predicted, noise: str = "own") -> float:
  """Share of samples right under the best one-to-one map of clusters to classes (linear assignment), in [0, 1].

  Clusters without a class of their own count as errors. Inside jit and vmap: `assignment.accuracy`.
  """
  from scipy.optimize import linear_sum_assignment

  table = contingency(true, predicted, noise)
  return float(table[linear_sum_assignment(-table)].sum() / table.sum())


def split_accuracy(true, predicted, old, version: str = "v2") -> Split:
  """Accuracy of category discovery, over all samples and over those of old and new classes apart.

  Args:
    true, predicted: `[n]`.
    old: bool `[n]`, True for samples of classes that were known.
    version: `v2` maps clusters to classes once, for all samples together; `v1` maps them anew for the old and for the
      new samples (which flatters: one cluster may serve a class of each), and `all` is then the mean over samples.

  Where several maps are equally good, `v2` takes that of scipy, and another one may divide the errors otherwise.
  """
  old = np.asarray(old, bool).ravel()
  true, predicted = _pair(true, predicted, "own")
  require(old.shape == true.shape, "labels.old", old.shape, f"give one bool a sample: {true.shape}")
  require(version in ("v1", "v2"), "labels.version", version, "choose 'v1' or 'v2'")
  right = _right(true, predicted) if version == "v2" else np.zeros(len(true), bool)
  for part in (old, ~old) if version == "v1" else ():
    if part.any():
      right[part] = _right(true[part], predicted[part])
  mean = lambda part: float(right[part].mean()) if part.any() else float("nan")
  return Split(float(right.mean()), mean(old), mean(~old))


def nmi(true, predicted, noise: str = "own") -> float:
  """Mutual information over the arithmetic mean of the entropies, in [0, 1]; 1 if both have one cluster only."""
  mutual, classes, clusters = _information(true, predicted, noise)
  mean = (classes + clusters) / 2
  return float(np.clip(mutual / mean, 0, 1)) if mean > 0 else 1.0


def homogeneity(true, predicted, noise: str = "own") -> float:
  """How far each cluster holds one class only, in [0, 1]: mutual information over the entropy of the classes."""
  mutual, classes, _ = _information(true, predicted, noise)
  return float(np.clip(mutual / classes, 0, 1)) if classes > 0 else 1.0


def completeness(true, predicted, noise: str = "own") -> float:
  """How far each class lies in one cluster only, in [0, 1]: mutual information over the entropy of the clusters."""
  return homogeneity(predicted, true, noise)


def v_measure(true, predicted, beta: float = 1.0, noise: str = "own") -> float:
  """The harmonic mean of homogeneity and completeness, in [0, 1]; a beta above 1 gives completeness more weight."""
  h, c = homogeneity(true, predicted, noise), completeness(true, predicted, noise)
  return (1 + beta) * h * c / (beta * h + c) if h + c > 0 else 0.0


def ari(true, predicted, noise: str = "own") -> float:
  """Adjusted Rand index of Hubert & Arabie, in [-0.5, 1]; 0 is chance."""
  together, rows, columns, every = _pairs(true, predicted, noise)
  expected = rows * columns / max(every, 1.0)
  most = (rows + columns) / 2
  return float((together - expected) / (most - expected)) if most != expected else 1.0


def fowlkes_mallows(true, predicted, noise: str = "own") -> float:
  """Geometric mean of the precision and recall of pairs that lie together, in [0, 1]; 0 if no pair does in both."""
  together, rows, columns, _ = _pairs(true, predicted, noise)
  return float(np.sqrt(together / rows) * np.sqrt(together / columns)) if together > 0 else 0.0


def purity(true, predicted, noise: str = "own") -> float:
  """Share of samples that belong to the largest class of their cluster, in (0, 1]."""
  table = contingency(true, predicted, noise)
  return float(table.max(0).sum() / table.sum())


def _pair(true, predicted, noise: str) -> tuple[np.ndarray, np.ndarray]:
  true, predicted = given.labels(true), given.labels(predicted)
  require(len(true) == len(predicted) > 0, "labels", (true.shape, predicted.shape), "give two labellings of one length")
  internal.check_noise(noise)
  if noise == "drop":
    kept = (true != -1) & (predicted != -1)
    require(bool(kept.any()), "labels", "noise only", "give at least one sample that is not noise in either labelling")
    true, predicted = true[kept], predicted[kept]
  return true, predicted


def _right(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
  """bool `[n]`: which samples are right under the best map."""
  from scipy.optimize import linear_sum_assignment

  classes, a = np.unique(true, return_inverse=True)
  clusters, b = np.unique(predicted, return_inverse=True)
  rows, columns = linear_sum_assignment(-contingency(true, predicted))
  chosen = np.zeros((len(classes), len(clusters)), bool)
  chosen[rows, columns] = True
  return chosen[a, b]


def _information(true, predicted, noise: str) -> tuple[float, float, float]:
  """Mutual information and the entropies of classes and clusters, in nats."""
  table = contingency(true, predicted, noise)
  joint = table / table.sum()
  a, b = joint.sum(1), joint.sum(0)
  outer, seen = np.outer(a, b), joint > 0
  return float(np.sum(joint[seen] * np.log(joint[seen] / outer[seen]))), _entropy(a), _entropy(b)


def _pairs(true, predicted, noise: str) -> tuple[float, float, float, float]:
  """Pairs of samples that lie together in both labellings, in the first, in the second; and all. In float64."""
  table = contingency(true, predicted, noise).astype(np.float64)
  pairs = lambda counts: float(np.sum(counts * (counts - 1)) / 2)
  return pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(table.sum())


def _entropy(p: np.ndarray) -> float:
  p = p[p > 0]
  return float(-np.sum(p * np.log(p)))
