"""PAM's swap phase with all swap costs kept: the swaps of FastPAM1 and PAM at the price of a few sweeps.

Kaufman & Rousseeuw 1987 (PAM); Schubert & Rousseeuw, "Fast and Eager k-Medoids Clustering", 2021 (FastPAM1, whose
result this equals: in each step the best of all k(n - k) swaps; ties go to the lower candidate, then the lower slot).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import nearest, swap_costs
from ue_jax.cluster.dissimilarities import Source, lower
from ue_jax.cluster.nearest import Nearest
from ue_jax.cluster.swap_costs import Costs
from ue_jax.parallel.spread import gather

REFRESH = 256  # swaps after which sums kept in float32 are formed anew


class Swap(NamedTuple):
  """The best swap by the kept costs: medoid `slot` for candidate `j` with its column; `exact` is summed anew."""

  slot: jax.Array
  j: jax.Array
  column: jax.Array
  kept: jax.Array
  exact: jax.Array


class Search(NamedTuple):
  """The state: `since` counts the swaps since the costs were formed, `sweeps` how often they were.

  `going` says that the last look found a swap, `done` that there is none.
  """

  now: Nearest
  costs: Costs
  loss: jax.Array
  swaps: jax.Array
  since: jax.Array
  sweeps: jax.Array
  going: jax.Array
  done: jax.Array

  @property
  def steps(self):
    return self.swaps

  @property
  def passes(self):
    return self.swaps + 1


def search(source: Source, medoids: jax.Array, tol, max_steps, blocks: bool = False) -> Search:
  """Swaps until no swap lowers the cost by more than `tol` of it, or `max_steps` swaps.

  A swap is taken, and the search ends, on a change of the cost that is summed anew from the column in O(n). Where that
  differs from the kept one, and after `REFRESH` swaps, the kept costs are formed anew.
  """

  def cycle(state: Search) -> Search:
    costs = swap_costs.fresh(source, state.now, blocks)
    state = state._replace(costs=costs, since=jnp.int32(0), sweeps=state.sweeps + 1, going=jnp.bool_(True))
    step = lambda s: step_of(source, s, tol, max_steps, blocks)
    return jax.lax.while_loop(lambda s: s.going & (s.since < REFRESH), step, state)

  now, zero, false = nearest.nearest(source, medoids), jnp.int32(0), jnp.bool_(False)
  costs, loss = swap_costs.zero(source, medoids.shape[0]), nearest.total(now.d1)
  start = Search(now, costs, loss, zero, zero, zero, false, false)
  return jax.lax.while_loop(lambda s: ~s.done & (s.swaps < max_steps), cycle, start)


def step_of(source: Source, state: Search, tol, max_steps, blocks: bool = False) -> Search:
  """Finds the best swap and takes it, if it lowers the cost and its kept cost is sound."""
  slot, j, column, kept, exact = best(source, state.now, state.costs)
  sound = (state.since == 0) | (jnp.abs(exact - kept) <= 1e-4 * jnp.abs(exact) + 1e-7 * state.loss)
  improves = exact < -tol * state.loss
  going = sound & improves & (state.swaps < max_steps)
  after, points, count = nearest.swap(state.now, slot, j, column, going)
  costs = swap_costs.update(source, state.costs, state.now, after, points, count, blocks)
  one = going.astype(jnp.int32)
  return Search(after, costs, nearest.total(after.d1), state.swaps + one, state.since + one, state.sweeps, going,
                sound & ~improves)


def best(source: Source, now: Nearest, costs: Costs) -> Swap:
  """The swap with the lowest kept cost over all devices."""
  lowest = jax.lax.reduce(costs.own, jnp.float32(jnp.inf), lower, (0,))
  value = jnp.where(candidates(source, now.medoids), costs.shared + lowest, jnp.inf)
  at = jnp.argmin(value)
  slot = jnp.argmin(costs.own[:, at]).astype(jnp.int32)
  bits = jax.lax.bitcast_convert_type(value[at], jnp.int32)  # one exchange between the devices, not three
  found = gather(jnp.stack([bits, slot, source.ids[at]])[None], source.axis)
  values = jax.lax.bitcast_convert_type(found[:, 0], jnp.float32)
  device = jnp.argmin(values)
  slot, j = found[device, 1], found[device, 2]
  column = source.column(j)
  return Swap(slot, j, column, values[device], nearest.gain(now, slot, column))


def candidates(source: Source, medoids: jax.Array) -> jax.Array:
  """Which of this device's candidates are not medoids, bool `[m]`."""
  return source.valid & ~jnp.any(source.ids[:, None] == medoids, axis=1)
