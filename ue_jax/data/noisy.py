"""Wrong labels: a share of a set, or of some of its classes, is moved to another class, as annotators do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import splits, stream


def labels(
  data: Data, share: float, seed: int = 0, *, classes: Sequence[int] = (), label: str = "label", within: str = "train"
) -> Data:
  """The data with a random `share` of the set `within` labelled as another class, each of the others equally likely.

  Adds the set `noisy`, the rows whose label was moved, and the labelling `correct_<label>`, which is that before. Only
  the labelling `label` changes; unchanged for share 0.

  Args:
    data: with the set and the labelling.
    share: in [0, 1).
    seed: names the rows and their new classes.
    classes: the share is one of each of these classes, and the others keep their labels; empty: one of the whole set.
    label: the labelling.
    within: the set.

  Raises:
    Invalid: for a share outside [0, 1), one that moves no row (of one of `classes`), classes without rows or without a
      share, or fewer than two classes.
  """
  require(share != 0 or not len(classes), "data.noise_classes", list(classes), "give the share data.noise, or no class")
  if share == 0:
    return data
  require(label in data.info.get("labels", {}), "data.noise", share, f"give data with the labelling '{label}', or 0")
  rows, of, number = np.asarray(data.sets[within]), data.arrays[label], len(data.info["labels"][label])
  count = round(float(share) * len(rows)) if 0 <= share < 1 else 0
  require(count > 0, "data.noise", share, f"give a share below 1 of {len(rows)} rows that is at least one row, or 0")
  require(number > 1, "data.noise", share, f"'{label}' has one class only: there is no other")
  if len(classes):
    names = dict(name="noisy/rows", field="data.noise", classes_field="data.noise_classes")
    moved = splits.of_classes(rows, of[rows], share, classes, seed, **names)
  else:
    moved = np.sort(rows[stream.permutation(seed, "noisy/rows", len(rows))[:count]]).astype(np.int32)
  further = 1 + stream.integers(seed, "noisy/classes", number - 1, len(moved))
  wrong, correct = np.array(of), f"correct_{label}"
  wrong[moved] = (wrong[moved] + further) % number
  named = {**data.info["labels"], correct: list(data.info["labels"][label])}
  arrays = {**data.arrays, label: wrong, correct: np.array(of)}
  return Data(arrays, {**data.sets, "noisy": moved}, {**data.info, "labels": named})
