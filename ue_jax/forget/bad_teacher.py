"""Bad teacher: what is to be forgotten is learned from a teacher that knows nothing, the rest from the model itself.

Source: Chundawat et al., "Can Bad Teaching Induce Forgetting? Unlearning in Deep Neural Networks Using an Incompetent
Teacher", AAAI 2023. With a freshly initialised network on D_f and the model before unlearning on a part of D_r, both
shuffled together, the loss is the mean over samples of KL(teacher || student) at one temperature.

The released loss is a mean over samples AND classes, so its rate is that of this one divided by the number of classes:
`elementwise=True`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import mixed, requests, vision
from ue_jax.train import likelihood, losses


def method(
  share: float = 0.3,
  temperature: Any = 1.0,
  elementwise: bool = False,
  batch_size: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`; no labels. For picture classifiers.

  Args:
    share: of what is kept that is looked at, in (0, 1], drawn once.
    temperature: of both distributions, > 0; may be traced.
    elementwise: True divides the loss by the number of classes, as the released code does.
    batch_size: samples a step; a smaller union gives all it has.
    keep: the sets that are kept, taken together.
    label: the labelling, whose classes the model knows.
    options: those of `vision.procedure`: rate, steps, optimizer, momentum, weight_decay, clip, schedule, milestones,
      drop, trainable.

  Raises:
    Invalid: for numbers out of range; at `init` for data without the sets.
  """
  good = not isinstance(temperature, (int, float)) or temperature > 0
  require(good, "method.temperature", temperature, "give a positive number")

  def start(key, request):
    vision.check(request, ("forget", *keep), label)
    subject = request.subject
    bad = subject.model.init(key, request.data.arrays["image"][:1])
    frozen = requests.frozen(request, good=(subject.params, subject.state), bad=bad)
    return subject.params, subject.state, frozen

  def objective(params, state, frozen, batch, key):
    del key
    part = batch["mixed"]
    look = lambda tree, state: likelihood.logits(frozen["apply"], tree, state, part)
    student, forgotten = look(params, state), part["forgotten"][:, None] > 0
    teacher = jnp.where(forgotten, look(*frozen["bad"]), look(*frozen["good"]))
    value = losses.kl(teacher / temperature, student / temperature)
    scale = 1 / student.shape[-1] if elementwise else 1.0
    return {"teachers": Term(jnp.sum(value * part["mask"]), jnp.sum(part["mask"]), scale)}, state

  draw = mixed.together(batch_size, label, keep, share=share)
  return vision.procedure(objective, start, draw, requests.finish, **options)


method.__signature__ = with_options(method, vision.procedure)
