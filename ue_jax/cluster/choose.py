"""How many clusters: an index over several numbers of clusters, and the best of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ue_jax.cluster import gmm, internal, k_means
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering

INDICES = {  # index -> whether the highest or the lowest value is best
  "silhouette": "high", "simplified_silhouette": "high", "calinski_harabasz": "high", "davies_bouldin": "low",
  "elbow": "high", "bic": "low", "aic": "low",
}  # fmt: skip


class Choice(NamedTuple):
  """The best `k`, its `clustering`, and the `values` float64 of the index for all `ks` int32, for a curve.

  `costs` float64 are those of the clusterings: the curve in which the elbow is looked for.
  """

  k: int
  clustering: Clustering
  ks: np.ndarray
  values: np.ndarray
  costs: np.ndarray


def select_k(
  x, ks: Sequence[int], index: str = "silhouette", *, key, restarts: int = 4, covariance: str = "full",
  fit: Callable[[Any, int, jax.Array], Clustering] | None = None,
) -> Choice:  # fmt: skip
  """Clusters the rows of x `[n, d]` for every k of `ks`, and takes the best by `index`; of equal ones the smallest k.

  Args:
    x: float rows.
    ks: numbers of clusters to try, each 1 to n.
    index: one of `INDICES`. `elbow`: how far the curve of costs lies below the line between its ends, in units of its
      height. `bic` and `aic` are those of a mixture of Gaussians.
    key: PRNG key; k is folded into it, so that the value of one k does not depend on which others are tried.
    restarts: of each fit.
    covariance: of the mixtures.
    fit: `(x, k, key) -> Clustering`, in place of k-means (not for `bic` and `aic`).

  Raises:
    Invalid: for an unknown index, no k, or one out of range.
  """
  require(index in INDICES, "cluster.index", index, f"choose one of {sorted(INDICES)}")
  ks = np.unique(np.asarray(ks, np.int32))
  require(len(ks) > 0 and 1 <= ks[0] and ks[-1] <= len(x), "cluster.ks", ks.tolist(), f"choose from 1 to {len(x)}")
  require(fit is None or index not in ("bic", "aic"), "cluster.fit", fit, f"leave it out: '{index}' is of mixtures")
  made, values = [], []
  for k in ks.tolist():
    found, value = _one(x, k, index, jax.random.fold_in(key, k), restarts, covariance, fit)
    made.append(found)
    values.append(value)
  costs = np.array([float(found.cost) for found in made])
  values = _below_the_chord(ks, costs) if index == "elbow" else np.array(values)
  worst = -np.inf if INDICES[index] == "high" else np.inf
  usable = np.where(np.isnan(values), worst, values)
  best = int(usable.argmax() if INDICES[index] == "high" else usable.argmin())
  return Choice(int(ks[best]), made[best], ks, values, costs)


def _one(x, k, index, key, restarts, covariance, fit) -> tuple[Clustering, float]:
  if index in ("bic", "aic"):
    found, judged = gmm.fit(x, k, key=key, covariance=covariance, restarts=restarts)
    return found, float(getattr(judged, index))
  found = fit(x, k, key) if fit else k_means.fit(x, k, key=key, restarts=restarts)
  return found, float("nan") if index == "elbow" else getattr(internal, index)(x, found.labels)


def _below_the_chord(ks: np.ndarray, costs: np.ndarray) -> np.ndarray:
  """The height of the line between the ends over the curve, in units of the curve's height; 0 at both ends."""
  across = (ks - ks[0]) / max(ks[-1] - ks[0], 1)
  height = costs[0] - costs[-1]
  return (costs[0] - across * height - costs) / height if height > 0 else np.zeros(len(ks))
