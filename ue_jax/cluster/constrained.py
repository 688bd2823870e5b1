"""k-means with something known: labels of some rows, or equal sizes of the clusters.

Semi-supervised: rows with a label stay in their class, whose centre they help to move; new clusters are found among
the rest (Vaze et al., "Generalized Category Discovery", CVPR 2022; Troisemaine et al., "A Practical Approach to Novel
Class Discovery in Tabular Data", 2023). Balanced: the sizes differ by at most one.

All functions keep their shapes and take masks as weights, so that problems of different sizes run under one `vmap`:
rows of weight 0 are padding, and `alive` names the centres that exist.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import k_means, seeding
from ue_jax.cluster.distances import cluster_sums, lowest, sqeuclidean
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering

UPDATES = ("new", "all")


class State(NamedTuple):
  """Centres `[k, d]`, labels int32 `[n]`, the weighted sum of squared distances, and whether no label changed."""

  centers: jax.Array
  labels: jax.Array
  cost: jax.Array
  steps: jax.Array
  same: jax.Array


def fit(
  x,
  known,
  new: int,
  *,
  key,
  weights=None,
  restarts: int = 10,
  max_steps=300,
  power: float = 2.0,
  update: str = "all",
) -> Clustering:
  """Clusters rows of which some have a class: Clustering with `classes + new` clusters, the classes first.

  Args:
    x: float rows `[n, d]`.
    known: int `[n]`, 0 to classes - 1, or -1 for rows without a class.
    new: how many clusters to find beside the classes; 0 assigns the rest to the classes.
    key: PRNG key.
    weights: `[n]`, at least 0.
    restarts: seedings of the new centres; the lowest cost is returned.
    max_steps: most iterations.
    power: new centres are seeded with a probability proportional to distance^power, classes counting as centres.
    update: `all` moves the centres of classes with the rows they attract; `new` leaves them at the means of their
      labelled rows.

  Raises:
    Invalid: for values out of range, classes without rows, or more new clusters than rows without a class.
  """
  x = k_means.rows_of(x)
  known = np.asarray(known)
  weights = np.ones(len(x), np.float32) if weights is None else jnp.asarray(weights, jnp.float32)
  k_means.check(x, 1, weights, restarts)
  require(known.shape == x.shape[:1], "cluster.known", known.shape, f"give one class a row: {x.shape[:1]}, -1 for none")
  require(np.issubdtype(known.dtype, np.integer), "cluster.known", known.dtype, "give whole numbers")
  require(update in UPDATES, "cluster.update", update, f"choose one of {list(UPDATES)}")
  classes = int(known.max(initial=-1)) + 1
  present = np.unique(known[known >= 0])
  require(len(present) == classes, "cluster.known", present.tolist(), f"number the classes 0 to {classes - 1}")
  free = int(np.sum((known < 0) & (np.asarray(weights) > 0)))
  require(classes + new >= 1, "cluster.new", new, "give a known class, or at least one new cluster")
  require(0 <= new <= free, "cluster.new", new, f"choose 0 to {free}, the number of rows without a class")
  labels = jnp.asarray(known, jnp.int32)
  static = dict(classes=classes, new=new, restarts=restarts, power=power, update=update)
  return _fit(x, labels, weights, key, jnp.int32(max_steps), **static)


@functools.partial(jax.jit, static_argnames=("classes", "new", "restarts", "power", "update"))
def _fit(x, known, weights, key, max_steps, *, classes, new, restarts, power, update):
  x, mean = k_means.centred(x, weights)
  labelled = weights * (known >= 0).astype(jnp.float32)
  own = jnp.maximum(known, 0)
  counts = jax.ops.segment_sum(labelled, own, classes)
  means = cluster_sums(x, labelled, own, classes) / jnp.where(counts > 0, counts, 1)[:, None] if classes else x[:0]
  movable = jnp.arange(classes + new) >= (classes if update == "new" else 0)

  def once(key):
    centers = means
    if new:
      free = weights - labelled
      chosen = seeding.plus_plus(key, x, new, free, power=power, known=means if classes else None)
      centers = jnp.concatenate([means, x[chosen]])
    return descend(x, known, weights, centers, movable, max_steps)

  many = jax.lax.map(once, jax.random.split(key, restarts))
  best = jax.tree.map(lambda leaf: leaf[jnp.argmin(many.cost)], many)
  return Clustering(best.labels, best.centers + mean, None, best.cost, best.steps, best.same)


def descend(x, known, weights, centers, movable, max_steps, alive=None) -> State:
  """Iterates from `centers` until no label changes.

  Args:
    x: float32 `[n, d]`, centred.
    known: int32 `[n]`, -1 where the label is free.
    weights: `[n]`; 0 for padding.
    centers: `[k, d]`.
    movable: bool `[k]`, centres that follow their rows.
    max_steps: most iterations.
    alive: bool `[k]`, which centres exist; None: all. Others attract nothing.
  """
  k = len(centers)
  alive = jnp.ones(k, bool) if alive is None else alive

  def assign(centers):
    away = jnp.where(alive, sqeuclidean(x, centers), jnp.inf)
    labels, _ = lowest(away)
    labels = jnp.where(known >= 0, known, labels)
    return labels, weights @ jnp.sum((x - centers[labels]) ** 2, axis=1)

  def step(state):
    labels, cost = assign(state.centers)
    mass = jax.ops.segment_sum(weights, labels, k)
    means = cluster_sums(x, weights, labels, k) / jnp.where(mass > 0, mass, 1)[:, None]
    centers = jnp.where((movable & alive & (mass > 0))[:, None], means, state.centers)
    same = jnp.all((labels == state.labels) | (weights <= 0))
    return State(centers, labels, cost, state.steps + 1, same)

  begin = State(centers, jnp.full(len(x), -1, jnp.int32), jnp.float32(jnp.inf), jnp.int32(0), jnp.bool_(False))
  state = jax.lax.while_loop(lambda s: (s.steps < max_steps) & ~s.same, step, begin)
  labels, cost = assign(state.centers)
  return state._replace(labels=labels, cost=cost)


def balanced(x, k: int, *, key, restarts: int = 4, max_steps=50, start=None) -> Clustering:
  """k-means whose clusters have floor(n / k) or ceil(n / k) rows.

  Each iteration assigns by `transport`; it ends when the cost falls no more.

  Args:
    x: float rows `[n, d]`; the scores `[n, k]` are formed.
    k, key, restarts, start: as in `k_means.fit`.
    max_steps: most iterations.

  Raises:
    Invalid: for k outside 1..n, NaN or infinity.
  """
  x = k_means.rows_of(x)
  k_means.check(x, k, np.ones(len(x), np.float32), restarts)
  start = None if start is None else k_means.starting(start, (k, x.shape[1]))
  return _balanced(x, key, jnp.int32(max_steps), start, k=k, restarts=restarts)


@functools.partial(jax.jit, static_argnames=("k", "restarts"))
def _balanced(x, key, max_steps, start, *, k, restarts):
  ones = jnp.ones(len(x), jnp.float32)
  x, mean = k_means.centred(x, ones)

  def step(state):
    labels = transport(sqeuclidean(x, state.centers))
    mass = jax.ops.segment_sum(ones, labels, k)
    centers = cluster_sums(x, ones, labels, k) / jnp.maximum(mass, 1)[:, None]
    cost = jnp.sum((x - centers[labels]) ** 2)
    better = cost < state.cost * (1 - 1e-6)
    keep = lambda new, old: jnp.where(better, new, old)
    kept = keep(centers, state.centers), keep(labels, state.labels), keep(cost, state.cost)
    return State(*kept, state.steps + 1, ~better)

  def once(key):
    centers = x[seeding.plus_plus(key, x, k, ones)] if start is None else start - mean
    begin = State(centers, jnp.zeros(len(x), jnp.int32), jnp.float32(jnp.inf), jnp.int32(0), jnp.bool_(False))
    return jax.lax.while_loop(lambda s: (s.steps < max_steps) & ~s.same, step, begin)

  many = jax.lax.map(once, jax.random.split(key, restarts))
  best = jax.tree.map(lambda leaf: leaf[jnp.argmin(many.cost)], many)
  return Clustering(best.labels, best.centers + mean, None, best.cost, best.steps, best.same)


def transport(costs: jax.Array, rounds: int = 100) -> jax.Array:
  """Labels int32 `[n]` of low cost under which the k clusters have floor(n / k) or ceil(n / k) rows.

  Prices of the clusters are moved until their sizes are nearly equal (a subgradient of the dual of the transport
  problem); then rows, those with the largest regret first, take the best place that is left. Near the optimum, not
  always at it.

  Args:
    costs: float32 `[n, k]`.
    rounds: of the prices.
  """
  n, k = costs.shape
  scale = jnp.mean(costs) / max(n // k, 1)

  def move(i, prices):
    sizes = jnp.zeros(k).at[lowest(costs + prices)[0]].add(1)
    return prices + scale * (sizes - n / k) / (1 + 0.2 * i)

  priced = costs + jax.lax.fori_loop(0, rounds, move, jnp.zeros(k))
  first, least = lowest(priced)
  second = jnp.min(jnp.where(jnp.arange(k) == first[:, None], jnp.inf, priced), axis=1) if k > 1 else least
  order = jnp.argsort(least - second)

  def place(i, carry):
    labels, sizes, extra = carry
    row = order[i]
    room = (sizes < n // k) | ((sizes == n // k) & (extra > 0))
    at = jnp.argmin(jnp.where(room, priced[row], jnp.inf)).astype(jnp.int32)
    return labels.at[row].set(at), sizes.at[at].add(1), extra - (sizes[at] >= n // k).astype(jnp.int32)

  begin = jnp.zeros(n, jnp.int32), jnp.zeros(k, jnp.int32), jnp.int32(n % k)
  return jax.lax.fori_loop(0, n, place, begin)[0]
