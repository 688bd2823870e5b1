"""Watching named sets along the way: how much of one is gone while how much of another is left.

The end of a run says nothing of how it got there. With two sets looked at every few steps a method is a curve in the
plane of both scores, and methods that stop at different strengths can be compared where they took equally much.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax

from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.train import likelihood
from ue_jax.train import until as stopping


def watch(
  procedure: Procedure,
  sets: Sequence[str] = ("forget", "retain"),
  score: str = "p",
  every: int = 5,
  label: str = "label",
) -> Procedure:
  """Request -> Subject: `procedure`, with the score of each set looked at every `every` steps and after the last.

  It takes the steps of `procedure`. What it saw are the curves `<set>_<score>` of the Subject's `history`, NaN at the
  steps between. What is looked at is the Subject that `finish` would give there, so merged adapters count.

  Args:
    procedure: Request -> Subject, whose `finish` may be asked at any step (every descent's may).
    sets: the sets that are looked at.
    score: `ex` or `p`, float32 in [0, 1], see `until.until`.
    every: steps between two looks, above 0.
    label: the labelling, for pictures.

  Raises:
    Invalid: for an unknown score, steps below 1, or no set; at `init` for a set that the data does not have.
  """
  known = ", ".join(stopping.SCORES)
  require(score in stopping.SCORES, "method.watch.score", score, f"choose one of {known}")
  require(type(every) is int and every > 0, "method.watch.every", every, "give a whole number of steps above 0")
  require(len(sets) > 0, "method.watch.sets", sets, "name at least one set")
  of = stopping.SCORES[score]

  def init(key, problem):
    for name in sets:
      require(name in problem.data.sets, "method.watch.sets", name, f"choose from {sorted(problem.data.sets)}")
    return procedure.init(key, problem)

  def probe(state, problem):
    subject = procedure.finish(state, problem)
    apply = likelihood.callable_tree(subject.model.apply)
    look = lambda name: _look(of, apply, subject.params, subject.state, stopping.chunks(problem.data, name, label))
    own = procedure.probe(state, problem) if procedure.probe else {}
    return own | {f"{name}_{score}": look(name) for name in sets}

  return procedure._replace(init=init, probe=probe, every=every)


_look = jax.jit(stopping.mean, static_argnums=0)
