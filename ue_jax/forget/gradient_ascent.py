"""Gradient ascent on the forget set, and nothing else: the baseline that destroys the model.

Source: Golatkar, Achille and Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020 (negative gradient,
classifiers); Jang et al., "Knowledge Unlearning for Mitigating Privacy Risks in Language Models", ACL 2023.
It is gradient difference without a retain term; collapse on everything else is what is expected of it. The loss has no
bound: `clip` keeps single steps short, and `cap` ends the ascent, at log(classes) where the model knows no more of
what it forgets than chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ue_jax.core.procedure import Procedure
from ue_jax.forget import capped, graddiff


def method(
  rate: float = 3e-4,
  steps: int = 30,
  forget_batch: int = 24,
  gamma: float = 1.0,
  optimizer: str = "adam",
  label: str = "label",
  trainable: str = ".*",
  lora: Mapping[str, Any] = {},
  until: Mapping[str, Any] = {},
  watch: Mapping[str, Any] = {},
  clip: float = 0.0,
  cap: float = float("inf"),
) -> Procedure:
  """Request -> Subject; reads the set `forget` only. For token sequences and for picture classifiers.

  Args:
    rate: learning rate; may be traced, like `gamma`.
    steps: optimiser steps; the loss has no lower bound, so this is what bounds the damage.
    forget_batch: samples a step; a smaller set gives all it has.
    gamma: coefficient of the loss.
    optimizer: a name that `train.optim.make` knows.
    label: the labelling to forget, for pictures.
    clip: the largest global norm of the gradient; 0 means no clipping. May be traced, like `cap`.
    cap: it stops before the first step whose batch has this nll or more.
    trainable, lora, until, watch: see `shared.procedure`.

  Raises:
    Invalid: for data without a set `forget`.
  """
  plain = graddiff.method(
    gamma=gamma, rate=rate, steps=steps, forget_batch=forget_batch, retain="none", optimizer=optimizer, clip=clip,
    label=label, trainable=trainable, lora=lora, until=until, watch=watch,
  )  # fmt: skip
  if isinstance(cap, float) and cap == float("inf"):
    return plain
  return capped.capped(plain, lambda metrics: metrics["forget"].total >= cap * metrics["forget"].weight)
