"""Boundary shrink: samples to forget are given to the class that lies nearest, so that their own class shrinks.

Source: Chen et al., "Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting the Decision Boundary", CVPR
2023, section 3.2. The target of a sample x of class y is what a frozen copy says of

  x' = x + bound sign(gradient in x of the cross entropy of y), cut to [0, 1], in steps of 1 / 255,

the likeliest of the INCORRECT classes: the prediction itself may still be y, and the released code then trains on y.
Nothing is read but the forget set: the rest suffers, most of all where that is a random part of every class.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.forget import gradients, shared, vision
from ue_jax.train import likelihood, pgd


def method(
  bound: Any = 0.1,
  rate: Any = 1e-3,
  steps: int = 30,
  forget_batch: int = 64,
  optimizer: str = "adam",
  clip: Any = 0.0,
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` only. For picture classifiers.

  Args:
    bound: of the step in pictures in [0, 1]; may be traced, like rate and clip.
    rate: learning rate; the authors' lie between 1e-5 and 1e-2.
    steps: optimiser steps.
    forget_batch: samples a step; a smaller set gives all it has.
    optimizer, clip: see `train.optim.make`.
    label: the labelling.

  Raises:
    Invalid: for a negative bound; at `init` for data without the set or the labelling.
  """
  require(not isinstance(bound, (int, float)) or bound >= 0, "method.bound", bound, "give a number >= 0")

  def given(request):
    vision.check(request, ("forget",), label)
    return {"target": nearest(request, bound, label)}

  def forget(look, part, frozen):
    return likelihood.nll_term(look(part), part | {"label": frozen["target"][part["row"]]})

  return shared.procedure(
    forget, given, rate=rate, steps=steps, forget_batch=forget_batch, retain="none", optimizer=optimizer, clip=clip,
    label=label,
  )  # fmt: skip


def nearest(request: Request, bound: Any, label: str = "label", chunk: int = 256) -> jax.Array:
  """The nearest incorrect class of every sample of the set `forget`, int32 `[m]`, found once."""
  subject, m = request.subject, len(request.data.sets["forget"])

  @jax.jit
  def one(params, state, bound, part):
    x = to_float(part["image"])
    loss = lambda x: gradients.nll_sum(subject.model.apply, params, state, part | {"image": x})
    moved = jnp.clip(x + bound * pgd.direction(jax.grad(loss)(x)), 0, 1)
    logits = likelihood.logits(subject.model.apply, params, state, {"image": jnp.round(moved * 255) / 255})
    return incorrect(logits, part["label"])

  bound = jnp.asarray(bound, jnp.float32)
  done = [one(subject.params, subject.state, bound, p) for p in gradients.chunks(request, "forget", label, chunk)]
  return jnp.concatenate(done)[:m]


def incorrect(logits: jax.Array, label: jax.Array) -> jax.Array:
  """The likeliest class but the given one, int32 `[b]`, of logits `[b, classes]`."""
  own = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
  return jnp.argmax(jnp.where(own, -jnp.inf, logits), axis=-1).astype(jnp.int32)
