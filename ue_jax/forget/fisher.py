"""Fisher forgetting: noise on every parameter, the more the less it matters for what is kept; before it a shift.

Source: Golatkar, Achille and Soatto, "Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks",
CVPR 2020, section 4. With F the Fisher matrix over D_r and n standard normal,

  golatkar:   theta <- theta + (alpha / F)^(1/4) n,   F diagonal, alpha = lambda sigma^2 of the paper
  kronecker:  theta <- theta + (1 - exp(-t F)) F^-1 g + (alpha / F)^(1/4) n,   F as in `kronecker`
  optml:      theta <- theta + min((alpha / F)^(1/2), 1e-3) n, ten times that in the last layer (the code of Jia et al.,
              "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023), F diagonal

That code has a second form, which is not here: noise of the variance alpha / (F + 1e-8), clipped, averaged over rows,
tenfold in the last layer and in BatchNorm, and the last layer's row of the forgotten class drawn anew, near 0.

F is the true one: the mean over samples of the expectation, over labels drawn from the MODEL, of the squared gradient
of their log-probability; with the given labels it would be the empirical one, nearly 0 for a model that fits them.

The shift takes a gradient flow of time t on a quadratic loss over D to where the flow over D_r would have come from
the same beginning, with the same curvature F for both: g is the sum over D_f of the gradient of the cross entropy,
divided by n_r. For t without end it is the Newton step F^-1 g; where t F is small, a step t g of ascent. The paper
leaves the shift out where F is diagonal, which is too rough for it. Noise alone cannot tell what is to be forgotten
from what is kept and known as badly: on random samples it costs one about what it costs the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core import tree
from ue_jax.core.errors import require, told
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.forget import gradients, kronecker, requests, vision
from ue_jax.parallel import spread

VARIANTS = ("golatkar", "kronecker", "optml")
LEAST = 1e-12  # of F, where nothing flows


class Summing(NamedTuple):
  """The state: F summed so far.

  Attributes:
    total: a float32 tree like the parameters; for `kronecker` with `kronecker.Factors` in the place of its leaves.
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
  time: Any = 0.0,
  last: str = "head",
  steps: int = 40,
  retain_batch: int = 32,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject; reads the sets of `keep`, without their labels, and for `kronecker` the set `forget`.

  For picture classifiers.

  Args:
    alpha: see above; may be traced, like limit and time.
    variant: a name in `VARIANTS`.
    limit: the largest standard deviation of the noise, for F is 0 in dead parts of a network; 0 gives that of the
      variant, 1e-3 for `optml` and none for the others.
    time: t of the shift, >= 0 and finite; 0 adds noise alone. For `kronecker` only.
    last: regular expression of the leaves of the last layer, for `optml`.
    steps, retain_batch: F is a mean over steps times retain_batch samples; together they should make a pass.
    keep: the sets that are kept, taken together.
    label: the labelling, whose classes the model knows.

  Raises:
    Invalid: for an unknown variant, or a time that it does not have; at `init` for data without the sets.
  """
  require(variant in VARIANTS, "method.variant", variant, f"choose one of {VARIANTS}")
  by_layers, known = variant == "kronecker", told(time)
  fix = "give a finite time >= 0; with another variant than 'kronecker' leave it out: a diagonal is too rough for it"
  require(0 <= time < float("inf") and (by_layers or time == 0) if known else by_layers, "method.time", time, fix)
  summed, empty = (kronecker.factors, kronecker.empty) if by_layers else (diagonal, blank)

  def init(key, request):
    vision.check(request, ("forget", *keep) if by_layers else keep, label)
    subject = request.subject
    frozen = requests.frozen(request, params=subject.params, state=subject.state)
    return Summing(jax.tree.map(empty, subject.params), jnp.zeros(()), frozen, key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    part, held = batch["retain"], state.frozen
    seen = spread.allsum(jnp.sum(part["mask"]), axis)
    more = expected(held["apply"], held["params"], held["state"], part, summed, empty)
    more = spread.allsum(more, axis)
    return state._replace(
      total=jax.tree.map(jnp.add, state.total, more), weight=state.weight + seen, step=state.step + 1
    ), {"trace": Tally(trace(more), seen)}

  def finish(state, request):
    params, mean = state.frozen["params"], jax.tree.map(lambda x: x / state.weight, state.total)
    leaves, back = jax.tree.flatten(params)
    keys = back.unflatten(list(jax.random.split(state.key, len(leaves))))
    if by_layers:
      kept = len(requests.keep(request, keep).data.sets["retain"])
      g = jax.tree.map(lambda x: x / kept, gradients.summed(request, "forget", label))
      most = jnp.inf if isinstance(limit, (int, float)) and limit == 0 else limit
      moved = all_scrubbed(params, g, keys, mean, alpha, most, time)
      return requests.finish(moved, state.frozen["state"], request)
    add = lambda x, key, s: x + (s * jax.random.normal(key, x.shape)).astype(x.dtype)
    moved = jax.tree.map(add, params, keys, deviation(mean, alpha, variant, limit, last))
    return requests.finish(moved, state.frozen["state"], request)

  return Procedure(init, step, finish, requests.batch({"retain": retain_batch}, label, keep), steps)


def expected(apply: Any, params: Any, state: Any, part: Any, summed: Callable, empty: Callable) -> Any:
  """The sum over a batch of what `summed(p, slopes)` makes of a leaf, a tree like the parameters.

  One sample after another: all labels of one are held at once.

  Args:
    summed: of p float32 `[classes]`, the probabilities of the labels, and `[classes, *leaf]`, the gradients of their
      logarithms: `diagonal`, or `kronecker.factors`.
    empty: the same for no sample, of the leaf.
  """

  def add(total, one):
    image, mask = one
    log_p = lambda params: jax.nn.log_softmax(apply(params, image[None], state=state).logits[0].astype(jnp.float32))
    p, slopes = jnp.exp(log_p(params)), jax.jacrev(log_p)(params)
    return jax.tree.map(jnp.add, total, jax.tree.map(lambda s: summed(mask * p, s), slopes)), None

  return jax.lax.scan(add, jax.tree.map(empty, params), (part["image"], part["mask"]))[0]


def diagonal(p: jax.Array, slopes: jax.Array) -> jax.Array:
  """E_y (d log p(y | x) / d theta)^2, y drawn from the model, float32 like the leaf; see `expected`."""
  return jnp.tensordot(p, jnp.square(slopes.astype(jnp.float32)), axes=1)


def blank(x: jax.Array) -> jax.Array:
  """`diagonal` of no sample."""
  return jnp.zeros(x.shape, jnp.float32)


def trace(fisher: Any) -> jax.Array:
  """The trace of F, of a diagonal or in factors."""
  one = lambda f: jnp.trace(f.rows) if isinstance(f, kronecker.Factors) else jnp.sum(f)
  leaves = jax.tree.leaves(fisher, is_leaf=lambda f: isinstance(f, kronecker.Factors))
  return jnp.sum(jnp.stack([one(f) for f in leaves]))


def scrubbed(
  x: jax.Array, g: jax.Array, key: jax.Array, fisher: kronecker.Eigen, alpha: Any, limit: Any, time: Any
) -> jax.Array:
  """One leaf after the shift and the noise of `kronecker`, each along the eigenvectors of F.

  Args:
    x, g: the leaf, and the gradient of what is to be forgotten, of its shape.
    key: of the noise.
    fisher: of the leaf.
    alpha, limit, time: see `method`.
  """
  noise = deviation(fisher.values, alpha, "kronecker", limit) * jax.random.normal(key, fisher.values.shape)
  return x + kronecker.outside(fisher, reach(fisher.values, time) * kronecker.inside(fisher, g) + noise, x)


@jax.jit
def all_scrubbed(params: Any, g: Any, keys: Any, factors: Any, alpha: Any, limit: Any, time: Any) -> Any:
  """All leaves `scrubbed`, in one program; `factors` has `kronecker.Factors` in the place of leaves."""
  scrub = lambda x, g, key, f: scrubbed(x, g, key, kronecker.eigen(f), alpha, limit, time)
  return jax.tree.map(scrub, params, g, keys, factors)


def reach(fisher: jax.Array, time: Any) -> jax.Array:
  """(1 - exp(-t f)) / f for every f >= 0: t where f is 0, 1 / f where t f is large."""
  z = time * fisher
  return jnp.where(z < 1e-3, time * (1 - z / 2), -jnp.expm1(-z) / jnp.maximum(fisher, LEAST))


def deviation(fisher: Any, alpha: Any, variant: str = "golatkar", limit: Any = 0.0, last: str = "head") -> Any:
  """The standard deviation of the noise of every parameter, a tree like `fisher`; see `method`."""
  power = 0.5 if variant == "optml" else 0.25
  if isinstance(limit, (int, float)) and limit == 0:
    limit = 1e-3 if variant == "optml" else float("inf")
  own = jax.tree.map(lambda f: jnp.minimum((alpha / jnp.maximum(f, LEAST)) ** power, limit), fisher)
  if variant != "optml":
    return own
  return jax.tree.map(lambda hit, x: x * (10.0 if hit else 1.0), tree.mask(fisher, last), own)
