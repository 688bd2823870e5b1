"""Many runs of one procedure as one program: other seeds, other samples, other starting points, the same steps.

`sweep` maps over hyper-parameters on one problem; here every run has a problem and a seed of its own. That is what
shadow models are: networks trained on random halves of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import keys
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure, convolves
from ue_jax.parallel import mesh
from ue_jax.parallel.sweep import CHUNK, _rows, _strong


def fit(
  procedure: Procedure, problems: Sequence[Any], seeds: Sequence[int], steps_per_call: int = 0,
  stop: Callable[[], bool] | None = None,
) -> list[Any]:  # fmt: skip
  """The noun of every problem, equal to that of a run of its own with the same seed.

  Args:
    procedure: its batches must have the same shapes for all problems, and so must the states.
    problems: one a run.
    seeds: of the key and the batches, one a run.
    steps_per_call: steps scanned in one compiled call; 0 chooses 25, on CPU 1 for convolutions, which lose their
      threads in a scan there.
    stop: polled between calls; when it returns True no further step is taken, and `None` is returned for every run.

  Returns:
    A list with one noun a problem. States with `done` stop by themselves. There are no curves.

  Raises:
    Invalid: for no problem, another number of seeds, or steps_per_call below 0.
  """
  require(len(problems) == len(seeds) > 0, "seeds", len(seeds), "give one seed a problem, and at least one problem")
  require(steps_per_call >= 0, "steps_per_call", steps_per_call, "give 0 (automatic) or a number of steps >= 1")
  states = [_strong(procedure.init(keys.key(seed), problem)) for seed, problem in zip(seeds, problems)]
  state = jax.jit(lambda states: jax.tree.map(lambda *x: jnp.stack(x), *states))(states)
  run = jax.jit(jax.vmap(_chunk(procedure)), donate_argnums=0)  # without a copy of all states a call
  scanned = mesh.on_accelerator() or not convolves(procedure, problems[0])
  size = steps_per_call or (CHUNK if scanned else 1)
  for first in range(0, procedure.steps, size):
    if stop is not None and stop():
      return [None] * len(problems)
    times = range(first, min(first + size, procedure.steps))
    each = [[procedure.batch(seed, problem, t) for t in times] for seed, problem in zip(seeds, problems)]
    state = run(state, _stacked([_stacked(batches) for batches in each]))
  return [procedure.finish(row, problem) for row, problem in zip(_rows(state, len(problems)), problems)]


def _chunk(procedure: Procedure) -> Callable:
  """`(state, batches [k]) -> state` of one run; a state that is `done` stays."""

  def step(state, batch):
    new, _ = procedure.step(state, batch)
    if hasattr(state, "done"):
      new = jax.tree.map(lambda old, x: jnp.where(state.done, old, x), state, new)
    return new, None

  def run(state, batches):
    if len(jax.tree.leaves(batches)[0]) == 1:
      return step(state, jax.tree.map(lambda x: x[0], batches))[0]
    return jax.lax.scan(step, state, batches)[0]

  return run


def _stacked(trees: Sequence[Any]) -> Any:
  """Trees of arrays as one, with an axis for them in front; what is on the host is stacked there, in one piece."""
  return jax.tree.map(lambda *x: (jnp if isinstance(x[0], jax.Array) else np).stack(x), *trees)
