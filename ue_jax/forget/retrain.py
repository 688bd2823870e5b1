"""Exact unlearning: train again from scratch, on what is left.

It is slow and it is the standard that every other method is compared with (the control `reference`).
"""

from __future__ import annotations

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure


def method(train: Procedure) -> Procedure:
  """Request -> Subject: the procedure `train` (Data -> Subject) on data whose set `train` is `retain`.

  Nothing of the request's subject is used; rows of the forget set are never drawn.

  Args:
    train: the procedure that trained the subject, with the same settings.

  Raises:
    Invalid: if the data has no set `retain`.
  """
  probe = train.probe
  return train._replace(
    init=lambda key, request: train.init(key, without_forget(request)),
    finish=lambda state, request: train.finish(state, without_forget(request)),
    batch=lambda seed, request, t: train.batch(seed, without_forget(request), t),
    probe=None if probe is None else lambda state, request: probe(state, without_forget(request)),
  )


def without_forget(request: Request) -> Data:
  """The request's data with `retain` in the place of `train`; arrays are shared, not copied."""
  data = request.data
  require("retain" in data.sets, "method.sets", "retain", f"give data with this set; it has {sorted(data.sets)}")
  return Data(data.arrays, {**data.sets, "train": data.sets["retain"]}, data.info)
