"""Methods made of two gradients: one of what is to be kept, one of what is to be forgotten, and a rule that joins them.

Both are of the LOSS, summed over all devices and clipped, each by itself, before the rule sees them: inner products
of parts of gradients are not parts of the inner product. Either loss may be a divergence from the model before
unlearning: KL(before || now), at temperature 1, mean over targets.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import combine, safe
from ue_jax.forget import requests
from ue_jax.parallel import spread
from ue_jax.train import likelihood, optim

# (retain gradient, forget gradient) -> (what is added to the parameters, name -> scalar that says how it went)
Rule = Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]
RETAINED = ("nll", "kl", "both")
FORGOTTEN = ("nll", "kl")
ENDS = ("stop", "refused")  # what a rule calls the scalars that end the run BEFORE its step


class Pair(NamedTuple):
  """The state of a method made of two gradients.

  Attributes:
    params, state: of the model; batch statistics stay as they are.
    opt: the optimiser's state, if the rule's step goes through one.
    frozen: the model's `apply`, and its parameters before unlearning if a loss reads them.
    done: bool scalar; once it is True nothing but `step` changes.
    refused: bool scalar: the rule could not do what was asked of it.
    moved: int32 scalar, the steps that changed the parameters.
    key, step: as in every state.
  """

  params: Any
  state: Any
  opt: Any
  frozen: Any
  done: jax.Array
  refused: jax.Array
  moved: jax.Array
  key: jax.Array
  step: jax.Array


def procedure(
  rule: Rule,
  *,
  finish: Callable[[Pair, Any], Any] | None = None,
  rate: Any = 1e-4,
  clip: Any = 1.0,
  steps: int = 25,
  forget_batch: int = 5000,
  retain_batch: int = 5000,
  retain: str = "nll",
  forget: str = "nll",
  gamma: Any = 0.99,
  alpha: Any = 0.001,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  optimizer: str = "none",
  pairing: str = "cyclic",
  anchor: str = "forget",
  retain_sets: Mapping[str, Any] = {},
) -> Procedure:
  """Request -> Subject: adds what `rule` makes of the two gradients.

  It reads the sets `forget` and those of `keep` or `retain_sets`.

  Metrics: the losses before the step, `retain` (of `both` the nll, and `retain_kl`) and `forget`; `loss`, the first
  minus the second; and what the rule says. A state whose rule says `stop` or `refused` is done, and that step is not
  taken.

  Args:
    rule: see `Rule`.
    finish: `(state, request) -> Subject`, where more than the parameters matters.
    rate: the rule's rate, > 0; may be traced, like clip. Read here for an optimiser only.
    clip: the largest global norm of either gradient; 0 means no clipping.
    steps: at most so many.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    retain: the retain loss: `nll`, `kl` from the model before unlearning, or `both`: gamma nll + alpha kl.
    forget: the forget loss: `nll`, or `kl` from the model before unlearning, which is flat where that begins.
    gamma, alpha: of `both`; may be traced.
    keep: the sets that the retain batches are drawn from, taken together.
    label: the labelling to forget, for pictures.
    optimizer: `none` adds the step as it is. A name that `train.optim.make` knows hands it -step / rate as a gradient:
      what the rule promises of its step is then lost.
    pairing, anchor, retain_sets: see `shared.pieces`; the retain loss is then the weighted sum of those of the sets.

  Raises:
    Invalid: for numbers out of range, an unknown loss, data without the sets, and as `shared.pieces`.
  """
  require(retain in RETAINED, "method.retain", retain, f"choose one of {RETAINED}: a retain gradient is needed")
  require(forget in FORGOTTEN, "method.forget", forget, f"choose one of {FORGOTTEN}")
  require(not isinstance(rate, (int, float)) or rate > 0, "method.rate", rate, "give a number > 0")
  require(not isinstance(clip, (int, float)) or clip >= 0, "method.clip", clip, "give a number >= 0, 0 for none")
  require(isinstance(steps, int) and steps >= 0, "method.steps", steps, "give a whole number >= 0")
  sizes = requests.sizes(forget_batch, retain_batch, "nll", retain_sets, pairing, anchor)
  sets = requests.read("nll", keep, retain_sets)
  kept = {"nll": {"nll": 1.0}, "kl": {"kl": 1.0}, "both": {"nll": gamma, "kl": alpha}}[retain]
  tx = None if optimizer == "none" else optim.make(optimizer, rate, max(steps, 1), momentum=0.0)

  def init(key, request):
    requests.check(request, sets, label)
    params, no = request.subject.params, jnp.zeros((), bool)
    frozen = requests.frozen(request, **requests.original_params("kl" if "kl" in (*kept, forget) else "nll", request))
    opt = () if tx is None else tx.init(params)
    zero = jnp.zeros((), jnp.int32)
    return Pair(params, request.subject.state, opt, frozen, no, no, zero, key, zero)

  def step(state, batch, axis=None):
    g_r, g_f, metrics = gradients(state, batch, kept, forget, axis, retain_sets)
    delta, said = rule(clipped(g_r, clip), clipped(g_f, clip))
    stop, refused = (jnp.asarray(said.get(name, False), bool) for name in ENDS)
    done = state.done | stop | refused
    opt = state.opt
    if tx is not None:
      delta, opt = tx.update(jax.tree.map(lambda d: -d / rate, delta), opt, state.params)
    new = optax.apply_updates(state.params, delta), opt
    params, opt = jax.tree.map(lambda old, x: jnp.where(done, old, x), (state.params, state.opt), new)
    state = state._replace(
      params=params, opt=opt, refused=jnp.where(state.done, state.refused, refused), done=done,
      moved=state.moved + (~done).astype(jnp.int32), step=state.step + 1,
    )  # fmt: skip
    return state, metrics | {name: jnp.asarray(x).astype(jnp.float32) for name, x in said.items()}

  end = finish or (lambda state, request: requests.finish(state.params, state.state, request))
  return Procedure(init, step, end, requests.batch(sizes, label, keep, pairing, anchor), steps)


def gradients(
  state: Pair, batch: Any, retain: Mapping[str, Any], forget: str, axis: str | None = None,
  weights: Mapping[str, Any] = {},
) -> tuple[Any, Any, dict]:  # fmt: skip
  """The gradients of the retain and of the forget loss over all devices, and the terms of both losses as metrics.

  Args:
    state, batch, axis: of the step.
    retain: what makes up the retain loss: `nll`, `kl` or both -> its coefficient.
    forget: `nll` or `kl`.
    weights: `retain_sets` of `procedure`.
  """
  allsum = functools.partial(spread.allsum, axis=axis)

  def kept(params):
    found = {}
    for kind, scale in retain.items():
      terms = requests.retain_terms(kind, params, state.state, state.frozen, batch, scale, weights)
      found |= {f"{name}_{kind}" if name in found else name: term for name, term in terms.items()}
    return found

  def gone(params):
    part, apply = batch["forget"], state.frozen["apply"]
    now = likelihood.logits(apply, params, state.state, part)
    if forget == "nll":
      return {"forget": likelihood.nll_term(now, part)}
    before = likelihood.logits(apply, state.frozen["params"], state.state, part)
    return {"forget": requests.kl_term(before, now, part)}

  found, metrics, losses = [], {}, []
  for side in (kept, gone):
    def loss(params, side=side):
      terms = side(params)
      return combine(terms, allsum), terms

    grads, terms = jax.grad(loss, has_aux=True)(state.params)
    found.append(allsum(grads))
    metrics |= {name: Tally(allsum(one.total), allsum(one.weight)) for name, one in terms.items()}
    losses.append(sum(one.scale * metrics[name].total / safe(metrics[name].weight) for name, one in terms.items()))
  metrics["loss"] = losses[0] - losses[1]
  return *found, metrics


def clipped(grads: Any, most: Any) -> Any:
  """The tree in float32, shortened to the global norm `most` if it is longer; untouched for 0."""
  size = tree.norm(grads)
  scale = jnp.where((jnp.asarray(most) > 0) & (size > most), most / safe(size), 1.0)
  return jax.tree.map(lambda g: g.astype(jnp.float32) * scale, grads)
