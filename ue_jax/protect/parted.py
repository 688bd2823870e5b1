"""Pictures that are crafted in parts, one part after another, to bound the memory."""

from __future__ import annotations

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.protect import publish


def rows(data: Data, copies: bool) -> np.ndarray:
  """The rows of the Data that get a perturbation, int32: those of `train`, with `copies` also those of `test`."""
  train, test = publish.set_rows(data, "train"), np.asarray(data.sets.get("test", ()), np.int32)
  return np.concatenate([train, np.setdiff1d(test, train)]) if copies else train


def size(n: int, parts: int) -> int:
  """How many of n pictures are in a part: large parts are whole multiples of 8, so that devices can share them."""
  each = -(-n // parts)
  return each if each < 64 else -(-each // 8) * 8
