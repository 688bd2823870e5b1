"""Gradient difference: ascend on the forget set, descend on the retain set.

Source: Liu, Liu and Stone, "Continual Learning and Private Unlearning", 2022; in the form used for language
models by Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, section 3.2:

  loss = -gamma nll(forget) + alpha nll(retain), both means over target tokens.

The forget part has no lower bound, so it overshoots: look at the nll beside the accuracy.
"""

from __future__ import annotations

from typing import Any

from ue_jax.core.build import with_options
from ue_jax.core.procedure import Procedure
from ue_jax.forget import shared
from ue_jax.train import likelihood


def method(
  gamma: float = 1.0,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  With `retain="kl"` it is the KL-min baseline, with `none` plain gradient ascent.

  Args:
    gamma: coefficient of the ascent; may be traced.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, retain, keep, optimizer, clip, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until,
      watch.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """
  forget = lambda look, part, _: likelihood.nll_term(look(part), part, -gamma)
  return shared.procedure(forget, lambda _: {}, **options)


method.__signature__ = with_options(method, shared.procedure)
