"""FasterPAM's eager swaps, exactly in its order, though whole blocks of candidates are judged at once.

Schubert & Rousseeuw 2021: in a pass over the points, candidate j replaces the medoid for which that changes the cost
most, as soon as it lowers it; the search ends when all others were refused since the last swap. Here a block of
candidates is judged under the present medoids. The first that improves is swapped in, and judging goes on behind it:
those before it were refused under the very medoids that the sequential method had, so swaps and passes are the same.

Most candidates are refused by a bound. With R[m] the cost of removing medoid m, and the medoids cut into a few groups
of similar R, `shared(j) + min over groups of (min R + sum over the group's points of clip(x, d1, d2) - d2)` is never
above the change by the best swap. Only what it leaves is summed for every medoid.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import build, nearest
from ue_jax.cluster.dissimilarities import Source, between, lower
from ue_jax.cluster.distances import HIGHEST
from ue_jax.cluster.nearest import Nearest

GROUPS = 8
SIZES = (4, 32, 128)  # candidates judged at once, for the mean distance between swaps


class Eager(NamedTuple):
  """The state: `t` counts candidates looked at, `last` is the t of the last swap, `gap` the mean distance between."""

  now: Nearest
  loss: jax.Array
  swaps: jax.Array
  t: jax.Array
  last: jax.Array
  gap: jax.Array
  sweeps: jax.Array
  done: jax.Array

  @property
  def steps(self):
    return self.swaps

  @property
  def passes(self):
    n = self.now.near.shape[0]
    return jnp.where(self.swaps > 0, self.last // n + 2, 1)


class Groups(NamedTuple):
  """Medoids of similar cost of removal: `removal` float32 `[k]`, `least` `[g]`, `member` `[g, n]` of the points."""

  removal: jax.Array
  least: jax.Array
  member: jax.Array


class Found(NamedTuple):
  """The first improving swap of a block (`any` False: none) and the t at which to go on."""

  any: jax.Array
  slot: jax.Array
  j: jax.Array
  t: jax.Array


def search(source: Source, medoids, tol, max_steps, blocks: bool = False, *, order=None, patience=None) -> Eager:
  """Swaps until n candidates in a row are refused, or `max_steps` swaps; on one device.

  Args:
    source: the dissimilarities.
    medoids: int32 `[k]` to start from.
    tol: a swap must lower the cost by more than this part of it.
    max_steps: most swaps.
    blocks: has no meaning here.
    order: int32 `[n]`, the order in which candidates are looked at; default: as they lie.
    patience: refusals in a row after which to end; default n.
  """
  del blocks
  n = source.n
  patience = n if patience is None else patience

  def going(state):
    return (state.t < state.last + patience) & (state.swaps < max_steps)

  def look(state, groups):
    level = sum((state.gap > size / 2).astype(jnp.int32) for size in SIZES[1:])
    judge = [lambda s, g, size=min(size, n): first_improving(source, s, g, tol, order, size) for size in SIZES]
    return jax.lax.switch(level, judge, state, groups)

  def step(state):
    groups = grouped(state.now)
    refused = lambda carry: ~carry[1].any & going(carry[0]._replace(t=carry[1].t))
    again = lambda carry: (carry[0], look(carry[0]._replace(t=carry[1].t), groups))
    nothing = Found(jnp.bool_(False), jnp.int32(0), jnp.int32(0), state.t)
    _, found = jax.lax.while_loop(refused, again, (state, nothing))
    return _take(source, state, found, patience)

  now, zero = nearest.nearest(source, medoids), jnp.int32(0)
  start = Eager(now, nearest.total(now.d1), zero, zero, zero, jnp.float32(8), zero, jnp.bool_(False))
  state = jax.lax.while_loop(going, step, start)
  return state._replace(done=state.t >= state.last + patience)


def _take(source, state: Eager, found: Found, patience) -> Eager:
  at = found.t - 1
  really = found.any & (at < state.last + patience)
  now = nearest.swap(state.now, found.slot, found.j, source.column(found.j), really)[0]
  gap = 0.8 * state.gap + 0.2 * (at - state.last).astype(jnp.float32)
  return Eager(
    now, nearest.total(now.d1), state.swaps + really.astype(jnp.int32), found.t, jnp.where(really, at, state.last),
    jnp.where(really, gap, state.gap), state.sweeps, state.done)


def grouped(now: Nearest) -> Groups:
  """Cuts the medoids into groups by the cost of removing them."""
  k = now.medoids.shape[0]
  count = min(GROUPS, k)
  removal = jax.ops.segment_sum(now.d2 - now.d1, now.near, k)
  rank = jnp.argsort(jnp.argsort(removal))
  group = (rank * count // k).astype(jnp.int32)
  least = jax.ops.segment_min(removal, group, count)
  member = (group[now.near] == jnp.arange(count, dtype=jnp.int32)[:, None]).astype(jnp.float32)
  return Groups(removal, least, member)


def first_improving(source: Source, state: Eager, groups: Groups, tol, order, size: int) -> Found:
  """Judges the candidates from `state.t` on, at most `size` and not beyond the end of the pass."""
  n, now = source.n, state.now
  begin = jnp.minimum(state.t % n, n - size)
  at = begin + jnp.arange(size, dtype=jnp.int32)
  js = at if order is None else jax.lax.dynamic_slice_in_dim(order, begin, size)
  x = source.span(begin, size) if order is None else source.columns(js)
  fresh = (at >= state.t % n) & ~jnp.any(js[:, None] == now.medoids, axis=1)
  slack = 1e-6 * state.loss
  left = fresh & (_bound(x, now, groups) < slack)

  def exact(carry):
    i, _, _ = carry
    column = jax.lax.dynamic_slice_in_dim(x, i, 1, 1)[:, 0]
    losses = jax.ops.segment_sum(between(column, now.d1, now.d2) - now.d1, now.near, now.medoids.shape[0])
    slot = jnp.argmin(losses).astype(jnp.int32)
    improves = nearest.gain(now, slot, column) < -tol * state.loss
    return jnp.where(improves, i, _next(left, i + 1)), slot, improves

  start = (_next(left, 0), jnp.int32(0), jnp.bool_(False))
  i, slot, improves = jax.lax.while_loop(lambda c: (c[0] < size) & ~c[2], exact, start)
  end = state.t + jnp.minimum(size, n - state.t % n)
  t = jnp.where(improves, state.t + at[jnp.minimum(i, size - 1)] - state.t % n + 1, end)
  return Found(improves, slot, js[jnp.minimum(i, size - 1)], t)


def _bound(x, now: Nearest, groups: Groups):
  """Never above the change of the cost by the best swap for each candidate, up to rounding, float32 `[size]`."""
  d1, d2 = now.d1[:, None], now.d2[:, None]
  shared = jnp.sum(lower(x, d1) - d1, axis=0)
  rest = jnp.matmul(groups.member, between(x, d1, d2) - d2, precision=HIGHEST)
  return shared + jnp.min(groups.least[:, None] + rest, axis=0)


def _next(mask, i):
  """The first position from i on where mask is True, or its length."""
  size = mask.shape[0]
  at = jnp.arange(size, dtype=jnp.int32)
  return jnp.min(jnp.where(mask & (at >= i), at, size))


def single(source: Source, medoids) -> Eager:
  """The one point of the lowest total cost, as if found from `medoids` int32 `[1]` in one pass."""
  now = nearest.nearest(source, build.build(source, 1, jax.random.key(0)))
  one, zero = jnp.int32(1), jnp.int32(0)
  swaps = jnp.any(now.medoids != medoids).astype(jnp.int32)
  return Eager(now, nearest.total(now.d1), swaps, one, -one * source.n, jnp.float32(0), zero, jnp.bool_(True))
