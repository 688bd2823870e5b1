"""A procedure that stops by itself: a boolean in its state, so that many settings may run in one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.procedure import Procedure


class Watched(NamedTuple):
  """The state of a procedure that stops by itself.

  Attributes:
    inner: the state of what is watched.
    done: bool scalar; once it is True nothing changes any more.
    key, step: as in every state.
  """

  inner: Any
  done: jax.Array
  key: jax.Array
  step: jax.Array


def capped(procedure: Procedure, over: Callable[[dict], jax.Array]) -> Procedure:
  """The procedure that takes no step at and after the first whose metrics are `over`.

  Args:
    procedure: its metrics are of the state BEFORE the step, as those of `train.descend` are.
    over: metrics -> bool scalar.
  """

  def watched(inner, done):  # what is inside may stop by itself, too
    return Watched(inner, done | getattr(inner, "done", False), inner.key, inner.step)

  def step(state, batch, axis=None):
    new, metrics = procedure.step(state.inner, batch, axis)
    done = state.done | over(metrics)
    return watched(jax.tree.map(lambda old, x: jnp.where(done, old, x), state.inner, new), done), metrics

  probe = procedure.probe
  return procedure._replace(
    init=lambda key, problem: watched(procedure.init(key, problem), jnp.zeros((), bool)),
    step=step,
    finish=lambda state, problem: procedure.finish(state.inner, problem),
    probe=None if probe is None else lambda state, problem: probe(state.inner, problem),
  )
