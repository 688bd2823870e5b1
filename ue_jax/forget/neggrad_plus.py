"""NegGrad+: what is kept is descended on, what is forgotten ascended on, with weights that add up to 1.

Source: Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023, section 4 (their strong baseline):

  loss = alpha nll(retain) - (1 - alpha) nll(forget), means over samples, alpha between .95 and .9999.

That is gradient difference under another name, with gamma = 1 - alpha: nothing else is done here. Both sets go round
on their own, so the smaller one is cycled.
"""

from __future__ import annotations

from typing import Any

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.forget import graddiff, shared


def method(
  alpha: Any = 0.95,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and those of `keep`.

  Args:
    alpha: weight of what is kept, in [0, 1]; may be traced.
    options: the others of `shared.procedure`: rate, steps, forget_batch, retain_batch, retain, keep, optimizer, clip,
      label.

  Raises:
    Invalid: for an alpha out of range, an unknown retain term, or data without the sets.
  """
  require(not isinstance(alpha, (int, float)) or 0 <= alpha <= 1, "method.alpha", alpha, "give a number in [0, 1]")
  return graddiff.method(gamma=1 - alpha, alpha=alpha, **options)


method.__signature__ = with_options(method, shared.procedure)
