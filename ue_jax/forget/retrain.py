"""Exact unlearning: train again from scratch, on what is left.

It is slow and it is the standard that every other method is compared with (the control `reference`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure
from ue_jax.forget import requests


def method(train: Procedure, keep: Sequence[str] = ("retain",), again: int = 0) -> Procedure:
  """Request -> Subject: the procedure `train` (Data -> Subject) on data whose set `train` is what is kept.

  Nothing of the request's subject is used. What is kept is drawn, and of the other sets that `train` draws from no row
  of the forget set.

  Args:
    train: the procedure that trained the subject, with the same settings.
    keep: the sets that are trained on, taken together: all of the training set but `forget`.
    again: 0 for the control itself; 1, 2, ... for further ones of the same seed, each with a start and an order of
      its own. How far they are apart is as near as any method can be asked to come.

  Raises:
    Invalid: if the data lacks one of them, or for a negative `again`.
  """
  require(again >= 0, "method.again", again, "give 0 or a positive whole number")
  probe = train.probe
  other = lambda key: jax.random.fold_in(key, again) if again else key
  order = lambda seed: int(np.random.SeedSequence([seed, again]).generate_state(1)[0]) if again else seed
  rest, whole = _remembered(lambda request: without_forget(request, keep)), _remembered(lambda r: _trained(r, keep))
  return train._replace(
    init=lambda key, request: train.init(other(key), rest(request)),
    finish=lambda state, request: train.finish(state, rest(request)),
    batch=lambda seed, request, t: train.batch(order(seed), rest(request), t),
    probe=None if probe is None else lambda state, request: probe(state, whole(request)),
  )


def without_forget(request: Request, keep: Sequence[str] = ("retain",)) -> Data:
  """The request's data with the sets `keep` in the place of `train`, and rows of `forget` in no other set.

  Sets of which nothing is left are not there. What is kept is taken at its word: where it is not known yet what will be
  forgotten, both sets are all that was trained on (`relaxed.everything`). Arrays are shared, not copied.
  """
  data = _trained(request, keep)
  left = {name: np.asarray(rows)[~np.isin(rows, data.sets.get("forget", ()))] for name, rows in data.sets.items()}
  left["train"] = data.sets["train"]
  return data._replace(sets={name: rows for name, rows in left.items() if len(rows)})


def _trained(request: Request, keep: Sequence[str]) -> Data:
  """The request's data with the sets `keep` in the place of `train`: what is looked at on the way."""
  data = requests.keep(request, keep).data
  return Data(data.arrays, {**data.sets, "train": data.sets["retain"]}, data.info)


def _remembered(make: Callable[[Request], Data]) -> Callable[[Request], Data]:
  """`make`, once for each data: what `train` makes of its data once (packed rows, say) is then made once, too."""
  seen: dict[str, Any] = {}

  def made(request: Request) -> Data:
    if seen.get("data") is not request.data:
      seen.update(data=request.data, made=make(request))
    return seen["made"]

  return made
