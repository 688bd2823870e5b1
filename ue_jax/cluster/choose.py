"""How many clusters: an index over several numbers of clusters, and the best of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ue_jax.cluster import gmm, internal, k_means
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.train.batches import array_of, data_of

INDICES = {  # index -> whether the highest or the lowest value is best
  "silhouette": "high", "simplified_silhouette": "high", "calinski_harabasz": "high", "davies_bouldin": "low",
  "elbow": "high", "bic": "low", "aic": "low",
}  # fmt: skip
CRITERIA = ("bic", "aic")  # of mixtures
RANGES = {  # index -> its lowest and highest value, and the best; the others have no bounds
  "silhouette": (-1.0, 1.0, 1.0), "simplified_silhouette": (-1.0, 1.0, 1.0), "elbow": (-1.0, 1.0, 1.0),
  "davies_bouldin": (0.0, np.inf, 0.0),
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
  return compare(x, ks, (index,), key=key, restarts=restarts, covariance=covariance, fit=fit)[index]


def compare(
  x, ks: Sequence[int], indices: Sequence[str], *, key, restarts: int = 4, covariance: str = "full", reg: float = 1e-6,
  fit: Callable[[Any, int, jax.Array], Clustering] | None = None,
) -> dict[str, Choice]:  # fmt: skip
  """`select_k` by several indices, of one and the same clustering (and mixture) a k: index -> Choice.

  Args:
    indices: of `INDICES`.
    reg: floor of the variances of the mixtures, see `gmm.fit`.
  """
  for index in indices:
    require(index in INDICES, "cluster.index", index, f"choose one of {sorted(INDICES)}")
  ks = np.unique(np.asarray(ks, np.int32))
  require(len(ks) > 0 and 1 <= ks[0] and ks[-1] <= len(x), "cluster.ks", ks.tolist(), f"choose from 1 to {len(x)}")
  mixtures = [index for index in indices if index in CRITERIA]
  require(fit is None or not mixtures, "cluster.fit", fit, f"leave it out: {mixtures} are of mixtures")
  groups = [index for index in indices if index not in CRITERIA]
  chosen = {}
  if mixtures:
    made = [gmm.fit(x, k, key=_key(key, k), covariance=covariance, reg=reg, restarts=restarts) for k in ks.tolist()]
    found, judged = zip(*made)
    for index in mixtures:
      chosen[index] = _choice(index, ks, found, [float(getattr(one, index)) for one in judged])
  if groups:
    fit = fit or (lambda x, k, key: k_means.fit(x, k, key=key, restarts=restarts))
    made = [fit(x, k, _key(key, k)) for k in ks.tolist()]
    for index in groups:
      judge = None if index == "elbow" else getattr(internal, index)
      chosen[index] = _choice(index, ks, made, judge and [judge(x, one.labels) for one in made])
  return {index: chosen[index] for index in indices}


def measure(
  ks: Sequence[int] = tuple(range(2, 16)), indices: Sequence[str] = ("elbow", "silhouette", "bic"),
  array: str = "image", label: str = "label", restarts: int = 4, covariance: str = "diag", reg: float = 1e-2,
) -> Procedure:  # fmt: skip
  """Request or Data -> Scores: every index as a curve over the numbers of clusters, and the number it chooses.

  The scores `index @ k clusters` are the points of the curves; `clusters by index` are the numbers that are chosen.

  Args:
    ks: numbers of clusters to try.
    indices: of `INDICES`.
    array: the array whose rows are the points.
    label: the labelling whose number of classes should be found; empty: there is none, and the target is the median of
      what the indices choose.
    restarts, covariance, reg: see `compare`.
  """

  def score(key, problem: Any) -> Scores:
    data = data_of(problem)
    found = compare(
      k_means.matrix(data, array), ks, indices, key=key, restarts=restarts, covariance=covariance, reg=reg
    )
    out = {}
    for index, choice in found.items():
      low, high, best = RANGES.get(index, (-np.inf, np.inf, None))
      best = choice.values[choice.ks.tolist().index(choice.k)] if best is None else best
      for k, value in zip(choice.ks.tolist(), choice.values.tolist()):
        out[f"{index} @ {k} clusters"] = Score(value, data.n, INDICES[index], float(best), low, high)
    chosen = [choice.k for choice in found.values()]
    target = len(np.unique(np.asarray(array_of(data, label)))) if label else float(np.median(chosen))
    for index, choice in found.items():
      out[f"clusters by {index}"] = Score(choice.k, data.n, "near", target, 1, data.n)
    return out

  return once(score)


def _key(key: jax.Array, k: int) -> jax.Array:
  return jax.random.fold_in(key, k)


def _choice(index: str, ks: np.ndarray, made: Sequence[Clustering], values: Sequence[float] | None) -> Choice:
  """The best of the clusterings `made` for `ks`; without values, by the elbow of their costs."""
  costs = np.array([float(found.cost) for found in made])
  values = _below_the_chord(ks, costs) if values is None else np.array(values, np.float64)
  worst = -np.inf if INDICES[index] == "high" else np.inf
  usable = np.where(np.isnan(values), worst, values)
  best = int(usable.argmax() if INDICES[index] == "high" else usable.argmin())
  return Choice(int(ks[best]), made[best], ks, values, costs)


def _below_the_chord(ks: np.ndarray, costs: np.ndarray) -> np.ndarray:
  """The height of the line between the ends over the curve, in units of the curve's height; 0 at both ends."""
  across = (ks - ks[0]) / max(ks[-1] - ks[0], 1)
  height = costs[0] - costs[-1]
  return (costs[0] - across * height - costs) / height if height > 0 else np.zeros(len(ks))
