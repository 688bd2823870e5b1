"""Lloyd's iteration without most of its distances: the same partitions, for large problems on a CPU.

Every row keeps an upper bound on the distance to its own centre and a lower bound on that to all others (Hamerly,
"Making k-means even faster", SDM 2010). A lower bound sinks by the largest movement of any centre, and usually a few
centres move far and most hardly at all: the distances to those few are computed for every row, and the bound sinks
by the largest movement of the rest (in the spirit of Ding et al., "Yinyang K-means", ICML 2015). Only rows whose
bounds cross are compared with all centres; they are gathered first, because compiled code does masked work too.

The sums of the clusters follow the rows that changed, and are taken afresh now and then against the drift of float32.
Bounds are widened by what rounding can do, so that a row left out has the label that plain Lloyd gives it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import lloyd
from ue_jax.cluster.distances import HIGHEST, block_size, by_blocks, listed, lowest
from ue_jax.core.nouns import Clustering
from ue_jax.parallel import spread

MOVERS = 32  # centres that are looked at by every row
MOST = 0.7  # share of rows in doubt above which bounds do not pay
REFRESH = 32  # steps between two fresh sums


class State(NamedTuple):
  """Bounds and sums of the iteration; rows are this device's own.

  Attributes:
    centers: `[k, d]`; moves: `[k]`, how far each has just moved.
    labels: int32 `[n]`; upper, lower: `[n]`, bounds on the distance to the own centre and to all others.
    sums, mass: `[k, d]` and `[k]` of all devices.
    changed: int32, how many labels changed in the last step on all devices; negative: they are unknown.
    looked: int32, how many rows of all devices were compared with all centres in the last step.
  """

  centers: jax.Array
  moves: jax.Array
  labels: jax.Array
  upper: jax.Array
  lower: jax.Array
  sums: jax.Array
  mass: jax.Array
  changed: jax.Array
  steps: jax.Array
  shift: jax.Array
  looked: jax.Array


class Problem(NamedTuple):
  """What stays: rows `[n, d]` (centred), weights, squared lengths `[n]`, and how many rows of all devices count."""

  x: jax.Array
  weights: jax.Array
  squares: jax.Array
  count: jax.Array


def begin(x: jax.Array, centers: jax.Array) -> State:
  """The state before the first iteration."""
  n, k = x.shape[0], centers.shape[0]
  infinite = jnp.full(n, jnp.inf)
  zero = jnp.zeros(k)
  nothing = jnp.int32(-1), jnp.int32(0), jnp.float32(jnp.inf), jnp.int32(0)
  return State(centers, zero, jnp.zeros(n, jnp.int32), infinite, -infinite, jnp.zeros_like(centers), zero, *nothing)


def step(problem: Problem, state: State, axis: str | None = None) -> State:
  """One iteration: assign, give empty clusters their farthest points, move the centres to the means."""
  k = state.centers.shape[0]
  halves = jnp.sum(state.centers**2, axis=1) / 2
  after, gained, afresh = _assign(problem, state, halves)
  parts = (gained, jax.ops.segment_sum((problem.weights > 0).astype(jnp.int32), after.labels, k), after.looked)
  (sums, mass, changed), members, looked = spread.allsum(parts, axis)
  kept = jnp.where(afresh, 0.0, 1.0)
  after = after._replace(sums=kept * state.sums + sums, mass=kept * state.mass + mass, changed=changed, looked=looked)
  after = jax.lax.cond(jnp.any(members == 0), lambda s: _fill(problem, s, axis), lambda s: s, after)
  centers = after.sums / jnp.where(after.mass > 0, after.mass, 1)[:, None]
  square = jnp.sum((centers - state.centers) ** 2, axis=1)
  changed = jnp.where(state.changed < 0, jnp.maximum(after.changed, 1), after.changed)
  moves = jnp.sqrt(square) * (1 + 1e-6)
  return after._replace(centers=centers, moves=moves, changed=changed, steps=state.steps + 1, shift=jnp.sum(square))


def _assign(problem, state, halves):
  """New labels and bounds; `(sums, mass, how many changed)` of what changed, or of all rows if `afresh`."""
  n = problem.x.shape[0]
  slack = 8 * jnp.finfo(jnp.float32).eps * (problem.squares + 2 * jnp.max(halves))
  many = (state.changed < 0) | (state.steps % REFRESH == 0)
  afresh = many | (state.changed > problem.count // 4)
  movers = min(MOVERS, len(halves) - 1)
  top, far = jax.lax.top_k(state.moves, movers + 1)
  doubt = jnp.mean((state.upper + state.moves[state.labels] > state.lower - top[-1]).astype(jnp.float32))
  see = _View(problem, state, halves, slack, n)
  way = jnp.where(afresh, 0, jnp.where(doubt > MOST, 1, 2))
  ways = (see.afresh, lambda: see.follow(*see.everyone()), lambda: see.follow(*see.doubtful(far[:movers], top[-1])))
  return *jax.lax.switch(way, ways), afresh


class _View(NamedTuple):
  """One assignment, three ways; scores are half the squared distance without the row's own length."""

  problem: Problem
  state: State
  halves: jax.Array
  slack: jax.Array
  n: int

  def scores(self, rows, which=slice(None)):
    return self.halves[which] - jnp.matmul(rows, self.state.centers[which].T, precision=HIGHEST)

  def above(self, score, rows=slice(None)):
    return jnp.sqrt(jnp.maximum(self.problem.squares[rows] + 2 * score + self.slack[rows], 0))

  def below(self, score, rows=slice(None)):
    return jnp.sqrt(jnp.maximum(self.problem.squares[rows] + 2 * score - self.slack[rows], 0))

  def afresh(self):
    """All rows against all centres, and all sums anew: when most labels change, or are not known yet."""
    problem, state, k = self.problem, self.state, len(self.halves)
    size = block_size(self.n, k)

    def body(i, carry):
      labels, near, next_near, sums, mass, changed = carry
      start = jnp.minimum(i * size, self.n - size)
      rows, own = _cut(problem.x, start, size), _cut(state.labels, start, size)
      scores = self.scores(rows)
      new, least = lowest(scores)
      fresh = start + jnp.arange(size) >= i * size  # rows of the overlap were counted before
      weights = jnp.where(fresh, _cut(problem.weights, start, size), 0)
      sums, mass = sums.at[new].add(weights[:, None] * rows), mass.at[new].add(weights)
      changed += jnp.sum((new != own) & (weights > 0), dtype=jnp.int32)
      put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)
      return put(labels, new), put(near, least), put(next_near, _others(scores, new)), sums, mass, changed

    zero = jnp.zeros_like(state.sums), jnp.zeros_like(state.mass), jnp.int32(0)
    begin = state.labels, state.upper, state.lower, *zero
    labels, near, next_near, *gained = jax.lax.fori_loop(0, -(-self.n // size), body, begin)
    upper, lower = self.above(near), self.below(next_near)
    return state._replace(labels=labels, upper=upper, lower=lower, looked=jnp.int32(self.n)), tuple(gained)

  def everyone(self):
    """All rows against all centres; returns who is as near to another centre, the bounds, and how many rows."""
    size = block_size(self.n, len(self.halves))

    def body(i, carry):
      start = jnp.minimum(i * size, self.n - size)
      scores, own = self.scores(_cut(self.problem.x, start, size)), _cut(self.state.labels, start, size)
      put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)
      return put(carry[0], _at(scores, own)), put(carry[1], _others(scores, own))

    mine, others = jax.lax.fori_loop(0, -(-self.n // size), body, (self.state.upper, self.state.lower))
    return others <= mine, self.above(mine), self.below(others), jnp.int32(self.n)

  def doubtful(self, far, rest):
    """Only rows whose bounds cross, after all rows have seen the centres `far`, the others having moved by `rest`."""
    problem, state = self.problem, self.state
    wide = min(self.n, 2048)

    def approach(i, least):
      start = jnp.minimum(i * wide, self.n - wide)
      own = _cut(state.labels, start, wide)
      scores = jnp.where(far == own[:, None], jnp.inf, self.scores(_cut(problem.x, start, wide), far))
      return jax.lax.dynamic_update_slice_in_dim(least, jnp.min(scores, axis=1), start, 0)

    nearest = jax.lax.fori_loop(0, -(-self.n // wide), approach, state.lower)
    upper = state.upper + state.moves[state.labels]
    lower = jnp.minimum(state.lower - rest, self.below(nearest))
    order, count = listed(upper > jnp.maximum(lower, self.apart()[state.labels]))
    size = block_size(self.n, len(self.halves))

    def body(i, carry):
      rows, put = _block(order, count, i, size)
      scores, own = self.scores(problem.x[rows]), state.labels[rows]
      mine, others = _at(scores, own), _others(scores, own)
      upper, lower, changed = carry
      return put(upper, self.above(mine, rows)), put(lower, self.below(others, rows)), put(changed, others <= mine)

    upper, lower, changed = jax.lax.fori_loop(0, -(-count // size), body, (upper, lower, jnp.zeros(self.n, bool)))
    return changed, upper, lower, count

  def apart(self):
    """Half the distance of each centre to the nearest other one: a row within it has no other centre nearer."""
    centers, k = self.state.centers, len(self.halves)
    cross = jnp.matmul(centers, centers.T, precision=HIGHEST)
    square = 2 * (self.halves[:, None] + self.halves - cross) - 16 * jnp.finfo(jnp.float32).eps * jnp.max(self.halves)
    square = jnp.min(jnp.where(jnp.eye(k, dtype=bool), jnp.inf, square), axis=1)
    return jnp.sqrt(jnp.maximum(square, 0)) / 2

  def follow(self, maybe, upper, lower, looked):
    """The new labels of the rows that may have one, and what their moves do to the sums. Ties go to the lower label."""
    problem, state = self.problem, self.state
    order, count = listed(maybe)
    size = min(self.n, 512)

    def body(i, carry):
      labels, upper, lower, sums, mass, changed = carry
      rows, put = _block(order, count, i, size)
      scores = self.scores(problem.x[rows])
      new, least = lowest(scores)
      weights = jnp.where(i * size + jnp.arange(size) < count, problem.weights[rows], 0)
      part, old = weights[:, None] * problem.x[rows], labels[rows]
      sums, mass = sums.at[new].add(part).at[old].add(-part), mass.at[new].add(weights).at[old].add(-weights)
      bounds = put(upper, self.above(least, rows)), put(lower, self.below(_others(scores, new), rows))
      return put(labels, new), *bounds, sums, mass, changed + jnp.sum((new != old) & (weights > 0), dtype=jnp.int32)

    zero = jnp.zeros_like(state.sums), jnp.zeros_like(state.mass), jnp.int32(0)
    begin = state.labels, upper, lower, *zero
    labels, upper, lower, *gained = jax.lax.fori_loop(0, -(-count // size), body, begin)
    return state._replace(labels=labels, upper=upper, lower=lower, looked=looked), tuple(gained)


def _cut(array, start, size):
  return jax.lax.dynamic_slice_in_dim(array, start, size)


def _at(scores, own):
  return jnp.take_along_axis(scores, own[:, None], axis=1)[:, 0]


def _others(scores, own):
  return jnp.min(jnp.where(jnp.arange(scores.shape[1]) == own[:, None], jnp.inf, scores), axis=1)


def _block(order, count, i, size):
  """The rows of block i of the first `count` of `order`, and a function that writes to them, not beyond `count`."""
  at, n = i * size + jnp.arange(size, dtype=jnp.int32), len(order)
  rows = order[jnp.minimum(at, n - 1)]
  to = jnp.where(at < count, rows, n + at)  # beyond the end, and no two alike
  return rows, lambda whole, part: whole.at[to].set(part, mode="drop", unique_indices=True)


def _fill(problem, state: State, axis) -> State:
  """Empty clusters get their points; bounds of the rows that were moved are forgotten, all sums taken anew."""
  k = state.centers.shape[0]
  away = _away(problem.x, state.centers, state.labels)
  labels, _ = lloyd.repair(state.labels, away, problem.weights, k, axis)
  moved = labels != state.labels
  parts = (
    jax.ops.segment_sum(problem.weights[:, None] * problem.x, labels, k),
    jax.ops.segment_sum(problem.weights, labels, k),
    jnp.sum(moved, dtype=jnp.int32),
  )
  sums, mass, count = spread.allsum(parts, axis)
  upper, lower = jnp.where(moved, jnp.inf, state.upper), jnp.where(moved, -jnp.inf, state.lower)
  changed = state.changed + count
  return state._replace(labels=labels, upper=upper, lower=lower, sums=sums, mass=mass, changed=changed)


def _away(x, centers, labels):
  """Squared distances `[n]` to the centre of the label, by differences."""
  return by_blocks(lambda part: jnp.sum((part[0] - centers[part[1]]) ** 2, axis=1), (x, labels), 4096)


def descend(x, weights, tol, max_steps, centers, axis: str | None = None) -> Clustering:
  """What `lloyd.descend` returns for the same arguments, except for the last bits of sums."""
  count = spread.allsum(jnp.sum(weights > 0, dtype=jnp.int32), axis)
  problem = Problem(x, weights, jnp.sum(x * x, axis=1), count)
  limit = tol * lloyd.mean_variance(x, weights, axis)

  def going(state):
    return (state.steps < max_steps) & (state.changed != 0) & ~(state.shift <= limit)

  state = jax.lax.while_loop(going, lambda s: step(problem, s, axis), begin(x, centers))
  same = state.changed == 0
  again = lambda: step(problem, state, axis).labels
  labels = jax.lax.cond(same, lambda: state.labels, again)
  cost = spread.allsum(weights @ _away(x, state.centers, labels), axis)
  return Clustering(labels, state.centers, None, cost, state.steps, same | (state.shift <= limit))
