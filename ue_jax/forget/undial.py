"""Self-distillation from adjusted logits (UNDIAL): the model's own distribution, with the answer pushed down.

Source: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models",
2024: at every answer token the target is q = softmax(z0 - beta onehot(answer)), z0 the logits before unlearning, and
the forget loss is the cross entropy of q and the model. It has a minimum, so it cannot run away. The released code also
averages over prompt and padding; here only targets count.
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
  beta: float = 10.0,
  gamma: float = 1.0,
  retain: str = "none",
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the set `forget` and, unless `retain` is `none`, those of `keep` or `retain_sets`.

  Args:
    beta: how much the logit of the answer is lowered; the authors use 3 to 30. May be traced, like gamma.
    gamma: coefficient of the forget term.
    retain: as in `shared.procedure`; here without one unless asked.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, retain, keep, optimizer, clip, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until,
      watch.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """

  def forget(look, part, _):
    now, targets, mask = likelihood.target_logits(look(part), part)
    return loss(now, likelihood.target_logits(look(part, "params"), part)[0], targets, mask, beta, gamma)

  return shared.procedure(forget, lambda request: {"params": request.subject.params}, retain=retain, **options)


method.__signature__ = with_options(method, shared.procedure)


def loss(
  logits: jax.Array, before: jax.Array, targets: jax.Array, mask: jax.Array, beta: jax.Array | float,
  scale: jax.Array | float = 1.0,
) -> Term:  # fmt: skip
  """The forget term: mean over targets of the cross entropy of softmax(before - beta onehot) and the model.

  Args:
    logits, before: float `[..., v]`, that the targets are predicted from, now and before unlearning.
    targets: int32 `[...]`.
    mask: float32 `[...]`, 1 where there is a target.
    beta: see `method`.
    scale: the term's coefficient.
  """
  lowered = before.astype(jnp.float32) - beta * jax.nn.one_hot(targets, before.shape[-1], dtype=jnp.float32)
  wanted = jax.lax.stop_gradient(jax.nn.softmax(lowered, axis=-1))
  return Term(jnp.sum(losses.cross_entropy(logits, wanted) * mask), jnp.sum(mask), scale)
