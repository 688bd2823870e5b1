"""What a forget set is made of: how much of it lies in other named sets, and how unlike the whole its classes are.

For sets that were chosen and not drawn (`forget.worst_case`): Fan et al., "Challenging Forgets", ECCV 2024, look for
wrong labels and for classes among the found samples. It judges the request and not the subject: every row of a table
has the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once


def measure(labels: Sequence[str] = ("label",)) -> Procedure:
  """Request -> Scores of its set `forget`, against the union of `forget` and `retain`, from which it was taken.

  - `<set>`: the share of `forget` that is in this set, for every other set with some rows of the union and not all; a
    random choice has the share of the union, which is the target.
  - `<labelling>/shift`: total variation distance of the class frequencies to those of the union, in [0, 1].

  Args:
    labels: the labellings to compare.

  Raises:
    Invalid: for data without one of the labellings or the two sets.
  """

  def score(key, request: Request) -> Scores:
    del key
    return composition(request.data, labels)

  return once(score)


def composition(data: Data, labels: Sequence[str] = ("label",)) -> dict[str, Score]:
  """The Scores of `measure`."""
  for name in ("forget", "retain"):
    require(name in data.sets, "measure.sets", name, f"give data with this set; it has {sorted(data.sets)}")
  forget = np.unique(data.sets["forget"])
  whole, out = np.union1d(forget, data.sets["retain"]), {}
  for name, rows in data.sets.items():
    inside = float(np.isin(whole, rows).mean())
    if name not in ("forget", "retain") and 0 < inside < 1:
      out[name] = Score(float(np.isin(forget, rows).mean()), len(forget), "near", inside)
  for label in labels:
    require(label in data.arrays, "measure.labels", label, f"choose from {sorted(data.info.get('labels', {}))}")
    mine, every = (_frequencies(data.arrays[label][rows], data.arrays[label]) for rows in (forget, whole))
    out[f"{label}/shift"] = Score(float(np.abs(mine - every).sum() / 2), len(forget), "low", 0.0)
  return out


def _frequencies(some: np.ndarray, of: np.ndarray) -> np.ndarray:
  return np.bincount(some, minlength=int(of.max()) + 1) / len(some)
