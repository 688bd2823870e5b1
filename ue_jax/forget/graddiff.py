"""Gradient difference: ascend on the forget set, descend on the retain set.

Source: Liu, Liu and Stone, "Continual Learning and Private Unlearning", 2022; in the form used for language
models by Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, section 3.2:

  loss = -gamma nll(forget) + alpha nll(retain), both means over target tokens.

The forget part has no lower bound, so it overshoots: look at the nll beside the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

from ue_jax.core.procedure import Procedure
from ue_jax.forget import requests
from ue_jax.train import descend, likelihood, optim


def method(
  gamma: float = 1.0,
  alpha: float = 1.0,
  rate: float = 3e-4,
  steps: int = 60,
  forget_batch: int = 24,
  retain_batch: int = 48,
  retain: str = "nll",
  keep: Sequence[str] = ("retain",),
  optimizer: str = "adam",
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep`.

  Args:
    gamma: coefficient of the ascent; may be traced, like `alpha` and `rate`.
    alpha: coefficient of the retain term.
    rate: learning rate.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    retain: `nll` of the retain batch, `kl` to the model before unlearning on it (the KL-min baseline),
      or `none` (plain gradient ascent).
    keep: the sets that the retain batches are drawn from, taken together.
    optimizer: a name that `train.optim.make` knows.
    label: the labelling to forget, for pictures.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """
  sizes = requests.sizes(forget_batch, retain_batch, retain)

  def start(key, request):
    del key
    requests.check(request, ("forget",) if retain == "none" else ("forget", *keep), label)
    kept = requests.frozen(request, **requests.original_params(retain, request))
    return request.subject.params, request.subject.state, kept

  def objective(params, state, frozen, batch, key):
    del key
    now = likelihood.logits(frozen["apply"], params, state, batch["forget"])
    terms = {"forget": likelihood.nll_term(now, batch["forget"], -gamma)}
    return terms | requests.retain_terms(retain, params, state, frozen, batch, alpha), state

  tx = optim.make(optimizer, rate, steps)
  draw = requests.batch(sizes, label, keep)
  return descend.descend(objective, tx, start=start, finish=requests.finish, batch=draw, steps=steps)
