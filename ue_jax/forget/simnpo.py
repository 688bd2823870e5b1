"""Simple negative preference optimisation: NPO without a reference model, on the mean nll of an answer.

Source: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", 2024, Eq. 4.
With s the log-probability of an answer of n tokens, the forget loss is the mean over samples of

  -(2 / beta) log sigmoid(beta (-s / n - delta)).

Dividing by n takes the preference for long answers away, and what is forgotten already stops pushing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term, safe
from ue_jax.forget import shared
from ue_jax.train import likelihood


def method(
  beta: float = 2.5,
  delta: float = 0.0,
  gamma: float = 1.0,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  The authors tune per task: beta 4.5, gamma .125 (TOFU, 10 %); 2.5, .1375 (5 %); beta .7 (MUSE), .1 (WMDP).

  Args:
    beta: inverse temperature, > 0; may be traced, like delta and gamma.
    delta: nll per token from which on an answer counts as forgotten.
    gamma: coefficient of the forget term.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, retain, keep, optimizer, clip, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until,
      watch.

  Raises:
    Invalid: for a beta that is not positive, an unknown retain term, or data without the sets.
  """
  require(not isinstance(beta, (int, float)) or beta > 0, "method.beta", beta, "give a positive number")
  forget = lambda look, part, _: loss(*likelihood.log_prob(look(part), part), beta, delta, gamma)
  return shared.procedure(forget, lambda _: {}, **options)


method.__signature__ = with_options(method, shared.procedure)


def loss(
  s: jax.Array, n: jax.Array, beta: jax.Array | float, delta: jax.Array | float = 0.0, scale: jax.Array | float = 1.0
) -> Term:
  """The forget term: mean over the samples that have targets.

  Args:
    s: float32 `[b]`, log-probability of the targets.
    n: float32 `[b]`, number of targets; 0 is padding.
    beta, delta: see `method`.
    scale: the term's coefficient.
  """
  nll = -s / safe(n)
  return mean_term(-(2.0 / beta) * jax.nn.log_sigmoid(beta * (nll - delta)), (n > 0).astype(jnp.float32), scale)
