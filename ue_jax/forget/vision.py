"""What the methods for picture classifiers share: the check of a request, and the descent with its settings.

All of them run the model as in evaluation (`requests`): batch statistics are read and never updated, so there is no
`freeze_bn` to set, and methods are compared under one setting. Some released codes train in training mode instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Objective
from ue_jax.forget import requests
from ue_jax.models.model import classes_of
from ue_jax.train import descend, optim


def check(request: Request, sets: Sequence[str], label: str = "label") -> int:
  """The number of classes of the labelling, if the request asks a classifier of pictures and has the `sets`.

  Raises:
    Invalid: for token sequences, a missing set or labelling, or a model with another number of logits.
  """
  requests.check(request, sets, label)
  data, subject = request.data, request.subject
  require("image" in data.arrays, "data.arrays", sorted(data.arrays), "give pictures: this method is for classifiers")
  classes = classes_in(data, label)
  for name in sets:
    told = data.arrays[label][np.asarray(data.sets[name])].min() >= 0
    require(bool(told), "method.label", label, f"it says no class of some pictures of the set '{name}'")
  got = classes_of(subject.model, subject.params, subject.state, data.arrays["image"][:1])
  require(got == classes, "model.classes", got, f"'{label}' has {classes} classes: give a model of as many logits")
  return classes


def classes_in(data: Data, label: str = "label") -> int:
  """The number of classes of a labelling.

  Raises:
    Invalid: if the data does not name them.
  """
  names = data.info.get("labels", {})
  require(label in names, "method.label", label, f"choose one of {sorted(names)}, the labellings of this data")
  return len(names[label])


def procedure(
  objective: Objective,
  start: Callable[[Any, Request], tuple[Any, Any, Any]],
  draw: Callable[[int, Any, int], Any],
  finish: Callable[[Any, Any, Request], Any],
  *,
  rate: Any = 1e-3,
  steps: int = 200,
  optimizer: str = "adam",
  momentum: Any = 0.9,
  weight_decay: Any = 0.0,
  clip: Any = 0.0,
  schedule: str = "constant",
  milestones: Sequence[float] = (0.5, 0.75),
  drop: Any = 0.1,
  trainable: str = ".*",
) -> Procedure:
  """Request -> Subject: follows the gradient of an objective from where `start` begins.

  Args:
    objective, start, draw, finish: see `train.descend.descend`; `draw` is its `batch`.
    rate: learning rate; may be traced, like the other numbers but `steps` and `milestones`.
    steps: optimiser steps.
    optimizer, momentum, weight_decay, clip, schedule, milestones, drop: see `train.optim.make`.
    trainable: regular expression of the leaves to train; the others keep their bits.
  """
  require(isinstance(steps, (int, np.integer)) and steps >= 0, "method.steps", steps, "give a whole number >= 0")
  tx = optim.make(
    optimizer, rate, max(steps, 1), momentum=momentum, weight_decay=weight_decay, clip=clip, schedule=schedule,
    milestones=tuple(milestones), drop=drop, train=trainable,
  )  # fmt: skip
  return descend.descend(objective, tx, start=start, finish=finish, batch=draw, steps=steps)
