"""Influence unlearning (IU): one step of Newton's kind, with an inverse Fisher matrix by recursion (WoodFisher).

Source: Izzo et al., "Approximate Data Deletion from Machine Learning Models", AISTATS 2021; in the form of the code of
Jia et al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023. With g the gradient of the cross entropy of
a sample under the model, n_f and n_r the sizes of D_f and D_r, n their sum:

  v = (sum over D_f of g - n_f / n_r  sum over D_r of g) / n;    theta <- theta + alpha k

where k approximates H^-1 v: it begins as v, and single samples 1 ... N of D_r change it, o = g_1 first, then

  t = o . g_i;   k <- k - (k . g_i) / (N + t) o;   o <- o - t / (N + t) o.

That is the released recursion, kept as it is: it depends on the order, changes k along g_1 only, and is no inverse by
Woodbury's identity. `influence_cg` solves the system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.procedure import Procedure
from ue_jax.forget import gradients, requests, vision
from ue_jax.parallel import spread


class Recursion(NamedTuple):
  """The state of WoodFisher.

  Attributes:
    k: what becomes H^-1 v, a tree like the parameters.
    o: the other tree of the recursion.
    frozen: the model and its parameters.
    key, step: as in every state.
  """

  k: Any
  o: Any
  frozen: Any
  key: jax.Array
  step: jax.Array


def method(
  alpha: Any = 1.0,
  steps: int = 1000,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`, each once for v. For picture classifiers.

  Args:
    alpha: length of the step; may be traced. Authors: 1 to 20 for random samples, .1 to 5 for classes.
    steps: N, single samples of what is kept that the recursion sees.
    keep: the sets that are kept, taken together.
    label: the labelling.

  Raises:
    Invalid: at `init` for data without the sets or the labelling.
  """

  def init(key, request):
    vision.check(request, ("forget", *keep), label)
    subject = request.subject
    k = pull(request, keep, label)
    frozen = requests.frozen(request, params=subject.params, state=subject.state)
    return Recursion(k, jax.tree.map(jnp.zeros_like, k), frozen, key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    held = state.frozen
    g = jax.grad(gradients.nll_sum, argnums=1)(held["apply"], held["params"], held["state"], batch["retain"])
    k, o = recursion(state.k, state.o, spread.allsum(g, axis), state.step == 0, steps)
    return state._replace(k=k, o=o, step=state.step + 1), {"length": tree.norm(k)}

  def finish(state, request):
    params = jax.tree.map(lambda p, k: p + (alpha * k).astype(p.dtype), state.frozen["params"], state.k)
    return requests.finish(params, state.frozen["state"], request)

  return Procedure(init, step, finish, requests.batch({"retain": 1}, label, keep), steps)


def pull(request: Any, keep: Sequence[str] = ("retain",), label: str = "label") -> Any:
  """v, a float32 tree like the parameters: minus the gradient of the mean over D_r at a minimum over D_f and D_r.

  So it is with an L2 penalty, too, whose gradient at that minimum is known from the two sums.
  """
  request = requests.keep(request, keep)
  f, r = (len(request.data.sets[name]) for name in ("forget", "retain"))
  of = {name: gradients.summed(request, name, label) for name in ("forget", "retain")}
  return jax.tree.map(lambda a, b: (a - f / r * b) / (f + r), of["forget"], of["retain"])


def recursion(k: Any, o: Any, g: Any, first: jax.Array, n: int) -> tuple[Any, Any]:
  """k and o after one more sample.

  Args:
    k, o: trees of float arrays.
    g: the gradient of the sample.
    first: bool scalar, whether it is the first: then o becomes g.
    n: how many samples there will be.
  """
  t = tree.dot(o, g)
  a, b = tree.dot(k, g) / (n + t), t / (n + t)
  later_k = jax.tree.map(lambda k, o: k - a * o, k, o)
  later_o = jax.tree.map(lambda o: o - b * o, o)
  pick = lambda x, y: jax.tree.map(lambda x, y: jnp.where(first, x, y), x, y)
  return pick(k, later_k), pick(g, later_o)
