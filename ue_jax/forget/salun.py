"""SalUn: random labels, on the parameters that matter most for what is to be forgotten and on no others.

Source: Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency in Both Image
Classification and Generation", ICLR 2024. The mask holds the largest entries, over all parameters jointly, of

  | sum over D_f of the gradient of the cross entropy | .

The gradient and the update are both masked: momentum, weight decay and the like would move what has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.forget import gradients, random_labels, requests, vision


def method(
  share: Any = 0.5,
  exclude_true: bool = False,
  order: str = "together",
  batch_size: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Args:
    share: of the parameters that are trained, in (0, 1]; may be traced. The others keep their bits.
    exclude_true, order, batch_size, keep, label: see `random_labels.method`.
    options: those of `vision.procedure`.

  Raises:
    Invalid: for a share out of range or an unknown order; at `init` for data without the sets or the labelling.
  """
  require(not isinstance(share, (int, float)) or 0 < share <= 1, "method.share", share, "give a share in (0, 1]")
  begin = random_labels.start(keep, label)

  def start(key, request):
    params, state, frozen = begin(key, request)
    return params, state, {**frozen, "salient": salient(gradients.summed(request, "forget", label), share)}

  def objective(params, state, frozen, batch, key):
    held = jax.tree.map(lambda hit, x: jnp.where(hit, x, jax.lax.stop_gradient(x)), frozen["salient"], params)
    return random_labels.objective(held, state, frozen, batch, key)

  draw = random_labels.draws(exclude_true, order, batch_size, keep, label)
  plain = vision.procedure(objective, start, draw, requests.finish, **options)

  def step(state, batch, axis=None):
    new, metrics = plain.step(state, batch, axis)
    return new._replace(params=jax.tree.map(jnp.where, state.frozen["salient"], new.params, state.params)), metrics

  return plain._replace(step=step)


method.__signature__ = with_options(method, vision.procedure)


@jax.jit
def salient(gradient: Any, share: Any) -> Any:
  """A tree of bool arrays: True at the `share` of all entries with the largest absolute values.

  Args:
    gradient: tree of float arrays.
    share: in [0, 1]; that many entries (rounded to the nearest) are True, also where values are equal.
  """
  flat, back = ravel_pytree(jax.tree.map(lambda x: jnp.abs(x.astype(jnp.float32)), gradient))
  n = flat.shape[0]
  rank = jnp.zeros(n, jnp.int32).at[jnp.argsort(-flat)].set(jnp.arange(n, dtype=jnp.int32))
  hit = rank < jnp.round(jnp.asarray(share, jnp.float32) * n).astype(jnp.int32)
  return jax.tree.map(lambda x: x > 0, back(hit.astype(jnp.float32)))
