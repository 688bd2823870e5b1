"""Adversarial training against a filter a class: each step trains on pictures that random filters have blurred worst.

The answer to `protect.cuda` that its authors tried themselves ("deconvolution-based adversarial training"): Sadasivan,
Soltanolkotabi, Feizi, "CUDA: Convolution-based Unlearnable Datasets" (CVPR 2023). In every step each class gets a fresh
random filter, which ascends the cross entropy of its pictures; they are then brought to [0, 1] and trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import safe
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.convolution import filtered
from ue_jax.models.model import Model, classes_of
from ue_jax.parallel import spread
from ue_jax.train import adversarial, losses, pgd, supervised

LIMIT = 5.0  # of an entry of a filter, as published


class Filters(NamedTuple):
  """A filter a class: `weight` float32 `[classes, size, size]`, `bias` float32 `[classes]`."""

  weight: jax.Array
  bias: jax.Array


def train(
  model: Model,
  *,
  label: str = "label",
  size: int = 3,
  step_size: Any = 0.1,
  attack_steps: int = 10,
  augment: Sequence[str | Augment] = (),
  **options: Any,
) -> Procedure:
  """Data -> Subject: minimises the cross entropy on filtered pictures; takes every argument of `supervised.train`, too.

  Args:
    model, label, augment, options: see `supervised.train`. Where an augmentation mixes pictures, the filter is that of
      the label that a picture came with.
    size: side of the filters, odd; published are 3, 5 and 7.
    step_size: of the ascent; may be traced.
    attack_steps: static; 10 cost eleven times plain training. At 0 filters are only random.

  Metrics: those of `supervised.train`, on the filtered pictures. Its probes are of pictures as they are.

  Raises:
    Invalid: for arguments out of range, or what `supervised.train` refuses.
  """
  require(isinstance(size, int) and size > 0 and size % 2 == 1, "train.size", size, "give an odd whole number")
  good = isinstance(attack_steps, int) and attack_steps >= 0
  require(good, "train.attack_steps", attack_steps, "give a whole number >= 0")
  if isinstance(step_size, (int, float)):
    require(0 <= step_size < float("inf"), "train.step_size", step_size, "give a number >= 0, such as 0.1")
  plain = supervised.train(model, label=label, **options)
  change = augments.build(augment) if augment else None

  def step(state, batch, axis=None):
    images, targets = adversarial.augmented(change, model, state, batch, label, axis)
    classes = classes_of(model, state.params, state.state, images)
    # the same on all devices; 0 and 1 are the parts of `supervised.objective`: pictures and network
    start = fresh(jax.random.fold_in(jax.random.fold_in(state.key, state.step), 2), classes, size)
    network = lambda x: model.apply(state.params, x, state=state.state, train=False).logits
    found = worst(
      network, start, images, targets, batch[label], batch["mask"], step_size, attack_steps, axis, model.convolutional
    )  # fmt: skip
    return plain.step(state, {**batch, "image": applied(found, images, batch[label]), label: targets}, axis)

  return plain._replace(step=step)


def fresh(key: jax.Array, classes: int, size: int) -> Filters:
  """Filters and biases drawn evenly from [-1 / size, 1 / size], how PyTorch begins with a transposed convolution."""
  of_weight, of_bias = jax.random.split(key)
  draw = lambda key, *shape: jax.random.uniform(key, shape, jnp.float32, -1 / size, 1 / size)
  return Filters(draw(of_weight, classes, size, size), draw(of_bias, classes))


def applied(filters: Filters, images: jax.Array, labels: jax.Array) -> jax.Array:
  """Pictures under the filters of their classes, float32 `[b, h, w, c]` from 0 to 1 exactly in every picture.

  Args:
    filters: all channels of a picture see the same one, flipped, as a transposed convolution does it.
    images: float `[b, h, w, c]`.
    labels: int `[b]`.

  A picture that a filter makes flat becomes black.
  """
  out = filtered(images, filters.weight[labels][:, ::-1, ::-1]) + pgd.of_pictures(filters.bias[labels])
  low, high = _ends(out)
  return (out - low) / jnp.where(high > low, high - low, 1)


def _ends(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The least and the greatest value of each picture, `[b, 1, 1, 1]`.

  Taken by their place: the slope of a maximum looks for what equals it, and finds nothing where a compiler computes the
  same number twice with other last bits.
  """
  flat = x.reshape(len(x), -1)
  at = lambda find: pgd.of_pictures(jnp.take_along_axis(flat, find(flat, axis=1)[:, None], axis=1)[:, 0])
  return at(jnp.argmin), at(jnp.argmax)


def worst(
  network, filters: Filters, images, targets, labels, mask, step_size, steps: int, axis=None, convolutional=False
) -> Filters:
  """Filters after gradient ascent on the mean cross entropy of each class's pictures; cut to +-`LIMIT` before a step.

  Args:
    network: float pictures -> logits `[b, classes]`.
    filters: to begin with.
    images: float `[b, h, w, c]`.
    targets: int `[b]`, or soft float `[b, classes]`.
    labels: int `[b]`, whose filter a picture gets.
    mask: float `[b]`, 0 for padding.
    step_size: times the gradient; may be traced.
    steps: static.
    axis: name of the mapped device axis: pictures of all devices count.
    convolutional: see `pgd.ascend`.
  """
  count = spread.allsum(jnp.zeros(len(filters.bias)).at[labels].add(mask), axis)
  share = mask / safe(count)[labels]

  def total(filters):
    return jnp.sum(share * losses.cross_entropy(network(applied(filters, images, labels)), targets))

  def one(t, filters):
    del t
    filters = jax.tree.map(lambda f: jnp.clip(f, -LIMIT, LIMIT), filters)
    slope = spread.allsum(jax.grad(total)(filters), axis)
    return jax.tree.map(lambda f, g: f + step_size * g, filters, slope)

  return pgd.repeat(one, filters, steps, convolutional)


train.__signature__ = with_options(train, supervised.train)
