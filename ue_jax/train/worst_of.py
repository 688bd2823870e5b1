"""Supervised training on the worst of several augmented copies of each picture.

This is the "max" of UEraser (Qin et al., "Learning the Unlearnable: Adversarial Augmentations Suppress Unlearnable
Example Attacks", 2023): a shortcut that some augmentation breaks no longer lowers the loss. The paper's other form,
the maximum for the first epochs and one copy afterwards, is this followed by `supervised.train` with `start`; its
"lite" form is `supervised.train` with `augment=("ueraser",)`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core import pictures
from ue_jax.core.errors import require
from ue_jax.core.nouns import Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Objective, mean_term
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model
from ue_jax.train import descend, losses, optim, supervised


def train(
  model: Model,
  *,
  copies: int = 5,
  augment: Sequence[str | Augment] = ("ueraser",),
  label: str = "label",
  train_set: str = "train",
  steps: int = 1000,
  batch_size: int = 128,
  rate: Any = 1e-3,
  optimizer: str = "adam",
  schedule: str = "constant",
  warmup: int = 0,
  final: Any = 0.0,
  weight_decay: Any = 0.0,
  momentum: Any = 0.9,
  clip: Any = 0.0,
  probe_sets: Sequence[str] = ("test",),
  every: int = 0,
  start: Subject | None = None,
) -> Procedure:
  """Data -> Subject: minimises the mean over pictures of the largest cross entropy of their augmented copies.

  A step costs `copies` times one of `supervised.train`, which it equals for one copy.

  Args:
    copies: how many augmented copies of every picture are looked at.
    augment: draws anew for each copy; functions or names as in `supervised.train`.
    label, train_set, steps, batch_size, probe_sets, every, start: see `supervised.train`.
    rate, optimizer, schedule, warmup, final, weight_decay, momentum, clip: see `optim.make`.

  Raises:
    Invalid: as `supervised.train`, and for a number of copies that is not whole and positive.
  """
  require(isinstance(copies, int) and copies >= 1, "train.copies", copies, "give a whole number >= 1")
  how = dict(schedule=schedule, warmup=warmup, final=final, weight_decay=weight_decay, momentum=momentum, clip=clip)
  plain = supervised.train(
    model, label=label, train_set=train_set, steps=steps, batch_size=batch_size, rate=rate, optimizer=optimizer,
    probe_sets=probe_sets, every=every, start=start, **how,
  )  # fmt: skip
  worst = objective(model, copies, augments.build(augment), label)
  step = functools.partial(descend.descent_step, worst, optim.make(optimizer, rate, max(steps, 1), **how))
  return plain._replace(step=step)


def objective(model: Model, copies: int, augment: Augment, label: str = "label") -> Objective:
  """The mean over pictures of their largest cross entropy among `copies`; the model runs in training mode.

  All copies run as one batch, so batch statistics are over all of them.
  """

  def terms(params, state, frozen, batch, key):
    """The Term `cross_entropy`, and the new model state."""
    del frozen
    image_key, model_key = jax.random.split(key)
    # the first copy draws as plain training does
    keys = [image_key, *(jax.random.fold_in(image_key, number) for number in range(1, copies))]
    images = pictures.to_float(batch["image"])
    targets = jax.nn.one_hot(batch[label], _classes(model, params, state, images), dtype=jnp.float32)
    several = jax.vmap(augment, (0, None, None))(jnp.stack(keys), images, targets)
    images, targets = (jnp.concatenate(part) for part in several)  # copy after copy
    out = model.apply(params, images, state=state, train=True, key=model_key)
    each = losses.cross_entropy(out.logits, targets).reshape(copies, -1)
    return {"cross_entropy": mean_term(jnp.max(each, axis=0), batch["mask"])}, out.state

  return terms


def _classes(model: Model, params: Any, state: Any, images: jax.Array) -> int:
  out = jax.eval_shape(lambda p, s, x: model.apply(p, x, state=s, train=False).logits, params, state, images)
  return out.shape[-1]
