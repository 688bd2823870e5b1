"""Where to begin: greedy k-means++ and k-means||.

Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007 (the greedy variant tries 2 + ln k
candidates a step); Bahmani et al., "Scalable k-means++", VLDB 2012.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from ue_jax.cluster.distances import HIGHEST, assign_top1

BLOCK = 1024  # rows under one sum when drawing; a running float32 sum over millions of rows would be too coarse


@functools.partial(jax.jit, static_argnames=("k", "trials", "power"))
def plus_plus(
  key: jax.Array,
  x: jax.Array,
  k: int,
  weights: jax.Array,
  *,
  trials: int = 0,
  power: float = 2.0,
  known: jax.Array | None = None,
) -> jax.Array:
  """Greedy k-means++: positions int32 `[k]` of rows to start from, all different.

  A row equal to a chosen one is taken only when no other row is left at a distance.

  Args:
    key: PRNG key.
    x: float32 `[n, d]`, centred.
    k: how many.
    weights: `[n]`; rows of weight 0 are not chosen.
    trials: candidates a step, of which the one that lowers the cost most is kept; 0: 2 + ln k, 1: the plain variant.
    power: chosen with a probability proportional to distance^power: 2 for squared distances, 1 for distances.
    known: `[m, d]` centres that there are already; they count in the distances and are not returned.
  """
  trials = trials or 2 + int(math.log(k))
  norms = jnp.sum(x * x, axis=1)
  floor = 4 * jnp.finfo(jnp.float32).eps  # of a square's rounding: what is nearer is the same point

  def nearer(near, candidates):  # [n, trials]: the distance^power to the nearest, with each candidate added
    lengths = jnp.sum(candidates * candidates, axis=1)
    square = norms[:, None] + lengths - 2 * jnp.matmul(x, candidates.T, precision=HIGHEST)
    square = jnp.where(square <= floor * (norms[:, None] + lengths), 0, square)
    return jnp.minimum(near[:, None], square if power == 2 else square ** (power / 2))

  def pick(carry, key):
    near, free = carry
    mass = jnp.where(free, weights * near, 0)
    mass = jnp.where(jnp.any(mass > 0), mass, free.astype(jnp.float32))
    tried = draw(key, mass, trials)
    reached = nearer(near, x[tried])
    best = jnp.argmin(weights @ reached)
    chosen = tried[best]
    return (reached[:, best], free.at[chosen].set(False)), chosen

  free, first = weights > 0, []
  if known is None:
    key, of_first = jax.random.split(key)
    first = draw(of_first, weights, 1)
    near, free = nearer(jnp.full(x.shape[0], jnp.inf), x[first])[:, 0], free.at[first].set(False)
  else:
    near = assign_top1(x, known)[1] ** (power / 2)
  rest = k - len(first)
  if not rest:
    return first
  _, others = jax.lax.scan(pick, (near, free), jax.random.split(key, rest))
  return jnp.concatenate([*([first] if known is None else []), others])


def draw(key: jax.Array, mass: jax.Array, count: int) -> jax.Array:
  """`count` positions int32, drawn with replacement with probabilities proportional to mass `[n]`, at least 0.

  The mass is summed in two levels. Never a position without mass, unless there is none at all.
  """
  n = mass.shape[0]
  width = min(BLOCK, n)
  blocks = jnp.pad(mass, (0, -n % width)).reshape(-1, width)
  ends = jnp.cumsum(jnp.sum(blocks, axis=1))
  u = jax.random.uniform(key, (count,)) * ends[-1]
  block = jnp.minimum(jnp.searchsorted(ends, u, side="right"), len(ends) - 1)
  inner = jnp.cumsum(blocks[block], axis=1)
  rest = u - jnp.where(block > 0, ends[block - 1], 0)
  at = jnp.minimum(jnp.sum(inner <= rest[:, None], axis=1), width - 1)
  heaviest = jnp.argmax(blocks[block], axis=1)  # where rounding ran past the last position with mass
  at = jnp.where(jnp.take_along_axis(blocks[block], at[:, None], 1)[:, 0] > 0, at, heaviest)
  return jnp.minimum(block * width + at, n - 1).astype(jnp.int32)


def parallel(
  key: jax.Array, x: jax.Array, k: int, weights: jax.Array, *, rounds: int = 5, rate: float = 2.0, polish: int = 10
) -> jax.Array:
  """k-means||: centres float32 `[k, d]` found in a few passes over the rows.

  Each round adds about `rate * k` rows (at most twice that), drawn independently by their squared distance; the
  candidates, weighted by what they attract, are then seeded by k-means++ and polished by Lloyd's iteration.

  Args:
    key, x, k, weights: as in `plus_plus`.
    rounds: passes.
    rate: rows added a pass, in units of k.
    polish: iterations on the candidates.
  """
  most = min(x.shape[0], max(1, math.ceil(2 * rate * k)))
  key, of_first = jax.random.split(key)
  first = draw(of_first, weights, 1)[0]
  away = lambda centers: assign_top1(x, centers)[1]

  def add(near, key):
    of_rows, of_cut = jax.random.split(key)
    mass = weights * near
    chance = jnp.minimum(rate * k * mass / jnp.maximum(jnp.sum(mass), jnp.finfo(jnp.float32).tiny), 1)
    joins = jax.random.uniform(of_rows, mass.shape) < chance
    order = jnp.where(joins, jax.random.uniform(of_cut, mass.shape), 2)  # if too many join, some of them, at random
    _, rows = jax.lax.top_k(-order, most)
    there = joins[rows]
    chosen = jnp.where(there[:, None], x[rows], x[first])
    return jnp.minimum(near, away(chosen)), (chosen, there)

  _, (more, there) = jax.lax.scan(add, away(x[first][None]), jax.random.split(key, rounds))
  candidates = jnp.concatenate([x[first][None], more.reshape(-1, x.shape[1])])
  attracted = jax.ops.segment_sum(weights, assign_top1(x, candidates)[0], len(candidates))
  attracted = jnp.where(jnp.concatenate([jnp.ones(1, bool), there.ravel()]), attracted, 0)
  centers = candidates[plus_plus(jax.random.fold_in(key, 1), candidates, k, attracted)]

  def iterate(_, centers):
    labels, _ = assign_top1(candidates, centers)
    mass = jax.ops.segment_sum(attracted, labels, k)
    sums = jax.ops.segment_sum(attracted[:, None] * candidates, labels, k)
    return jnp.where(mass[:, None] > 0, sums / jnp.where(mass > 0, mass, 1)[:, None], centers)

  return jax.lax.fori_loop(0, polish, iterate, centers)
