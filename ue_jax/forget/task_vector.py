"""Task vectors: fine-tune on what is to be forgotten, and go the opposite way.

Source: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, section 3; as an unlearning baseline in Shi et
al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", 2024. With theta' what descending on the nll of
the forget set makes of theta, the answer is

  theta - scale (theta' - theta).

Nothing of the retain set is read, and `scale` is chosen afterwards: negate the same fine-tuning several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.forget import shared
from ue_jax.train import likelihood


def method(
  scale: float = 1.0,
  rate: float = 3e-4,
  steps: int = 30,
  forget_batch: int = 24,
  optimizer: str = "adam",
  label: str = "label",
  trainable: str = ".*",
  lora: Mapping[str, Any] = {},
  watch: Mapping[str, Any] = {},
) -> Procedure:
  """Request -> Subject; reads the set `forget` only. For token sequences and for picture classifiers.

  Args:
    scale: how far to go, as a multiple of the fine-tuning; 0 leaves the subject as it is. May be traced, like `rate`.
    rate: learning rate of the fine-tuning.
    steps: its steps.
    forget_batch: samples a step; a smaller set gives all it has.
    optimizer: a name that `train.optim.make` knows.
    label: the labelling to forget, for pictures.
    trainable, lora: see `shared.procedure`; what is negated is the merged change.
    watch: see `shared.procedure`; the curves are of the negated model, as it would be after so much fine-tuning.

  Raises:
    Invalid: for data without a set `forget`.
  """
  learn = lambda look, part, _: likelihood.nll_term(look(part), part)
  tuned = shared.procedure(
    learn, lambda _: {}, rate=rate, steps=steps, forget_batch=forget_batch, retain="none", optimizer=optimizer,
    label=label, trainable=trainable, lora=lora,
  )  # fmt: skip

  def finish(state: Any, request: Request) -> Subject:
    learned = tuned.finish(state, request)
    return learned._replace(params=negated(request.subject.params, learned.params, scale))

  return shared.wrapped(tuned._replace(finish=finish), watch=watch, label=label)


def negated(params: Any, learned: Any, scale: jax.Array | float) -> Any:
  """`params - scale (learned - params)`; where nothing was learned, and of leaves that are no floats, the same bits."""

  def one(before, after):
    if not jnp.issubdtype(before.dtype, jnp.floating):
      return before
    change = jnp.float32(1) * scale * (after.astype(jnp.float32) - before.astype(jnp.float32))
    return jnp.where(change == 0, before, (before.astype(jnp.float32) - change).astype(before.dtype))

  return jax.tree.map(one, params, learned)
