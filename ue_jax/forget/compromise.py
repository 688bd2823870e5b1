"""Plain ways to join a retain and a forget gradient: what `hamu` is compared with, on the same clipped gradients.

With g_r and g_f the gradients of the two losses and kappa their inner product, a step adds `rate` times

  retain      -g_r                                          fine-tuning (FT)
  ascent      g_f                                           gradient ascent (GA)
  difference  (g_f - g_r) / 2                               gradient difference (GDiff)
  gru         g_f, and if it conflicts g_f - kappa / |g_r|^2 g_r
  pcgrad      the mean of -g_r and g_f, each without its part along the other if they conflict

Two more that `hamu` is compared with are `difference` of other losses, with KL from the model before unlearning:

  KL     retain="kl"                  KL of D_r and the nll of D_f
  SCRUB  retain="both", forget="kl"   gamma nll + alpha KL of D_r and KL of D_f

At the model before unlearning KL is flat: the first step of KL is half of gradient ascent, the first of SCRUB half of
fine-tuning, and only from then on does SCRUB ascend. It has neither the temperature nor the phases of `scrub`.

Sources: Wang et al., "GRU: Mitigating the Trade-off between Unlearning and Retention for Large Language Models", 2025;
Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.

Ascent along g_f harms what is kept where kappa > 0, so that is the conflict. The code released with HAMU tests for
kappa < 0, where there is none: `released_sign`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import safe
from ue_jax.forget import two_gradients
from ue_jax.forget.hamu import inner

RULES = ("retain", "ascent", "difference", "gru", "pcgrad")


def method(rule: str = "difference", rate: Any = 1e-4, released_sign: bool = False, **options: Any) -> Procedure:
  """Request -> Subject; reads the sets `forget` and those of `keep` or `retain_sets`. For pictures and for tokens.

  Args:
    rule: `retain`, `ascent`, `difference`, `gru` or `pcgrad`, see above.
    rate: step size; may be traced.
    released_sign: of `gru` and `pcgrad`: whether they project where the released code does.
    options: the others of `two_gradients.procedure`: clip, steps, forget_batch, retain_batch, retain, forget, gamma,
      alpha, keep, label, optimizer, pairing, anchor, retain_sets.

  Raises:
    Invalid: for an unknown rule or numbers out of range; at `init` for data without the sets.
  """
  require(rule in RULES, "method.rule", rule, f"choose one of {RULES}")
  join = lambda g_r, g_f: joined(g_r, g_f, rate, rule, released_sign)
  return two_gradients.procedure(join, rate=rate, **options)


method.__signature__ = with_options(method, two_gradients.procedure)


def joined(
  g_r: Any, g_f: Any, rate: Any, rule: str, released_sign: bool = False
) -> tuple[Any, dict[str, jax.Array]]:
  """What to add to the parameters, and `kappa`, `conflict`, `forget_rise` and `retain_rise` as `hamu` has them."""
  kappa, rr, ff = (jnp.sum(inner(a, b, True)) for a, b in ((g_r, g_f), (g_r, g_r), (g_f, g_f)))
  conflict = (kappa < 0) if released_sign else (kappa > 0)
  off_r, off_f = (jnp.where(conflict, kappa / safe(size), 0.0) for size in (rr, ff))
  by_r, by_f = {  # the numbers of g_r and of g_f in the direction
    "retain": (-1.0, 0.0),
    "ascent": (0.0, 1.0),
    "difference": (-0.5, 0.5),
    "gru": (-off_r, 1.0),
    "pcgrad": (-(1.0 + off_r) / 2, (1.0 + off_f) / 2),
  }[rule]
  delta = jax.tree.map(lambda r, f: rate * (by_r * r + by_f * f), g_r, g_f)
  said = {"kappa": kappa, "conflict": conflict, "forget_rise": tree.dot(delta, g_f)}
  return delta, said | {"retain_rise": tree.dot(delta, g_r)}
