"""Supervised training of picture classifiers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import pictures
from ue_jax.core.build import remembered
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Objective, mean_term
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model, classes_of
from ue_jax.train import batches, losses, optim
from ue_jax.train.descend import Descent, descend


@remembered
def train(
  model: Model,
  *,
  label: str = "label",
  train_set: str = "train",
  steps: int = 1000,
  until: int = 0,
  batch_size: int = 128,
  rate: Any = 1e-3,
  optimizer: str = "adam",
  schedule: str = "constant",
  warmup: int = 0,
  final: Any = 0.0,
  milestones: tuple[float, ...] = (0.5, 0.75),
  drop: Any = 0.1,
  weight_decay: Any = 0.0,
  momentum: Any = 0.9,
  nesterov: bool = False,
  clip: Any = 0.0,
  trainable: str = ".*",
  augment: Sequence[str | Augment] = (),
  probe_sets: Sequence[str] = ("test",),
  every: int = 0,
  start: Subject | None = None,
  terms: Objective | None = None,
) -> Procedure:
  """Data -> Subject: minimises the mean cross entropy of `model` on the labelling `label`.

  Args:
    model: its number of logits must be the number of classes in `data.info["labels"][label]`.
    label: name of the label array.
    train_set: the set to train on.
    steps: gradient steps; `batch_size` samples each.
    until: the step at which to stop, a point of the training of `steps` with the same bits; 0: at its end.
    rate, optimizer, schedule, warmup, final, milestones, drop, weight_decay, momentum, nesterov, clip: see
      `optim.make`.
    trainable: regular expression of the leaves to train; the others keep their bits.
    augment: functions `(key, images, targets) -> (images, targets)`, or names that `data.augment.build` knows, applied
      in order; images float32 `[b, h, w, c]` in [0, 1], targets float32 `[b, classes]`.
    probe_sets: sets whose accuracy is looked at every `every` steps and at the end, as `<set>_accuracy`. Sets
      that the data does not have are left out.
    start: a Subject to go on from, instead of a fresh initialisation.
    terms: what is minimised, in place of `objective(model, label, augment)`; not for configs.

  Raises:
    Invalid: for arguments out of range; at `init` for data without that label or set, or with another number of
      classes than the model.
  """
  require(isinstance(steps, int) and steps >= 0, "train.steps", steps, "give a whole number >= 0")
  good = isinstance(until, int) and 0 <= until <= steps
  require(good, "train.until", until, f"give a step of the training, at most {steps}, or 0")
  require(isinstance(batch_size, int) and batch_size >= 1, "train.batch_size", batch_size, "give a whole number >= 1")
  tx = optim.make(
    optimizer, rate, max(steps, 1), schedule=schedule, warmup=warmup, final=final, milestones=tuple(milestones),
    drop=drop, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, clip=clip, train=trainable,
  )  # fmt: skip

  def begin(key, problem):
    check_labels(model, problem, label, train_set)
    if start is not None:
      return start.params, start.state, {}
    return *model.init(key, problem.arrays["image"][:1]), {}

  def finish(params, state, problem):
    del problem
    return Subject(model, params, state)

  def probe(state: Descent, problem):
    return accuracies(model, state.params, state.state, problem, label, probe_sets)

  terms = objective(model, label, augments.build(augment) if augment else None) if terms is None else terms
  return descend(
    terms, tx, start=begin, finish=finish,
    batch=batches.epochs(train_set, batch_size, ("image", label)), steps=until or steps, probe=probe, every=every,
    convolutional=model.convolutional,
  )  # fmt: skip


def objective(model: Model, label: str = "label", augment: Augment | None = None) -> Objective:
  """The mean cross entropy as an Objective, after the augmentation; the model runs in training mode."""

  def terms(params, state, frozen, batch, key):
    """The Term `cross_entropy`, and the new model state."""
    del frozen
    image_key, model_key = jax.random.split(key)
    images, targets = pictures.to_float(batch["image"]), batch[label]
    if augment:
      targets = jax.nn.one_hot(targets, classes_of(model, params, state, images), dtype=jnp.float32)
      images, targets = augment(image_key, images, targets)
    out = model.apply(params, images, state=state, train=True, key=model_key)
    return {"cross_entropy": mean_term(losses.cross_entropy(out.logits, targets), batch["mask"])}, out.state

  return terms


def predict(
  model: Model, params: Any, state: Any, images: np.ndarray, batch_size: int = 512
) -> tuple[np.ndarray, np.ndarray]:
  """Logits float32 `[n, classes]` and features float32 `[n, width]` in evaluation mode, on the host.

  Runs in compiled chunks of one size (the last is padded and cut), so memory does not grow with n.
  """
  size = min(batch_size, len(images))
  require(size >= 1, "images", np.shape(images), "give at least one picture")
  found = []
  for first in range(0, len(images), size):
    part = images[first : first + size]
    missing = size - len(part)
    if missing:
      part = np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
    found.append(jax.device_get(_forward(model, params, state, part)))
  logits, features = (np.concatenate(parts)[: len(images)] for parts in zip(*found))
  return logits, features


def accuracies(
  model: Model, params: Any, state: Any, data: Data, label: str, sets: Sequence[str], batch_size: int = 512
) -> dict[str, np.float32]:
  """`<set>_accuracy` in [0, 1] for those of `sets` that the data has."""
  out = {}
  for name in sets:
    if name in data.sets:
      rows = np.asarray(data.sets[name])
      logits, _ = predict(model, params, state, data.arrays["image"][rows], batch_size)
      out[f"{name}_accuracy"] = np.float32(np.mean(logits.argmax(-1) == data.arrays[label][rows]))
  return out


def check_labels(model: Model, data: Data, label: str, train_set: str = "train") -> int:
  """The number of classes of the labelling.

  Raises:
    Invalid: without that array, its class names or the set, with labels out of range, or for another number of logits.
  """
  rows = batches.rows_of(data, train_set)
  batches.array_of(data, "image")
  names = data.info.get("labels", {})
  if label not in data.arrays or label not in names:
    raise Invalid("train.label", label, f"choose one of {sorted(set(names) & set(data.arrays))}")
  classes, labels = len(names[label]), data.arrays[label][rows]
  inside = labels.min() >= 0 and labels.max() < classes
  require(inside, f"data.arrays[{label}]", [int(labels.min()), int(labels.max())], f"keep it within 0..{classes - 1}")
  got = _fresh_classes(model, data.arrays["image"][:1])
  require(got == classes, "model.classes", got, f"'{label}' has {classes} classes: set it to {classes}")
  return classes


@functools.partial(jax.jit, static_argnums=0)
def _forward(model: Model, params: Any, state: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
  out = model.apply(params, images, state=state, train=False)
  return out.logits, out.features


def _fresh_classes(model: Model, images: np.ndarray) -> int:
  params, state = jax.eval_shape(model.init, jax.random.key(0), images)
  return classes_of(model, params, state, images)
