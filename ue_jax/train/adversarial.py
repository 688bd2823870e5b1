"""Adversarial training: each step trains on pictures that are moved to make the loss large (Madry et al., ICLR 2018).

"Towards Deep Learning Models Resistant to Adversarial Attacks", equation 2.1. It is the countermeasure that undoes most
additive noise. Pictures are attacked after the augmentation, by the network as it is, in evaluation mode.
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
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model, classes_of
from ue_jax.parallel import spread
from ue_jax.train import losses, pgd, supervised


def train(
  model: Model,
  *,
  label: str = "label",
  eps: Any = 4 / 255,
  step_size: Any = None,
  attack_steps: int = 10,
  norm: str = "linf",
  restarts: int = 1,
  augment: Sequence[str | Augment] = (),
  **options: Any,
) -> Procedure:
  """Data -> Subject: minimises the cross entropy on attacked pictures; takes every argument of `supervised.train`, too.

  Args:
    model, label, augment, options: see `supervised.train`.
    eps: budget of the attack in units of [0, 1]; may be traced, as may step_size. At 0 it is `supervised.train`, bit by
      bit but for the rounding of augmentations that blend.
    step_size: of a step of the attack; None: eps / 5 for `linf` (0.8 at 4, as usual), else 2.5 eps / attack_steps.
    attack_steps: static; 10 cost eleven times plain training.
    norm: `linf`, or `l2` of a whole picture.
    restarts: of the attack, from random places of the ball.

  Metrics: those of `supervised.train`, on the attacked pictures. Its probes are of pictures as they are.

  Raises:
    Invalid: for arguments out of range, or what `supervised.train` refuses.
  """
  require(norm in pgd.NORMS, "train.norm", norm, f"choose one of {list(pgd.NORMS)}")
  if isinstance(eps, (int, float)):
    require(0 <= eps < float("inf"), "train.eps", eps, "give a number >= 0, such as 4/255")
  for field, count in (("attack_steps", attack_steps), ("restarts", restarts)):
    require(isinstance(count, int) and count >= 1, f"train.{field}", count, "give a whole number >= 1")
  plain = supervised.train(model, label=label, **options)
  change = augments.build(augment) if augment else None

  def step(state, batch, axis=None):
    key = spread.local_key(jax.random.fold_in(state.key, state.step), axis)
    images, targets = augmented(change, model, state, batch, label, axis)
    attack = jax.random.fold_in(key, 2)  # 0 and 1 are the parts of `supervised.objective`: pictures and network
    delta = perturb(
      model, state.params, state.state, images, targets, eps, attack, step_size, attack_steps, norm, restarts
    )  # fmt: skip
    return plain.step(state, {**batch, "image": images + delta, label: targets}, axis)

  return plain._replace(step=step)


def augmented(change: Augment | None, model: Model, state: Any, batch: Any, label: str, axis: str | None) -> tuple:
  """Pictures as floats and targets of a step, as the objective of `supervised` draws them from the same state."""
  images, targets = pictures.to_float(batch["image"]), batch[label]
  if change is None:
    return images, targets
  key = spread.local_key(jax.random.fold_in(state.key, state.step), axis)
  targets = jax.nn.one_hot(targets, classes_of(model, state.params, state.state, images), dtype=jnp.float32)
  return change(jax.random.split(key)[0], images, targets)


def perturb(
  model: Model,
  params: Any,
  state: Any,
  images: jax.Array,
  targets: jax.Array,
  eps: Any,
  key: jax.Array,
  step_size: Any = None,
  steps: int = 10,
  norm: str = "linf",
  restarts: int = 1,
) -> jax.Array:
  """Perturbations `[b, h, w, c]` that make the cross entropy large, by projected gradient ascent from random starts.

  Args:
    model, params, state: run in evaluation mode.
    images: bytes or floats in [0, 1], `[b, h, w, c]`; the attacked ones stay in [0, 1].
    targets: int `[b]`, or soft float `[b, classes]`.
    eps, step_size, steps, norm, restarts: as in `train`.
  """
  images = pictures.to_float(images)
  size = eps * (0.2 if norm == "linf" else 2.5 / steps) if step_size is None else step_size

  def loss(delta, key):
    del key
    out = model.apply(params, images + delta, state=state, train=False)
    return losses.cross_entropy(out.logits, targets)

  return pgd.ascend(
    loss, images, "uniform", eps, size, steps, norm, key, restarts, convolutional=model.convolutional
  )  # fmt: skip


train.__signature__ = with_options(train, supervised.train)
