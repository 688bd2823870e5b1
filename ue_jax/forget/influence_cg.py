"""Influence unlearning with the system solved: conjugate gradients on the Hessian of what is kept, with damping.

The reference for `influence`. With H the Hessian of the mean cross entropy over D_r and v as there,

  theta <- theta + alpha (H + damping I)^-1 v.

For a convex loss with the L2 penalty `damping` |theta|^2 / 2 it is one Newton step on the loss without D_f (Guo et al.,
"Certified Data Removal from Machine Learning Models", ICML 2020). Networks are not convex: where a direction has no
positive curvature the solver stops with what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import safe
from ue_jax.forget import gradients, influence, mixed, requests, vision
from ue_jax.parallel import spread


class Solving(NamedTuple):
  """The state of conjugate gradients.

  Attributes:
    x: the solution so far, a tree like the parameters.
    r: v - (H + damping) x.
    p: the direction.
    goal: squared norm of r at which it is solved.
    frozen: the model and its parameters.
    done: bool scalar, solved or out of positive curvature.
    key, step: as in every state.
  """

  x: Any
  r: Any
  p: Any
  goal: jax.Array
  frozen: Any
  done: jax.Array
  key: jax.Array
  step: jax.Array


def method(
  alpha: Any = 1.0,
  damping: Any = 1e-3,
  steps: int = 100,
  retain_batch: int = 2048,
  tolerance: Any = 1e-4,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Args:
    alpha: length of the step, 1 for Newton's; may be traced, like damping and tolerance.
    damping: added to the diagonal of the Hessian, >= 0: the weight of the L2 penalty of the training, or more.
    steps: the largest number of iterations.
    retain_batch: samples that the Hessian is of, drawn once, all looked at in every iteration; a smaller set gives all.
    tolerance: it stops when the residual is that share of v.
    keep: the sets that are kept, taken together.
    label: the labelling.

  Raises:
    Invalid: for a negative damping; at `init` for data without the sets or the labelling.
  """
  require(not isinstance(damping, (int, float)) or damping >= 0, "method.damping", damping, "give a number >= 0")

  def init(key, request):
    vision.check(request, ("forget", *keep), label)
    v = influence.pull(request, keep, label)
    frozen = requests.frozen(request, params=request.subject.params, state=request.subject.state)
    zero, goal = jax.tree.map(jnp.zeros_like, v), jnp.asarray(tolerance, jnp.float32) ** 2 * tree.dot(v, v)
    return Solving(zero, v, v, goal, frozen, tree.dot(v, v) <= goal, key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    hp = curvature(state.frozen, state.p, batch["retain"], axis)
    hp = jax.tree.map(lambda h, p: h + damping * p, hp, state.p)
    return conjugate(state, hp)

  def finish(state, request):
    params = jax.tree.map(lambda p, x: p + (alpha * x).astype(p.dtype), state.frozen["params"], state.x)
    return requests.finish(params, state.frozen["state"], request)

  draw = requests.batch({"retain": requests.sizes(1, retain_batch, "nll")["retain"]}, label, keep)
  return Procedure(init, step, finish, mixed.fixed(draw), steps)


def curvature(frozen: Any, p: Any, part: Any, axis: str | None = None) -> Any:
  """H p, for the Hessian H of the mean cross entropy over a batch."""
  weight = safe(spread.allsum(jnp.sum(part["mask"]), axis))
  slope = jax.grad(lambda params: gradients.nll_sum(frozen["apply"], params, frozen["state"], part) / weight)
  return spread.allsum(jax.jvp(slope, (frozen["params"],), (p,))[1], axis)


def conjugate(state: Solving, hp: Any) -> tuple[Solving, dict]:
  """One iteration of conjugate gradients, given the matrix times the direction; nothing moves once it is done."""
  rr, bend = tree.dot(state.r, state.r), tree.dot(state.p, hp)
  done = state.done | (bend <= 0)
  a = jnp.where(done, 0.0, rr / jnp.where(bend <= 0, 1.0, bend))
  x = jax.tree.map(lambda x, p: x + a * p, state.x, state.p)
  r = jax.tree.map(lambda r, h: r - a * h, state.r, hp)
  new = tree.dot(r, r)
  p = jax.tree.map(lambda r, p: jnp.where(done, p, r + new / safe(rr) * p), r, state.p)
  after = state._replace(x=x, r=r, p=p, done=done | (new <= state.goal), step=state.step + 1)
  return after, {"residual": jnp.sqrt(new), "bend": bend}
