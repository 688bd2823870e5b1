"""Wrong labels: a share of a set is moved to another class, as annotators do."""

from __future__ import annotations

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import stream


def labels(data: Data, share: float, seed: int = 0, *, label: str = "label", within: str = "train") -> Data:
  """The data with a random `share` of the set `within` labelled as another class, each of the others equally likely.

  Adds the set `noisy`: the rows whose label was moved. Only the labelling `label` changes; unchanged for share 0.

  Raises:
    Invalid: for a share outside [0, 1), one that moves no row, or fewer than two classes.
  """
  if share == 0:
    return data
  rows, classes = np.asarray(data.sets[within]), len(data.info["labels"][label])
  count = round(float(share) * len(rows)) if 0 <= share < 1 else 0
  require(count > 0, "data.noise", share, f"give a share below 1 of {len(rows)} rows that is at least one row, or 0")
  require(classes > 1, "data.noise", share, f"'{label}' has one class only: there is no other")
  moved = np.sort(rows[stream.permutation(seed, "noisy/rows", len(rows))[:count]]).astype(np.int32)
  further = 1 + stream.integers(seed, "noisy/classes", classes - 1, count)
  wrong = np.array(data.arrays[label])
  wrong[moved] = (wrong[moved] + further) % classes
  return Data({**data.arrays, label: wrong}, {**data.sets, "noisy": moved}, data.info)
