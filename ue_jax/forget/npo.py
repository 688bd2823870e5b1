"""Negative preference optimisation.

Source: Zhang, Lin, Bai and Mei, "Negative Preference Optimization: From Catastrophic Collapse to Effective
Unlearning", 2024, Eq. 3. With s the log-probability of a forget answer (summed over its tokens) and s0 the
same under the model before unlearning, the forget loss is the mean over samples of

  -(2 / beta) log sigmoid(-beta (s - s0)).

It starts at (2 / beta) log 2, its gradient is that of gradient ascent times 2 p^beta / (p^beta + p0^beta), so
samples that are forgotten already stop pushing; beta -> 0 is gradient ascent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.forget import requests, shared
from ue_jax.train import likelihood


def method(
  beta: float = 0.1,
  gamma: float = 1.0,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  Args:
    beta: inverse temperature, > 0; may be traced, like `gamma`.
    gamma: coefficient of the forget loss.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, retain, keep, optimizer, clip, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until,
      watch.

  Raises:
    Invalid: for a beta that is not positive, an unknown retain term, or data without the sets.
  """
  return shared.procedure(*parts(beta, gamma, options.get("label", "label")), **options)


method.__signature__ = with_options(method, shared.procedure)


def parts(
  beta: jax.Array | float, gamma: jax.Array | float = 1.0, label: str = "label"
) -> tuple[shared.Forget, Callable[[Request], Mapping[str, Any]]]:
  """The forget term and what it reads, as `shared.procedure` and `shared.pieces` take them; see `method`."""
  require(not isinstance(beta, (int, float)) or beta > 0, "method.beta", beta, "give a positive number")
  before = lambda request: {"before": requests.reference_log_prob(request, "forget", label)}  # one float a sample, once

  def forget(look, part, frozen):
    s, n = likelihood.log_prob(look(part), part)
    return loss(s, frozen["before"][part["row"]], n, beta, gamma)

  return forget, before


def loss(s: jax.Array, s0: jax.Array, n: jax.Array, beta: jax.Array | float, scale: jax.Array | float = 1.0) -> Term:
  """The forget term: mean over the samples that have targets (`n` > 0).

  Args:
    s, s0: float32 `[b]`, log-probability of the targets now and before unlearning.
    n: float32 `[b]`, number of targets; 0 is padding.
    beta: inverse temperature, > 0.
    scale: the term's coefficient.
  """
  return mean_term(-(2.0 / beta) * jax.nn.log_sigmoid(-beta * (s - s0)), (n > 0).astype(jnp.float32), scale)
