"""The naive method: give every point to its nearest medoid, then every cluster its best centre, in turn.

It stops a few per cent above what swaps reach, and is here to be compared with.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import nearest
from ue_jax.cluster.dissimilarities import Source, fold
from ue_jax.cluster.nearest import Nearest
from ue_jax.parallel.spread import gather


class Alternation(NamedTuple):
  """The state: `swaps` counts medoids that moved, `passes` iterations."""

  now: Nearest
  swaps: jax.Array
  passes: jax.Array
  sweeps: jax.Array
  done: jax.Array

  @property
  def steps(self):
    return self.passes


def search(source: Source, medoids: jax.Array, tol, max_steps, blocks: bool = False) -> Alternation:
  """Iterates until no medoid moves, or `max_steps` iterations; `tol` and `blocks` have no meaning here."""
  del tol, blocks

  def body(state):
    now = nearest.nearest(source, centre(source, state.now))
    moved = jnp.sum((now.medoids != state.now.medoids).astype(jnp.int32))
    one = state.passes + 1
    return Alternation(now, state.swaps + moved, one, one, moved == 0)

  zero = jnp.int32(0)
  start = Alternation(nearest.nearest(source, medoids), zero, zero, zero, jnp.bool_(False))
  return jax.lax.while_loop(lambda s: ~s.done & (s.passes < max_steps), body, start)


def centre(source: Source, now: Nearest) -> jax.Array:
  """For each cluster the member that serves the others at the lowest cost; a medoid stays unless one is better."""
  everyone = jnp.arange(source.n, dtype=jnp.int32)
  mine = now.near[source.ids]
  add = lambda sums, u, x: sums + jnp.where(mine == now.near[u], x, 0)
  sums = fold(source, everyone, source.n, add, jnp.zeros(source.ids.shape, jnp.float32))
  member = source.valid & (mine == jnp.arange(now.medoids.shape[0])[:, None])
  value = jnp.where(member, sums, jnp.inf)
  at = jnp.argmin(value, axis=1)
  stays = jnp.sum(jnp.where(source.valid & (source.ids == now.medoids[:, None]), sums, 0), axis=1)
  lows, js, stays = gather((jnp.min(value, axis=1)[None], source.ids[at][None], stays[None]), source.axis)
  device = jnp.argmin(lows, axis=0)[None]
  take = lambda a: jnp.take_along_axis(a, device, 0)[0]
  return jnp.where(take(lows) < jnp.sum(stays, axis=0), take(js), now.medoids)
