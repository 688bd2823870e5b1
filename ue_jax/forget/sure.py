"""SURE: only the neurons that matter for what is to be forgotten are trained, with a larger rate.

Source: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization", ICLR 2025, section 6. A neuron is an
output of a matrix (a row of an embedding, an entry of a vector); its saliency is the norm of its part of the forget
loss's gradient, and it is trained if that is at least the `tau`-th percentile over ALL neurons of the model. Fewer
weights then move further, so that rounding to few bits does not undo the move.

That holds of a model that was handed out on the grid of the rounding. At equal forgetting (p at most .3 on the
forgotten, linear layers of a tiny model, then rounded to 4 bits; seeds 0 to 4) p moves by -.04, .08, -.01, -.01 and .02
with `loss="ascent"` and .15, .19, .01, .03 and .06 with `npo` (rate 5e-3), and by .19, .60, .14, .05 and .70 after
plain gradient difference (rate 2e-4). The larger rate does much of it: gradient difference at 5e-3, without the mask,
moves by .03, .38, .01, .00 and .51. Where a model was trained in 32 bits both move by noise (SURE by up to .03,
gradient difference by .01), and SURE not by less.

The released code applies its mask in a method that its trainer never calls, and counts the forget gradient twice; here
the update itself is masked, so the other neurons keep their bits, and every gradient counts once.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.tree import named_map
from ue_jax.forget import npo, requests, shared
from ue_jax.parallel import spread
from ue_jax.train import batches, descend, likelihood, optim

LOSSES = ("npo", "ascent")
TABLE = r"embedding$"  # the neurons of these leaves are their rows; of others what the last axis counts


def method(
  loss: str = "npo",
  beta: float = 0.1,
  gamma: float = 1.0,
  tau: float = 90.0,
  once: bool = True,
  rate: float = 3e-3,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  Args:
    loss: of the forget set: `npo`, or `ascent` on its nll.
    beta: inverse temperature of `npo`, > 0; may be traced, like the numbers after it.
    gamma: coefficient of the forget term.
    tau: percentile over the neurons of all leaves, be they `trainable` or not, 0 to 100; the authors use 90 to 99.
    once: neurons are chosen once, by the whole forget set before unlearning; False: at every step by its batch, which
      takes a second backward pass.
    rate: learning rate; larger than without a mask.
    options: those of `shared.procedure`, of which every argument is taken: alpha, steps, forget_batch, retain_batch,
      retain, keep, optimizer, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until, watch.

  Raises:
    Invalid: for an unknown loss or retain term, a percentile out of range, or data without the sets.
  """
  require(loss in LOSSES, "method.loss", loss, f"choose one of {', '.join(LOSSES)}")
  traced = not isinstance(tau, (int, float))
  require(traced or 0 <= tau <= 100, "method.tau", tau, "give a percentile from 0 to 100")
  lora, until, watch = (options.pop(name, {}) for name in ("lora", "until", "watch"))
  label = options.get("label", "label")
  ascent = lambda look, part, _: likelihood.nll_term(look(part), part, -gamma), lambda _: {}
  forget, given = npo.parts(beta, gamma, label) if loss == "npo" else ascent
  plan = shared.pieces(forget, given, rate=rate, **options)

  def start(key, request):
    params, state, frozen = plan["start"](key, request)
    if once:
      frozen = {**frozen, "chosen": salient(_whole_slope(forget, params, state, frozen, request, label), tau)}
    return params, state, frozen

  def step(state: descend.Descent, batch, axis=None):
    if once:
      chosen = state.frozen["chosen"]
    else:
      slope = _slope(forget, state.params, state.state, state.frozen, batch["forget"])
      chosen = salient(spread.allsum(slope, axis), tau)
    return descend.descent_step(plan["objective"], optim.where(plan["tx"], chosen), state, batch, axis)

  return shared.wrapped(descend.descend(**plan | {"start": start})._replace(step=step), lora, until, watch, label)


method.__signature__ = with_options(method, shared.procedure)


def saliency(slope: Any) -> Any:
  """The norm of each neuron's part of a gradient: a tree of float32 arrays that broadcast against its leaves."""

  def one(name, leaf):
    own = 0 if leaf.ndim > 1 and re.search(TABLE, name) else leaf.ndim - 1
    others = tuple(i for i in range(leaf.ndim) if i != own)
    return jnp.sqrt(jnp.sum(jnp.square(leaf.astype(jnp.float32)), axis=others, keepdims=True))

  return named_map(one, slope)


def salient(slope: Any, tau: jax.Array | float) -> Any:
  """True for the neurons whose saliency is at least the `tau`-th percentile over all of them.

  Args:
    slope: gradient, a tree of float arrays; only ratios within it matter.
    tau: 0 (all) to 100 (the largest).

  Returns:
    Tree of bool arrays that broadcast against the leaves.
  """
  norms = saliency(slope)
  every = jnp.concatenate([x.reshape(-1) for x in jax.tree.leaves(norms)])
  least = jnp.percentile(every, jnp.float32(1) * tau)
  return jax.tree.map(lambda x: x >= least, norms)


def _slope(forget, params, state, frozen, part):
  """The gradient of the forget term's total on a batch: a factor does not change which neurons are salient."""
  return jax.grad(lambda p: forget(shared.looking(p, state, frozen), part, frozen).total)(params)


def _whole_slope(forget, params, state, frozen, request: Request, label: str) -> Any:
  """The same of the whole forget set, in chunks that fit a large vocabulary."""
  m = len(request.data.sets["forget"])
  long = batches.width(request.data, ("forget",)) if "ids" in request.data.arrays else None
  size = max(min(m, requests.TOKENS // (long or 1)), 1)
  one, total = jax.jit(functools.partial(_slope, forget)), None
  for first in range(0, m, size):
    at = np.arange(first, first + size)
    part = requests.cut(requests.rows(request.data, "forget", np.minimum(at, m - 1), label), long)
    part["mask"] = part["mask"] * (at < m).astype(np.float32).reshape(-1, *[1] * (part["mask"].ndim - 1))
    slope = one(params, state, frozen, part)
    total = slope if total is None else jax.tree.map(jnp.add, total, slope)
  return total
