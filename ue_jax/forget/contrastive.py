"""Contrastive unlearning (CU): the classes to forget are drawn into each other, by their features.

Source: a baseline of the audit of Kim, Cha and Kim, "Are We Truly Forgetting?", 2025, from its released code. With
s_ij the cosine of the features (the inputs of the last linear layer) of two samples of D_f in a batch, and N_i those
whose class is not that of i:

  cross entropy over D_r + weight mean_i mean_{j in N_i} -log softmax_j(s_ij / temperature)

The softmax is over all samples of D_f in the batch, i too, whose s_ii is 1. A sample without others of another class
adds nothing and counts, as it does there. The contrast names nothing outside D_f: it draws several classes into one,
and does not say where that is to lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term, safe
from ue_jax.forget import requests, vision
from ue_jax.parallel import spread
from ue_jax.train import descend, likelihood, optim

TINY = 1e-12


def method(
  weight: Any = 1.0,
  temperature: Any = 1.0,
  rate: Any = 1e-3,
  steps: int = 200,
  forget_batch: int = 64,
  retain_batch: int = 64,
  optimizer: str = "adam",
  momentum: Any = 0.9,
  weight_decay: Any = 0.0,
  trainable: str = ".*",
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Over several devices features are gathered, so the pairs are those of the whole batch.

  Args:
    weight: coefficient of the contrast; may be traced, like the numbers after it but `steps` and sizes.
    temperature: of the softmax, > 0.
    rate: learning rate.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    optimizer, momentum, weight_decay: see `train.optim.make`.
    trainable: regular expression of the leaves to train; the others keep their bits.
    keep: the sets that are kept, taken together.
    label: the labelling.

  Raises:
    Invalid: for numbers out of range; at `init` for data without the sets or the labelling, or a set `forget` of one
      class, which has nothing to be drawn to.
  """
  good = not isinstance(temperature, (int, float)) or temperature > 0
  require(good, "method.temperature", temperature, "give a positive number")
  require(isinstance(steps, (int, np.integer)) and steps >= 0, "method.steps", steps, "give a whole number >= 0")
  tx = optim.make(optimizer, rate, max(steps, 1), momentum=momentum, weight_decay=weight_decay, train=trainable)
  draw = requests.batch(requests.sizes(forget_batch, retain_batch, "nll"), label, keep)

  def start(key, request):
    del key
    vision.check(request, ("forget", *keep), label)
    classes = np.unique(request.data.arrays[label][np.asarray(request.data.sets["forget"])])
    fix = "forget samples of two classes or more, or choose another method: classes are drawn into each other"
    require(len(classes) > 1, "data.sets[forget]", f"class {classes.tolist()} alone", fix)
    return request.subject.params, request.subject.state, requests.frozen(request)

  def objective(params, state, frozen, batch, key, axis):
    del key
    f, r = batch["forget"], batch["retain"]
    features = frozen["apply"](params, f["image"], state=state).features
    return {
      "forget": contrast(features, f["label"], f["mask"], temperature, weight, axis),
      "retain": likelihood.nll_term(likelihood.logits(frozen["apply"], params, state, r), r),
    }, state

  return descend.descend(objective, tx, start=start, finish=requests.finish, batch=draw, steps=steps, whole=True)


def contrast(
  features: jax.Array, labels: jax.Array, mask: jax.Array, temperature: Any = 1.0, scale: Any = 1.0,
  axis: str | None = None,
) -> Term:  # fmt: skip
  """The mean over samples of the mean over others j of another class of -log softmax_j(cosine / temperature).

  Args:
    features: float `[b, d]`.
    labels: int `[b]`.
    mask: float32 `[b]`, the weight of each sample in both means and in the softmax; 0 for padding.
    temperature: > 0.
    scale: the term's coefficient.
    axis: name of a mapped device axis; the others are then those of all devices.
  """
  features = features.astype(jnp.float32)
  unit = features / jnp.sqrt(jnp.sum(features**2, axis=-1, keepdims=True) + TINY)
  units, classes, weights = spread.gather((unit, labels, mask), axis)
  alike = (unit @ units.T - 1) / temperature  # at most 0: the softmax does not see what is taken off all
  surprise = jnp.log(safe(jnp.sum(weights * jnp.exp(alike), axis=-1, keepdims=True))) - alike
  others = weights * (labels[:, None] != classes).astype(jnp.float32)
  return mean_term(jnp.sum(surprise * others, axis=-1) / safe(jnp.sum(others, axis=-1)), mask, scale)
