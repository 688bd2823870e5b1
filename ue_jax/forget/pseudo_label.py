"""Pseudo-labels: what is to be forgotten is trained on as the likeliest class that stays.

Source: a baseline of the audit of Kim, Cha and Kim, "Are We Truly Forgetting?", 2025, from its released code: the
target of a sample is the class that the model before unlearning gives the largest logit among those outside the forget
set, and only the forget set is trained on. Where the forget set has samples of every class, as a random part does, it
is the likeliest but the sample's own.

It changes the last layer most: accuracies look forgotten early, while the features stay near the original's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.forget import shared, vision
from ue_jax.train import likelihood, supervised


def method(
  rate: Any = 1e-3,
  steps: int = 18,
  forget_batch: int = 64,
  optimizer: str = "adam",
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` only. For picture classifiers.

  Args:
    rate: learning rate; may be traced.
    steps: optimiser steps.
    forget_batch: samples a step; a smaller set gives all it has.
    optimizer: see `train.optim.make`.
    label: the labelling.

  Raises:
    Invalid: at `init`, for data without the set or the labelling.
  """

  def given(request):
    classes = vision.check(request, ("forget",), label)
    return {"target": targets(request, classes, label)}

  def forget(look, part, frozen):
    return likelihood.nll_term(look(part), part | {"label": frozen["target"][part["row"]]})

  return shared.procedure(
    forget, given, rate=rate, steps=steps, forget_batch=forget_batch, retain="none", optimizer=optimizer, label=label
  )


def targets(request: Request, classes: int, label: str = "label") -> jax.Array:
  """The likeliest class outside the forget set of every sample of `forget`, int32 `[m]`; above: if there is none."""
  rows, subject = np.asarray(request.data.sets["forget"]), request.subject
  labels, images = request.data.arrays[label][rows], request.data.arrays["image"][rows]
  gone = np.isin(np.arange(classes), labels)
  gone = labels[:, None] == np.arange(classes) if gone.all() else gone
  logits, _ = supervised.predict(subject.model, subject.params, subject.state, images)
  return jnp.asarray(np.where(gone, -np.inf, logits).argmax(-1), jnp.int32)
