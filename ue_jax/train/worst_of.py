"""Supervised training on the worst of several augmented copies of each picture.

This is the "max" of UEraser (Qin et al., "Learning the Unlearnable: Adversarial Augmentations Suppress Unlearnable
Example Attacks", 2023): a shortcut that some augmentation breaks no longer lowers the loss. The paper's other form,
the maximum for the first epochs and one copy afterwards, is this followed by `supervised.train` with `start`; its
"lite" form is `supervised.train` with `augment=("ueraser",)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core import pictures
from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Objective, mean_term
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model, classes_of
from ue_jax.train import losses, supervised


def train(
  model: Model,
  *,
  copies: int = 5,
  augment: Sequence[str | Augment] = ("ueraser",),
  label: str = "label",
  **options: Any,
) -> Procedure:
  """Data -> Subject: minimises the mean over pictures of the largest cross entropy of their augmented copies.

  A step costs `copies` times one of `supervised.train`, which it equals for one copy.

  Args:
    copies: how many augmented copies of every picture are looked at.
    augment: draws anew for each copy; functions or names as in `supervised.train`.
    model, label, options: see `supervised.train`, of which every argument is taken.

  Raises:
    Invalid: as `supervised.train`, and for a number of copies that is not whole and positive.
  """
  require(isinstance(copies, int) and copies >= 1, "train.copies", copies, "give a whole number >= 1")
  worst = objective(model, copies, augments.build(augment), label)
  return supervised.train(model, label=label, terms=worst, **options)


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
    targets = jax.nn.one_hot(batch[label], classes_of(model, params, state, images), dtype=jnp.float32)
    several = jax.vmap(augment, (0, None, None))(jnp.stack(keys), images, targets)
    images, targets = (jnp.concatenate(part) for part in several)  # copy after copy
    out = model.apply(params, images, state=state, train=True, key=model_key)
    each = losses.cross_entropy(out.logits, targets).reshape(copies, -1)
    return {"cross_entropy": mean_term(jnp.max(each, axis=0), batch["mask"])}, out.state

  return terms


train.__signature__ = with_options(train, supervised.train)
