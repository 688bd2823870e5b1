"""KL minimisation: ascend on the forget set, and stay near the model before unlearning on the retain set.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, section 3.2:

  loss = -gamma nll(forget) + alpha mean over retain targets of KL(before || after).

The released code averages the KL over prompt and padding too. Here only targets count, or with `kl_over="all"` the
prompt too, and padding never. It is gradient difference with `retain="kl"`.
"""

from __future__ import annotations

from typing import Any

from ue_jax.core.build import with_options
from ue_jax.core.procedure import Procedure
from ue_jax.forget import graddiff


def method(gamma: float = 1.0, retain: str = "kl", **options: Any) -> Procedure:
  """Request -> Subject; reads the sets `forget` and those of `keep` or `retain_sets`.

  Args:
    gamma: coefficient of the ascent; may be traced.
    retain: as in `shared.procedure`; here the KL unless told otherwise.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, keep, optimizer, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until, watch.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """
  return graddiff.method(gamma=gamma, retain=retain, **options)


method.__signature__ = with_options(method, graddiff.method)
