"""Forget sets of a chosen hardness: a class of which a share is swapped for random other samples.

What is swapped out stays in what is kept, and what is swapped in resembles it: the more of both, the more the gradients
of the two sets agree, and the harder it is to forget one and keep the other.
Source: "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning", 2026, the experiments on pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import splits, stream


def select(
  classes: Sequence[int] = (0,), share: float = 0.25, label: str = "label", within: str = "train", seed: int = 0
) -> Procedure:
  """Request -> Request: the sets `forget` (the classes' rows, a share of them swapped) and `retain` (all others).

  Args:
    classes: of `label`.
    share: of their rows that gives way to as many random rows of other classes, 0 to 1: the hardness rho.
    label: the labelling.
    within: the set that is parted.
    seed: names the rows, so that every method is asked the same.

  Raises:
    Invalid: for a share outside [0, 1], too few other rows, or classes that `within` lacks.
  """
  require(0 <= share <= 1, "select.share", share, "give a share in [0, 1]")
  return once(lambda key, request: request._replace(data=swapped(request, classes, share, label, within, seed)))


def swapped(
  request: Request, classes: Sequence[int], share: float, label: str = "label", within: str = "train", seed: int = 0
) -> Data:
  """The request's data with the sets that `select` names."""
  data = splits.forget_classes(request.data, classes, label=label, within=within)
  gone, kept = np.asarray(data.sets["forget"]), np.asarray(data.sets["retain"])
  count = round(float(share) * len(gone))
  require(count < len(kept), "select.share", share, f"swap fewer rows than the {len(kept)} of other classes")
  out = gone[stream.permutation(seed, "swap/out", len(gone))[:count]]
  into = kept[stream.permutation(seed, "swap/in", len(kept))[:count]]
  forget = np.sort(np.concatenate([np.setdiff1d(gone, out), into])).astype(np.int32)
  retain = np.sort(np.concatenate([np.setdiff1d(kept, into), out])).astype(np.int32)
  return Data(data.arrays, {**data.sets, "forget": forget, "retain": retain}, data.info)
