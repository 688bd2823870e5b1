"""Negative preference optimisation.

Source: Zhang, Lin, Bai and Mei, "Negative Preference Optimization: From Catastrophic Collapse to Effective
Unlearning", 2024, Eq. 3. With s the log-probability of a forget answer (summed over its tokens) and s0 the
same under the model before unlearning, the forget loss is the mean over samples of

  -(2 / beta) log sigmoid(-beta (s - s0)).

It starts at (2 / beta) log 2, its gradient is that of gradient ascent times 2 p^beta / (p^beta + p0^beta), so
samples that are forgotten already stop pushing; beta -> 0 is gradient ascent.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.forget import requests
from ue_jax.train import descend, likelihood, optim


def method(
  beta: float = 0.1,
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
    beta: inverse temperature, > 0; may be traced, like `gamma`, `alpha` and `rate`.
    gamma: coefficient of the forget loss.
    alpha: coefficient of the retain term.
    rate: learning rate.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    retain: `nll` of the retain batch, `kl` to the model before unlearning on it, or `none`.
    keep: the sets that the retain batches are drawn from, taken together.
    optimizer: a name that `train.optim.make` knows.
    label: the labelling to forget, for pictures.

  Raises:
    Invalid: for a beta that is not positive, an unknown retain term, or data without the sets.
  """
  require(not isinstance(beta, (int, float)) or beta > 0, "method.beta", beta, "give a positive number")
  sizes = requests.sizes(forget_batch, retain_batch, retain)

  def start(key, request):
    del key
    requests.check(request, ("forget",) if retain == "none" else ("forget", *keep), label)
    before = requests.reference_log_prob(request, "forget", label)  # one float a sample, computed once
    kept = requests.frozen(request, before=before, **requests.original_params(retain, request))
    return request.subject.params, request.subject.state, kept

  def objective(params, state, frozen, batch, key):
    del key
    forget = batch["forget"]
    s, n = likelihood.log_prob(likelihood.logits(frozen["apply"], params, state, forget), forget)
    terms = {"forget": loss(s, frozen["before"][forget["row"]], n, beta, gamma)}
    return terms | requests.retain_terms(retain, params, state, frozen, batch, alpha), state

  tx = optim.make(optimizer, rate, steps)
  draw = requests.batch(sizes, label, keep)
  return descend.descend(objective, tx, start=start, finish=requests.finish, batch=draw, steps=steps)


def loss(s: jax.Array, s0: jax.Array, n: jax.Array, beta: jax.Array | float, scale: jax.Array | float = 1.0) -> Term:
  """The forget term: mean over the samples that have targets (`n` > 0).

  Args:
    s, s0: float32 `[b]`, log-probability of the targets now and before unlearning.
    n: float32 `[b]`, number of targets; 0 is padding.
    beta: inverse temperature, > 0.
    scale: the term's coefficient.
  """
  return mean_term(-(2.0 / beta) * jax.nn.log_sigmoid(-beta * (s - s0)), (n > 0).astype(jnp.float32), scale)
