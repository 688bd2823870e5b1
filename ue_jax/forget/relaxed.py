"""A request in which every sample is asked to be forgotten a little: with weight w in [0, 1], and kept with 1 - w.

Methods weigh samples by the `mask` of their batches, so any of them answers such a request: all of the training set is
in both `forget` and `retain`, and the masks are multiplied by w and 1 - w.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.forget import vision


def everything(request: Request, within: str = "train", label: str = "label") -> Request:
  """The request to forget, and to keep, all of `within`: with weights w and 1 - w that is what w asks for.

  Raises:
    Invalid: without that set or labelling, or for anything but pictures.
  """
  require(within in request.data.sets, "select.within", within, f"choose one of {sorted(request.data.sets)}")
  data, rows = request.data, request.data.sets[within]
  sets = {**data.sets, "forget": rows, "retain": rows, "train": rows}
  found = request._replace(data=Data(data.arrays, sets, data.info))
  vision.check(found, ("forget", "retain"), label)
  return found


def lean(batch: Mapping[str, Any], data: Data) -> dict[str, Any]:
  """A batch of the lower level without its pictures; `row` int32 `[b]` says where in the set they are.

  Its mask is called `seen`: stacked steps are not samples, and must not be padded as if they were.

  Raises:
    Invalid: for a part that has neither `row` nor `index`.
  """
  if "image" not in batch:
    return {name: lean(part, data) if isinstance(part, Mapping) else part for name, part in batch.items()}
  rest = {"seen" if name == "mask" else name: part for name, part in batch.items() if name != "image"}
  if "row" not in rest:
    fix = "choose a method whose batches are parts 'retain' and 'forget', or rows with an 'index'"
    require("index" in batch, "select.lower", sorted(batch), fix)
    known = data.arrays["index"][np.asarray(data.sets["train"])]
    order = np.argsort(known)
    rest["row"] = order[np.searchsorted(known, batch["index"], sorter=order)].astype(np.int32)
  return rest


def fill(batch: Mapping[str, Any], images: jax.Array, weight: jax.Array, side: str = "") -> dict[str, Any]:
  """The batch with its pictures again, its mask times w in the part `forget` and times 1 - w elsewhere.

  Args:
    batch: of `lean`.
    images: `[n, h, w, c]` of the whole set.
    weight: w of each of its samples, float32 `[n]`.
    side: the name of this part.
  """
  if "row" not in batch:
    inside = lambda name, part: fill(part, images, weight, name) if isinstance(part, Mapping) else part
    return {name: inside(name, part) for name, part in batch.items()}
  mine = weight[batch["row"]]
  rest = {name: part for name, part in batch.items() if name != "seen"}
  return {**rest, "image": images[batch["row"]], "mask": batch["seen"] * (mine if side == "forget" else 1 - mine)}
