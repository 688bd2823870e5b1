"""Weighted gradient ascent: each token pushed by a function of its own probability; WGA and SatImp.

Source: Wang et al., "Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond", 2025 (WGA: p^b1), and
Yang et al., "Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning", 2025 (SatImp: p^b1 (1 - p)^b2):

  loss = mean over target tokens of p^b1 (1 - p)^b2 log p, with the weight a constant for the gradient.

p^b1 takes the push away from what is forgotten already, (1 - p)^b2 from what is certain. b1 = b2 = 0 is gradient
ascent.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.build import with_options
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import shared
from ue_jax.train import likelihood, losses


def method(
  b1: float = 5.0,
  b2: float = 1.0,
  gamma: float = 1.0,
  alpha: float = 0.1,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  WGA: `b1=1, b2=0, alpha=1`. SatImp's authors: b1 5, b2 1, and gamma 1, alpha .1 to take memorisation away.

  Args:
    b1: power of the probability, >= 0; may be traced, like the numbers after it.
    b2: power of one minus the probability, >= 0.
    gamma: coefficient of the forget term.
    alpha: coefficient of the retain term.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, retain, keep, optimizer, clip, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until,
      watch.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """
  forget = lambda look, part, _: loss(*likelihood.target_logits(look(part), part), b1, b2, gamma)
  return shared.procedure(forget, lambda _: {}, alpha=alpha, **options)


method.__signature__ = with_options(method, shared.procedure)


def loss(
  logits: jax.Array, targets: jax.Array, mask: jax.Array, b1: jax.Array | float, b2: jax.Array | float,
  scale: jax.Array | float = 1.0,
) -> Term:  # fmt: skip
  """The forget term: mean over targets of weight times log p; it falls with p.

  Args:
    logits: float `[..., v]`, that the targets are predicted from.
    targets: int32 `[...]`.
    mask: float32 `[...]`, 1 where there is a target.
    b1, b2: see `method`.
    scale: the term's coefficient.
  """
  log_p = -losses.cross_entropy(logits, targets)
  left = -jnp.expm1(jnp.minimum(log_p, 0.0))  # 1 - p
  weight = jax.lax.stop_gradient(jnp.exp(b1 * log_p) * jnp.where(left > 0, left, 0.0) ** b2)
  return Term(jnp.sum(weight * log_p * mask), jnp.sum(mask), scale)
