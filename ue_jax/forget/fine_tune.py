"""Training on: the model is trained further on what is to be kept, and forgets by itself, or hardly.

- FT, the plain form: Warnecke et al., "Machine Unlearning of Features and Labels", NDSS 2023.
- CF-k and EU-k: Goel et al., "Towards Adversarial Evaluations for Inexact Machine Unlearning", 2022: only the last k
  layers are trained (`trainable="head"` for k = 1, `"head|block_2"` for 2), in EU-k from a fresh initialisation.
- l1-sparse: Jia et al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023: with the penalty

    alpha (1 - t / steps) |theta|_1,

  which falls to 0, over the parameters that are trained. Their code lowers it once an epoch, this one every step.

The released code of EU-k draws the layers anew every epoch, so that only the last epoch counts. Here it is done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import tree
from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import requests, vision
from ue_jax.train import likelihood


def method(
  fresh: bool = False,
  l1: Any = 0.0,
  retain_batch: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  steps: int = 200,
  trainable: str = ".*",
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets of `keep`, and nothing of what is to be forgotten. For picture classifiers.

  Args:
    fresh: True draws the parameters that are trained anew at the start, once (EU-k).
    l1: weight alpha of the sparsity at the start, >= 0; may be traced. Authors: 1e-5 to 1e-3.
    retain_batch: samples a step; a smaller set gives all it has.
    keep: the sets that are trained on, taken together.
    label: the labelling.
    steps: optimiser steps.
    trainable: regular expression of the leaves to train; the others keep their bits.
    options: the others of `vision.procedure`: rate, optimizer, momentum, weight_decay, clip, schedule, milestones,
      drop.

  Raises:
    Invalid: for a negative l1; at `init` for data without the sets, or a `trainable` that matches nothing.
  """
  require(not isinstance(l1, (int, float)) or l1 >= 0, "method.l1", l1, "give a number >= 0")
  sparse = not (isinstance(l1, (int, float)) and l1 == 0)
  draw_retain = requests.batch({"retain": requests.sizes(1, retain_batch, "nll")["retain"]}, label, keep)

  def start(key, request):
    vision.check(request, keep, label)
    params = request.subject.params
    if fresh:
      params = anew(key, request, trainable)
    return params, request.subject.state, requests.frozen(request)

  def draw(seed, request, t):
    return draw_retain(seed, request, t) | {"left": np.float32(1 - t / max(steps, 1))}

  def objective(params, state, frozen, batch, key):
    del key
    part = batch["retain"]
    terms = {"retain": likelihood.nll_term(likelihood.logits(frozen["apply"], params, state, part), part)}
    if sparse:
      terms["l1"] = Term(size(params, trainable), jnp.ones(()), l1 * batch["left"])
    return terms, state

  return vision.procedure(objective, start, draw, requests.finish, steps=steps, trainable=trainable, **options)


method.__signature__ = with_options(method, vision.procedure)


def anew(key: jax.Array, request: Any, pattern: str) -> Any:
  """The subject's parameters, those whose name matches `pattern` as the model draws them from `key`."""
  subject = request.subject
  fresh, _ = subject.model.init(key, request.data.arrays["image"][:1])
  return jax.tree.map(jnp.where, tree.mask(subject.params, pattern), fresh, subject.params)


def size(params: Any, pattern: str = ".*") -> jax.Array:
  """|theta|_1 of the leaves whose name matches, float32 scalar; its slope at 0 is 0."""
  hit = tree.mask(params, pattern)
  one = lambda x: jnp.sum(x * jax.lax.stop_gradient(jnp.sign(x)))  # the slope of jnp.abs at 0 is 1: zeros would leave
  parts = jax.tree.map(lambda x, counts: one(x.astype(jnp.float32)) * float(counts), params, hit)
  return jax.tree.reduce(jnp.add, parts, jnp.float32(0))
