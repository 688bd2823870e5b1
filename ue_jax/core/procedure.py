"""Contract one: what iterates is a Procedure, a handful of pure functions.

jit, vmap, pmap, scan and the loop belong to the caller. A procedure never logs, saves, prints,
reads files or knows a config.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


def _no_batch(seed: int, problem: Any, t: int) -> dict:
  del seed, problem, t
  return {}


class Procedure(NamedTuple):
  """An arrow between nouns that takes steps.

  Attributes:
    init: `(key, problem) -> state`; a NamedTuple of arrays with fixed shapes and dtypes, which
      carries its own step counter and key: the randomness of step t is `fold_in(key, t)`, so the
      state alone is enough to resume, with the same bits. What is in fields called `frozen` or
      `apply` is never changed by a step: the loop neither copies nor saves it.
    step: `(state, batch) -> (state, metrics)`; jittable. Steps that can be spread over devices take
      a keyword `axis=None`, the name of the mapped device axis for `parallel.spread` collectives.
    finish: `(state, problem) -> result`, one of the nouns. It is given the problem again so that
      states stay small enough to checkpoint often.
    batch: `(seed, problem, t) -> batch` of host arrays for step t: a pure function of its
      arguments, so that nothing but t has to be remembered to go on.
    steps: how many steps to take; a state with a field `done` may stop earlier.
    probe: `(state, problem) -> {name: scalar}` looked at every `every` steps and after the last
      (test accuracy along training); None if there is nothing to look at.
    every: steps between two probes.
    axes: prefix tree of the state for device placement: None (replicated, batch split over
      devices) or 0 at the leaves which are split instead, the batch being replicated.
    convolutional: True if the step contains convolutions; the loop then does not scan on CPU,
      where convolutions inside a loop lose their threads.
  """

  init: Callable[..., Any]
  step: Callable[..., tuple[Any, dict]]
  finish: Callable[[Any, Any], Any]
  batch: Callable[[int, Any, int], Any] = _no_batch
  steps: int = 1
  probe: Callable[[Any, Any], dict] | None = None
  every: int = 0
  axes: Any = None
  convolutional: bool = False


def convolves(procedure: Procedure, problem: Any) -> bool:
  """Whether the steps have convolutions: the procedure says so, or it changes a model that has.

  A method of unlearning is made before it is given its network, so it cannot say.
  """
  model = getattr(getattr(problem, "subject", None), "model", None)
  return procedure.convolutional or bool(getattr(model, "convolutional", False))


class Once(NamedTuple):
  """State of a procedure that has nothing to iterate: `key`, and the step counter."""

  key: jax.Array
  step: jax.Array


def once(fn: Callable[[jax.Array, Any], Any]) -> Procedure:
  """Makes a Procedure of a function `(key, problem) -> result` that does not iterate."""

  def init(key, problem):
    del problem
    return Once(key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  return Procedure(init, step, lambda state, problem: fn(state.key, problem), steps=0)


def run_scan(procedure: Procedure, state: Any, batches: Any) -> tuple[Any, dict]:
  """Takes one step a leading slice of `batches` inside one compiled `scan`.

  Returns the last state and the metrics stacked on a leading axis.
  """
  return jax.lax.scan(procedure.step, state, batches)


def run_until(procedure: Procedure, state: Any, batch: Any, limit: int) -> Any:
  """Steps on one and the same `batch` until `state.done` or `limit` steps, as a `while_loop`."""

  def going(carry):
    t, state = carry
    return (t < limit) & ~state.done

  def body(carry):
    t, state = carry
    return t + 1, procedure.step(state, batch)[0]

  return jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), state))[1]
