"""Selective synaptic dampening (SSD): parameters that matter for what is to be forgotten far more than usual shrink.

Source: Foster, Schoepf and Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic
Dampening", AAAI 2024. With I_f and I the diagonals of the Fisher matrix over D_f and over all training data D,

  theta_j <- min(lambda I_j / I_fj, 1) theta_j    where I_fj > alpha I_j;  all other parameters keep their bits.

The Fisher matrix is the empirical one: the mean over samples of the squared gradient of the cross entropy with the
given labels. Nothing is trained, and batch statistics stay.

I over D holds D_f, too: I_f <= (n / n_f) I, so with an alpha of n / n_f or more nothing is ever selected. The published
alpha of 10 therefore leaves the model as it is where a tenth of the data or more is to be forgotten. The default here
is smaller, and an alpha that can select nothing is refused. (That bound is our remark, not the paper's.)

The released code squares the gradient of the mean over a batch, and takes the mean of those over batches: `group` with
its batch size does so, in the order of the data. Its squares carry the common gradient of a batch beside the noise of
single samples, and the bound does not hold. An alpha of 10 and a lambda of 1 are recalled as the paper's for classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require, told
from ue_jax.core.procedure import Procedure
from ue_jax.forget import gradients, requests, vision


class Importances(NamedTuple):
  """The state: float32 trees like the parameters.

  Attributes:
    forget: I_f.
    whole: I.
    key, step: as in every state; nothing is drawn.
  """

  forget: Any
  whole: Any
  key: jax.Array
  step: jax.Array


def method(
  alpha: Any = 2.0,
  weight: Any = 1.0,
  group: int = 1,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`, which together are D. For picture classifiers.

  Args:
    alpha: how many times as important a parameter has to be for D_f, > 0; may be traced, like `weight`.
    weight: lambda of the paper, >= 0: the larger, the less what is selected shrinks; 0 prunes it.
    group: samples whose mean gradient is squared; 1 is the paper's Fisher matrix, see above.
    keep: the sets that are kept, taken together.
    label: the labelling.

  Raises:
    Invalid: for numbers out of range; at `init` for data without the sets or the labelling, or an alpha that can select
      nothing.
  """
  require(not told(alpha) or alpha > 0, "method.alpha", alpha, "give a positive number")
  require(not told(weight) or weight >= 0, "method.weight", weight, "give a number >= 0")
  require(isinstance(group, int) and group >= 1, "method.group", group, "give a whole number >= 1")

  def init(key, request):
    vision.check(request, ("forget", *keep), label)
    f, whole = len(request.data.sets["forget"]), requests.keep(request, ("forget", *keep))
    most = len(whole.data.sets["retain"]) / f
    fix = f"give less than {most:.4g}, all training samples over those to forget: from there on nothing is selected"
    require(not told(alpha) or group > 1 or alpha < most, "method.alpha", alpha, fix)
    of = lambda request, name: gradients.squared(request, name, label, group)
    return Importances(of(request, "forget"), of(whole, "retain"), key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  def finish(state, request):
    params = all_dampened(request.subject.params, state.forget, state.whole, alpha, weight)
    return requests.finish(params, request.subject.state, request)

  return Procedure(init, step, finish, steps=0)


def dampened(x: jax.Array, forget: jax.Array, whole: jax.Array, alpha: Any = 2.0, weight: Any = 1.0) -> jax.Array:
  """One leaf after the rule, of its shape and dtype; `forget` and `whole` are I_f and I of it."""
  chosen = forget > alpha * whole
  factor = jnp.minimum(weight * whole / jnp.where(chosen, forget, 1.0), 1.0)
  return jnp.where(chosen, (factor * x).astype(x.dtype), x)


@jax.jit
def all_dampened(params: Any, forget: Any, whole: Any, alpha: Any, weight: Any) -> Any:
  """All leaves `dampened`, in one program."""
  return jax.tree.map(lambda x, own, all: dampened(x, own, all, alpha, weight), params, forget, whole)
