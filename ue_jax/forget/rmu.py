"""Representation misdirection (RMU): hidden states of what is to be forgotten are drawn to one random direction.

Source: Li et al., "The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning", 2024, section 4; adaptive
scale: Huu-Tien et al., "On Effects of Steering Latent Representation for Large Language Model Unlearning", 2024. With h
the hidden state after block `layer`, u a fixed unit vector of uniform entries, and h0 the state before unlearning:

  forget = mean over samples of the mean over its targets of mean_dim (h - c u)^2; retain = the same of (h - h0)^2.

`adaptive` (adaptive RMU): c is `scale` times the mean norm of h0 over the targets of the sample, so deep blocks work
too; without, c is `scale` itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term, safe
from ue_jax.forget import requests, shared
from ue_jax.train import descend, optim


def method(
  layer: int = 0,
  scale: float = 3.0,
  adaptive: bool = True,
  trainable: str = ".*",
  gamma: float = 1.0,
  alpha: float = 1.0,
  rate: float = 3e-4,
  steps: int = 120,
  forget_batch: int = 24,
  retain_batch: int = 48,
  keep: Sequence[str] = ("retain",),
  optimizer: str = "adam",
  lora: Mapping[str, Any] = {},
  until: Mapping[str, Any] = {},
  watch: Mapping[str, Any] = {},
  pairing: str = "cyclic",
  anchor: str = "forget",
  retain_sets: Mapping[str, Any] = {},
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and those of `keep` or `retain_sets`.

  For token models with sites `block_i/residual`. Blocks behind `layer` keep their bits.

  Args:
    layer: the block whose output is steered, from 0 on.
    scale: length of the target; with `adaptive` times the norm before unlearning. May be traced.
    adaptive: see above.
    trainable: regular expression: leaves in whose name it is found are trained (the authors train `down` of the three
      blocks up to `layer`).
    gamma: coefficient of the forget term; may be traced, like `alpha` and `rate`.
    alpha: coefficient of the retain term.
    rate: learning rate.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    keep: the sets that the retain batches are drawn from, taken together.
    optimizer: a name that `train.optim.make` knows.
    lora, until, watch: see `shared.procedure`.
    pairing, anchor, retain_sets: see `shared.pieces`.

  Raises:
    Invalid: for pictures, a block that the model does not have, data without the sets, and as `shared.pieces`.
  """
  site = f"block_{layer}/residual"
  sizes = requests.sizes(forget_batch, retain_batch, "nll", retain_sets, pairing, anchor)
  sets = requests.read("nll", keep, retain_sets)

  def start(key, request):
    requests.check(request, sets)
    require("ids" in request.data.arrays, "method.name", "forget.rmu", "use it on token sequences")
    subject, ids = request.subject, request.data.arrays["ids"][:1]
    look = lambda params, ids: hidden(subject.model.apply, params, subject.state, ids, site)
    width = jax.eval_shape(look, subject.params, ids).shape[-1]
    u = jax.random.uniform(key, (width,))
    return subject.params, subject.state, requests.frozen(request, params=subject.params, u=u / jnp.linalg.norm(u))

  def objective(params, state, frozen, batch, key):
    del key
    look = lambda tree, part: hidden(frozen["apply"], tree, state, part["ids"], site)
    forget, weights = batch["forget"], retain_sets or {"retain": 1.0}
    target = scale * frozen["u"]
    if adaptive:
      target = _norms(look(frozen["params"], forget), forget["mask"])[:, None, None] * target
    still = lambda part, weight: loss(look(params, part), look(frozen["params"], part), part["mask"], alpha * weight)
    return {
      "forget": loss(look(params, forget), target, forget["mask"], gamma),
      **{name: still(batch[name], weight) for name, weight in weights.items()},
    }, state

  tx = optim.make(optimizer, rate, steps, train=trainable)
  draw = requests.batch(sizes, names=keep, pairing=pairing, anchor=anchor)
  descent = descend.descend(objective, tx, start=start, finish=requests.finish, batch=draw, steps=steps)
  return shared.wrapped(descent, lora, until, watch)


def hidden(apply: Any, params: Any, state: Any, ids: jax.Array, site: str) -> jax.Array:
  """What the model holds at a site, `[b, t, width]`."""
  found: list[jax.Array] = []

  def look(value):
    found.append(value)
    return value

  apply(params, ids, state=state, taps={site: look})
  return found[0]


def loss(h: jax.Array, target: jax.Array, mask: jax.Array, scale: jax.Array | float = 1.0) -> Term:
  """The mean over samples of the mean over their targets of the mean over dimensions of (h - target)^2.

  Args:
    h: float `[b, t, d]`.
    target: broadcasts against it.
    mask: float32 `[b, t]`, 1 where there is a target; rows without any are padding.
    scale: the term's coefficient.
  """
  far = jnp.mean(jnp.square(h.astype(jnp.float32) - jax.lax.stop_gradient(target)), axis=-1)
  n = jnp.sum(mask, axis=-1)
  return mean_term(jnp.sum(far * mask, axis=-1) / safe(n), (n > 0).astype(jnp.float32), scale)


def _norms(h: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean norm of the hidden states of the targets of each sample, float32 `[b]`."""
  return jnp.sum(jnp.linalg.norm(h.astype(jnp.float32), axis=-1) * mask, axis=-1) / safe(jnp.sum(mask, axis=-1))
