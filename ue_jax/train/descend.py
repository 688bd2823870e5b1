"""An objective and an optax transformation, made into a Procedure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import Objective, combine
from ue_jax.parallel import spread


class Descent(NamedTuple):
  """The state of a descent.

  Attributes:
    params: what is trained.
    state: what the model carries beside (batch statistics).
    opt: the optimiser's state.
    frozen: trees that the objective reads and nothing changes (a reference model).
    key: typed random key; step t draws from `fold_in(key, t)`.
    step: int32 scalar, steps taken.
  """

  params: Any
  state: Any
  opt: Any
  frozen: Any
  key: jax.Array
  step: jax.Array


def descend(
  objective: Objective,
  tx: optax.GradientTransformation,
  *,
  start: Callable[[jax.Array, Any], tuple[Any, Any, Any]],
  finish: Callable[[Any, Any, Any], Any],
  batch: Callable[[int, Any, int], Any],
  steps: int,
  probe: Callable[[Descent, Any], dict] | None = None,
  every: int = 0,
  convolutional: bool = False,
  whole: bool = False,
) -> Procedure:
  """The Procedure that follows the gradient of `combine(terms)`.

  Args:
    objective: `(params, state, frozen, batch, key) -> (terms, new model state)`.
    tx: from `optim.make`, or any optax transformation; hyper-parameters may be traced.
    start: `(key, problem) -> (params, model state, frozen)`.
    finish: `(params, model state, problem) -> noun`.
    batch, steps, probe, every, convolutional: as in `Procedure`.
    whole: the objective has terms of the whole batch, and takes a last argument `axis`, over which to gather it.

  Metrics: every term as a Tally under its name, and `loss`. Over a mapped axis gradients and tallies are summed, the
  model state is averaged with each device's term weights, and `key` is the device's own.
  """

  def init(key, problem):
    start_key, step_key = jax.random.split(key)
    params, state, frozen = start(start_key, problem)
    return Descent(params, state, tx.init(params), frozen, step_key, jnp.zeros((), jnp.int32))

  def done(state: Descent, problem):
    return finish(state.params, state.state, problem)

  def of_all(state, batch, axis=None):
    return descent_step(functools.partial(objective, axis=axis), tx, state, batch, axis)

  step = of_all if whole else functools.partial(descent_step, objective, tx)
  return Procedure(init, step, done, batch, steps, probe, every, None, convolutional)


def descent_step(
  objective: Objective, tx: optax.GradientTransformation, state: Descent, batch: Any, axis: str | None = None
) -> tuple[Descent, dict]:
  """One gradient step; returns the state and the metrics."""
  allsum = functools.partial(spread.allsum, axis=axis)
  key = spread.local_key(jax.random.fold_in(state.key, state.step), axis)

  def loss(params):  # this device's part: the parts of all devices add up to the loss
    terms, model_state = objective(params, state.state, state.frozen, batch, key)
    return combine(terms, allsum), (terms, model_state)

  (value, (terms, model_state)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
  updates, opt = tx.update(allsum(grads), state.opt, state.params)
  params = optax.apply_updates(state.params, updates)
  metrics = {name: Tally(allsum(t.total), allsum(t.weight)) for name, t in terms.items()}
  metrics["loss"] = allsum(value)
  seen = functools.reduce(jnp.add, [t.weight for t in terms.values()])
  model_state = spread.allmean(model_state, seen, axis)
  return state._replace(params=params, state=model_state, opt=opt, step=state.step + 1), metrics
