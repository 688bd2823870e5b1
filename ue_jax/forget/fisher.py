"""Fisher forgetting: noise on every parameter, the more the less it matters for what is kept.

Source: Golatkar, Achille and Soatto, "Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks",
CVPR 2020, section 4. With F the diagonal of the Fisher matrix over D_r and n standard normal,

  golatkar:  theta <- theta + (alpha / F)^(1/4) n,   alpha = lambda sigma^2 of the paper
  optml:     theta <- theta + min((alpha / F)^(1/2), 1e-3) n, ten times that in the last layer (the code of Jia et al.,
             "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023)

F is the true one: the mean over samples of the expectation, over labels drawn from the MODEL, of the squared gradient
of their log-probability; with the given labels it would be the empirical one, nearly 0 for a model that fits them. On
random samples it usually destroys what should stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.forget import requests, vision
from ue_jax.parallel import spread

VARIANTS = ("golatkar", "optml")
LEAST = 1e-12  # of F, where nothing flows


class Summing(NamedTuple):
  """The state: F summed so far.

  Attributes:
    total: a float32 tree like the parameters.
    weight: how many samples it is the sum of.
    frozen: the model and its parameters.
    key, step: as in every state; the noise comes from `key`.
  """

  total: Any
  weight: jax.Array
  frozen: Any
  key: jax.Array
  step: jax.Array


def method(
  alpha: Any = 1e-9,
  variant: str = "golatkar",
  limit: Any = 0.0,
  last: str = "head",
  steps: int = 40,
  retain_batch: int = 32,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the sets of `keep`, without their labels. For picture classifiers.

  Args:
    alpha: see above; may be traced, like limit.
    variant: `golatkar` or `optml`.
    limit: the largest standard deviation of the noise, for F is 0 in dead parts of a network; 0 gives that of the
      variant, 1e-3 for `optml` and none for `golatkar`.
    last: regular expression of the leaves of the last layer, for `optml`.
    steps, retain_batch: F is a mean over steps times retain_batch samples; together they should make a pass.
    keep: the sets that are kept, taken together.
    label: the labelling, whose classes the model knows.

  Raises:
    Invalid: for an unknown variant; at `init` for data without the sets.
  """
  require(variant in VARIANTS, "method.variant", variant, f"choose one of {VARIANTS}")

  def init(key, request):
    vision.check(request, keep, label)
    subject = request.subject
    frozen = requests.frozen(request, params=subject.params, state=subject.state)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), subject.params)
    return Summing(zero, jnp.zeros(()), frozen, key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    part, held = batch["retain"], state.frozen
    seen = spread.allsum(jnp.sum(part["mask"]), axis)
    more = spread.allsum(squares(held["apply"], held["params"], held["state"], part), axis)
    total = jax.tree.map(jnp.add, state.total, more)
    size = jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, more))
    return state._replace(total=total, weight=state.weight + seen, step=state.step + 1), {"trace": Tally(size, seen)}

  def finish(state, request):
    spread_of = deviation(jax.tree.map(lambda x: x / state.weight, state.total), alpha, variant, limit, last)
    leaves, back = jax.tree.flatten(state.frozen["params"])
    noise = [jax.random.normal(k, x.shape) for k, x in zip(jax.random.split(state.key, len(leaves)), leaves)]
    moved = [x + (s * n).astype(x.dtype) for x, s, n in zip(leaves, jax.tree.leaves(spread_of), noise)]
    return requests.finish(back.unflatten(moved), state.frozen["state"], request)

  return Procedure(init, step, finish, requests.batch({"retain": retain_batch}, label, keep), steps)


def squares(apply: Any, params: Any, state: Any, part: Any) -> Any:
  """The sum over a batch of E_y (d log p(y | x) / d theta)^2, y drawn from the model: a tree like the parameters.

  One sample after another: all labels of one are held at once.
  """

  def add(total, one):
    image, mask = one
    log_p = lambda params: jax.nn.log_softmax(apply(params, image[None], state=state).logits[0].astype(jnp.float32))
    p, slopes = jnp.exp(log_p(params)), jax.jacrev(log_p)(params)
    square = lambda total, s: total + mask * jnp.tensordot(p, jnp.square(s.astype(jnp.float32)), axes=1)
    return jax.tree.map(square, total, slopes), None

  zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
  return jax.lax.scan(add, zero, (part["image"], part["mask"]))[0]


def deviation(fisher: Any, alpha: Any, variant: str = "golatkar", limit: Any = 0.0, last: str = "head") -> Any:
  """The standard deviation of the noise of every parameter, a tree like `fisher`; see `method`."""
  power = 0.25 if variant == "golatkar" else 0.5
  if isinstance(limit, (int, float)) and limit == 0:
    limit = float("inf") if variant == "golatkar" else 1e-3
  own = jax.tree.map(lambda f: jnp.minimum((alpha / jnp.maximum(f, LEAST)) ** power, limit), fisher)
  if variant == "golatkar":
    return own
  return jax.tree.map(lambda hit, x: x * (10.0 if hit else 1.0), tree.mask(fisher, last), own)
