"""The best swap of every medoid in one round: FastPAM2 on kept costs, a few rounds instead of many swaps.

Schubert & Rousseeuw 2021: in a round each medoid's best candidate is found; they are taken in the order of what they
gain, each only if it still lowers the cost when that is summed anew. The end is a local optimum of PAM. Fewer, larger
steps suit accelerators, where launching a program costs more than what it computes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import nearest, swap_costs
from ue_jax.cluster.dissimilarities import Source, lower
from ue_jax.cluster.distances import listed
from ue_jax.cluster.nearest import Nearest
from ue_jax.cluster.pam import REFRESH, candidates
from ue_jax.cluster.swap_costs import Costs
from ue_jax.parallel.spread import gather


class Rounds(NamedTuple):
  """The state; `since` counts the swaps since the costs were formed, `found` those of the last round."""

  now: Nearest
  costs: Costs
  loss: jax.Array
  swaps: jax.Array
  passes: jax.Array
  sweeps: jax.Array
  since: jax.Array
  found: jax.Array
  done: jax.Array

  @property
  def steps(self):
    return self.swaps


def search(source: Source, medoids: jax.Array, tol, max_steps, blocks: bool = False) -> Rounds:
  """Rounds until no swap at all lowers the cost by more than `tol` of it, or `max_steps` swaps.

  Ends only on costs formed from all points in the last sweep, or kept over less than `REFRESH` swaps.
  """

  def cycle(state):
    costs = swap_costs.fresh(source, state.now, blocks)
    state = state._replace(costs=costs, since=jnp.int32(0), sweeps=state.sweeps + 1, found=jnp.int32(1))
    step = lambda s: one_round(source, s, tol, max_steps, blocks)
    state = jax.lax.while_loop(lambda s: (s.found > 0) & (s.since < REFRESH), step, state)
    return state._replace(done=(state.found == 0) & (state.swaps < max_steps))

  now, zero = nearest.nearest(source, medoids), jnp.int32(0)
  costs = swap_costs.zero(source, medoids.shape[0])
  start = Rounds(now, costs, nearest.total(now.d1), zero, zero, zero, zero, zero, jnp.bool_(False))
  return jax.lax.while_loop(lambda s: ~s.done & (s.swaps < max_steps), cycle, start)


def one_round(source: Source, state: Rounds, tol, max_steps, blocks: bool = False) -> Rounds:
  """Finds each medoid's best candidate, takes those that still gain, adds all changes to the kept costs."""
  before = state.now
  js, values = each_best(source, before, state.costs)
  columns = source.columns(js)

  order = jnp.argsort(values)
  count = jnp.sum((values < 0).astype(jnp.int32))
  column = lambda i: jax.lax.dynamic_slice_in_dim(columns, order[i], 1, 1)[:, 0]

  def gains(i, now, loss):
    free = ~jnp.any(now.medoids == js[order[i]])
    return free & (nearest.gain(now, order[i], column(i)) < -tol * loss)

  def attempt(carry):
    i, now, loss, swaps = carry
    i = jax.lax.while_loop(lambda i: (i < count) & ~gains(i, now, loss), lambda i: i + 1, i)
    really = i < count
    now = nearest.swap(now, order[i], js[order[i]], column(i), really)[0]
    return i + 1, now, nearest.total(now.d1), swaps + really.astype(jnp.int32)

  start = (jnp.int32(0), before, state.loss, state.swaps)
  _, now, loss, swaps = jax.lax.while_loop(lambda c: (c[0] < count) & (c[3] < max_steps), attempt, start)
  changed = (now.near != before.near) | (now.d1 != before.d1) | (now.d2 != before.d2)
  points, many = listed(changed)
  costs = swap_costs.update(source, state.costs, before, now, points, many, blocks)
  found = swaps - state.swaps
  return state._replace(now=now, costs=costs, loss=loss, swaps=swaps, passes=state.passes + 1, found=found,
                        since=state.since + found)


def each_best(source: Source, now: Nearest, costs: Costs) -> tuple[jax.Array, jax.Array]:
  """For each medoid the candidate of lowest kept cost over all devices, int32 `[k]`, and that cost, float32 `[k]`."""
  value = jnp.where(candidates(source, now.medoids), costs.shared + costs.own, jnp.inf)
  low = jax.lax.reduce(value, jnp.float32(jnp.inf), lower, (1,))
  at = jnp.argmax(value == low[:, None], axis=1)
  lows, js = gather((low[None], source.ids[at][None]), source.axis)
  device = jnp.argmin(lows, axis=0)[None]
  take = lambda a: jnp.take_along_axis(a, device, 0)[0]
  return take(js), take(lows)
