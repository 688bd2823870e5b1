"""Boundary expanding: samples to forget are trained into a class of their own, which is then taken away.

Source: Chen et al., "Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting the Decision Boundary", CVPR
2023, section 3.3. A further output neuron with small random weights stands beside the others while training; it is
dropped at the end (the released code keeps it). Nothing is read but the forget set. The released code descends by SGD.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.forget import requests, vision
from ue_jax.train import likelihood


def method(
  rate: Any = 1e-3,
  steps: int = 30,
  forget_batch: int = 64,
  optimizer: str = "adam",
  clip: Any = 0.0,
  size: Any = 1.0,
  trainable: str = ".*",
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` only. For picture classifiers whose features feed a linear layer.

  Args:
    rate: learning rate; may be traced, like clip and size.
    steps: optimiser steps.
    forget_batch: samples a step; a smaller set gives all it has.
    optimizer, clip: see `train.optim.make`.
    size: of the first weights of the neuron: their standard deviation, times the root of the width.
    trainable: regular expression: leaves of the model in whose name, as `model/head/kernel`, it is found are trained
      beside the neuron; the others keep their bits.
    label: the labelling.

  Raises:
    Invalid: at `init` for data without the set or the labelling, or a `trainable` that matches nothing.
  """

  def start(key, request):
    vision.check(request, ("forget",), label)
    subject = request.subject
    ours = {"model": subject.params}
    some = any(jax.tree.leaves(tree.mask(ours, trainable)))
    require(some, "method.trainable", trainable, f"match some leaf of the model: {sorted(tree.shapes(ours))}")
    look = lambda params, image: subject.model.apply(params, image, state=subject.state).features
    width = jax.eval_shape(look, subject.params, request.data.arrays["image"][:1]).shape[-1]
    kernel = size * jax.random.normal(key, (width,)) / jnp.sqrt(jnp.float32(width))
    neuron = {"kernel": kernel, "bias": jnp.zeros(())}
    return {"model": subject.params, "neuron": neuron}, subject.state, requests.frozen(request)

  def objective(params, state, frozen, batch, key):
    del key
    part = batch["forget"]
    out = frozen["apply"](params["model"], part["image"], state=state)
    own = jnp.full_like(part["label"], out.logits.shape[-1])
    return {"forget": likelihood.nll_term(widened(out, params["neuron"]), part | {"label": own})}, state

  draw = requests.batch({"forget": requests.sizes(forget_batch, 1, "none")["forget"]}, label)
  drop = lambda params, state, request: requests.finish(params["model"], state, request)
  return vision.procedure(
    objective, start, draw, drop, rate=rate, steps=steps, optimizer=optimizer, clip=clip,
    trainable=f"^neuron/|{trainable}",
  )  # fmt: skip


def widened(out: Any, neuron: Any) -> jax.Array:
  """The logits with that of one more neuron on the features behind them, float32 `[b, classes + 1]`.

  Args:
    out: `models.model.Out`.
    neuron: `kernel` `[width]` and `bias` `[]`.
  """
  more = out.features.astype(jnp.float32) @ neuron["kernel"] + neuron["bias"]
  return jnp.concatenate([out.logits, more[:, None].astype(out.logits.dtype)], axis=-1)
