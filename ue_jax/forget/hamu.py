"""Hardness-aware multi-objective unlearning (HAMU): the step that forgets a set amount and harms the rest least.

Source: "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning", ICML 2026, with its released code (variant Q,
variant U, quotas a block, the test for stopping). With g_r and g_f the gradients of the retain and of the forget loss,
kappa their inner product, R = eta |g_r| how far a step may go, and Q what the forget loss shall rise to first order:

  minimise <g_r, d>  subject to  <g_f, d> >= Q  and  |d| <= R

  kappa <= -Q |g_r| / R   d = -eta g_r                                                     (direct: that forgets enough)
  else                    d = Q / |g_f|^2 g_f - sqrt(R^2 - Q^2 / |g_f|^2) p / |p|            (rectified)
                          p = g_r - kappa / |g_f|^2 g_f
  Q > R |g_f|             cannot be done (infeasible)

Every parameter array is a problem of its own (a block) with the part of Q that its |g_r| |g_f| has in S, their sum:
then all blocks are feasible or none is. Variant U lowers the retain loss by Q and harms the forgetting least: the same
with (-g_f, -g_r) for (g_r, g_f).

The run stops before the first step that must harm: Q > sum_i eta |g_f,i| |p_i| and kappa > 0. Departures: the released
test leaves `kappa > 0` out, and so stops where the gradients are opposed, the easiest case (`released_stop`). And a run
that could not take a single step is an error here, where the released one returns the model as it was.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import safe
from ue_jax.forget import requests, two_gradients

VARIANTS = ("q", "u")
ALLOCATIONS = ("product", "softmax", "equal", "whole")
QUOTAS = ("absolute", "relative")
SLACK = 1e-6  # of rounding, in the comparison of a quota with what can be reached
ALIGNED = 1e-12  # |p|^2 / |g_r|^2 below which the gradients count as parallel: float32 holds 1e-7 of a length


def method(
  q: Any = 0.5,
  rate: Any = 1e-4,
  variant: str = "q",
  allocation: str = "product",
  quota: str = "absolute",
  stop: bool = True,
  stop_on_infeasible: bool = True,
  released_stop: bool = False,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and those of `keep` or `retain_sets`. For pictures and for tokens.

  The curves hold what `hamu` says of every step; the step that was not taken any more is their last point.

  Args:
    q: the quota, in units of `rate` (`absolute`) or of the most that can be reached (`relative`: 0 to 1, always
      feasible). May be traced, like rate and clip.
    rate: eta.
    variant: `q` or `u`.
    allocation: of the quota over the blocks: by `product` (see above), `softmax` of -kappa_i, `equal`, or `whole`: the
      network is one block. Under `softmax` and `equal` single blocks may be asked too much; they then only ascend.
    quota: `absolute` as published: infeasible where gradients are short, as on converged models; or `relative`, with
      which such a model hardly moves.
    stop: whether the run stops before unavoidable harm.
    stop_on_infeasible: whether it stops at a quota that cannot be met; else it ascends on the forget loss only.
    released_stop: the released test, see above.
    options: the others of `two_gradients.procedure`: clip, steps, forget_batch, retain_batch, retain, forget, gamma,
      alpha, keep, label, optimizer, pairing, anchor, retain_sets.

  Raises:
    Invalid: for an unknown name or numbers out of range; at `init` for data without the sets; at `finish` if the quota
      could not be met at the first step, so that nothing was forgotten.
  """
  _check(variant, allocation, quota, q)

  def rule(g_r, g_f):
    delta, said = hamu(
      g_r, g_f, rate, q, variant=variant, allocation=allocation, quota=quota, released_stop=released_stop
    )
    said["unavoidable"] = said["stop"]
    said["stop"] = said["stop"] & stop
    return delta, said | {"refused": said["infeasible"] & stop_on_infeasible}

  def finish(state, request):
    idle = bool(np.asarray(state.refused)) and int(np.asarray(state.moved)) == 0
    fix = "the gradients are too short for it, as on a converged model: set quota='relative', or lower q"
    require(not idle, "method.q", q, f"cannot be met at the first step, so nothing was forgotten; {fix}")
    return requests.finish(state.params, state.state, request)

  return two_gradients.procedure(rule, finish=finish, rate=rate, **options)


method.__signature__ = with_options(method, two_gradients.procedure)


def hamu(
  g_r: Any,
  g_f: Any,
  eta: Any,
  q: Any,
  *,
  variant: str = "q",
  allocation: str = "product",
  quota: str = "absolute",
  released_stop: bool = False,
) -> tuple[Any, dict[str, jax.Array]]:
  """What to add to the parameters, a float32 tree like g_r, and how hard it was.

  Args:
    g_r, g_f: gradients of the retain and of the forget loss, trees of one structure.
    eta: > 0.
    q: the quota, >= 0; see `method`, as for the others.

  Returns:
    The step, and float32 or bool scalars: `kappa` of all parameters together; `kappa_1` = -Q / eta, below which plain
    descent forgets enough; `quota` Q; `reach` eta S and `room` sum_i eta |g_f,i| |p_i|, above which Q is infeasible and
    harm unavoidable; `direct`, `rectified` and `ascending`, shares of the blocks; `forget_rise` and `retain_rise`, what
    the step adds to the losses to first order; `stop`; `infeasible`.
  """
  r, f = (g_r, g_f) if variant == "q" else jax.tree.map(jnp.negative, (g_f, g_r))
  whole = allocation == "whole"
  rr, ff, kappa = inner(r, r, whole), inner(f, f, whole), inner(r, f, whole)
  p = jax.tree.map(jnp.subtract, scaled(r, jnp.ones_like(kappa)), scaled(f, kappa / safe(ff)))
  pp = inner(p, p, whole)
  reach, room = eta * jnp.sum(jnp.sqrt(rr * ff)), eta * jnp.sum(jnp.sqrt(pp * ff))
  need = q * (eta if quota == "absolute" else reach)
  own = need * shares(rr, ff, kappa, allocation)
  left = eta**2 * rr - own**2 / safe(ff)
  short = left < -SLACK * eta**2 * rr
  direct = ~short & (kappa * eta <= -own)
  ascend = ~direct & (short | (pp <= ALIGNED * rr))
  along_p = jnp.where(direct | ascend, 0.0, jnp.sqrt(jnp.maximum(left, 0.0) / safe(pp)))
  along_f = jnp.where(direct, 0.0, own / safe(ff))
  parts = scaled(r, jnp.where(direct, -eta, 0.0)), scaled(f, along_f), scaled(p, -along_p)
  delta = jax.tree.map(lambda a, b, c: a + b + c, *parts)
  total = jnp.sum(kappa)
  rises = [jnp.sum(inner(delta, g, True)) for g in (g_f, g_r)]
  return delta, {
    "kappa": total, "kappa_1": -need / eta, "quota": need, "reach": reach, "room": room,
    "direct": _share(direct), "rectified": _share(~direct & ~ascend), "ascending": _share(ascend),
    "forget_rise": rises[0], "retain_rise": rises[1],
    "stop": (need > room * (1 + SLACK)) & ((total > 0) | released_stop), "infeasible": need > reach * (1 + SLACK),
  }  # fmt: skip


def inner(a: Any, b: Any, whole: bool = False) -> jax.Array:
  """Inner products of the arrays of two trees, float32 `[arrays]`, or `[1]`: their sum, if `whole`.

  Products and sums are element by element: matrix units multiply in fewer bits than a small kappa needs.
  """
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b))
  each = jnp.stack([jnp.sum(x.astype(jnp.float32) * y.astype(jnp.float32)) for x, y in pairs])
  return jnp.sum(each, keepdims=True) if whole else each


def scaled(tree: Any, by: jax.Array) -> Any:
  """The tree in float32, every array times its number of `by` `[arrays]`, or all times the one of `[1]`."""
  leaves, form = jax.tree.flatten(tree)
  by = jnp.broadcast_to(by, (len(leaves),))
  return form.unflatten([x.astype(jnp.float32) * by[i] for i, x in enumerate(leaves)])


def shares(rr: jax.Array, ff: jax.Array, kappa: jax.Array, allocation: str) -> jax.Array:
  """The part of the quota of each block, float32 `[blocks]`, adding up to 1 (to 0 where all gradients are 0)."""
  if allocation == "softmax":
    return jax.nn.softmax(-kappa)
  if allocation == "product":
    product = jnp.sqrt(rr * ff)
    return product / safe(jnp.sum(product))
  return jnp.ones_like(kappa) / len(kappa)


def _share(which: jax.Array) -> jax.Array:
  return jnp.mean(which.astype(jnp.float32))


def _check(variant: str, allocation: str, quota: str, q: Any) -> None:
  for field, value, among in (
    ("variant", variant, VARIANTS), ("allocation", allocation, ALLOCATIONS), ("quota", quota, QUOTAS),
  ):  # fmt: skip
    require(value in among, f"method.{field}", value, f"choose one of {among}")
  require(not isinstance(q, (int, float)) or q >= 0, "method.q", q, "give a number >= 0")
