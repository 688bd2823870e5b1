"""k-means: greedy k-means++ seeding and Lloyd's iteration, with weights, restarts and repair of empty clusters.

Lloyd, "Least squares quantization in PCM", 1982; Arthur & Vassilvitskii, "k-means++", 2007 (the greedy variant tries
2 + ln k candidates a step). The stopping rules are those of scikit-learn: unchanged labels, or a squared movement of
the centres of at most `tol` times the mean variance of the features.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster.distances import assign_top1, cluster_sums
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure, once

assign = assign_top1
AT_ONCE = 2**26  # scalars: restarts of larger problems run one after another, for a vmapped one copies the rows


class Lloyd(NamedTuple):
  """The state of the iteration: `cost` is the weighted inertia of `labels` before the centres moved."""

  centers: jax.Array
  labels: jax.Array
  cost: jax.Array
  steps: jax.Array
  shift: jax.Array
  same: jax.Array


def fit(x, k: int, *, key, weights=None, restarts: int = 1, max_steps=300, tol=1e-4, start=None) -> Clustering:
  """Clusters the rows of x `[n, d]` into k groups, none of them empty.

  Args:
    x: float rows; centred internally.
    k: number of clusters, at most the number of rows (with a positive weight).
    key: PRNG key; the result is a pure function of the arguments.
    weights: `[n]`, at least 0; a row of weight w counts as w equal rows.
    restarts: independent seedings (vmapped while that fits); the lowest cost is returned.
    max_steps: most Lloyd iterations.
    tol: squared movement of the centres, relative to the mean feature variance, at which to stop.
    start: centres `[k, d]` to begin from, in place of the seeding.

  Returns:
    Clustering with `labels`, `centers`, `cost` (the weighted sum of squared distances), `steps`, `converged`.

  Raises:
    Invalid: for k outside 1..n, NaN or infinity, or weights that do not fit.
  """
  x = jnp.asarray(x, jnp.float32)
  weights = jnp.ones(x.shape[0], jnp.float32) if weights is None else jnp.asarray(weights, jnp.float32)
  _check(x, k, weights, restarts)
  start = None if start is None else jnp.asarray(start, jnp.float32)
  return _fit(x, weights, key, jnp.float32(tol), jnp.int32(max_steps), start, k=k, restarts=restarts)


def cluster(
  k: int = 10, array: str = "image", data_set: str = "", restarts: int = 4, max_steps: int = 300, tol: float = 1e-4
) -> Procedure:
  """k-means on an array of the Data, flattened to one row a sample: Data -> Clustering.

  Args:
    k: number of clusters.
    array: name of the array to cluster (`image`, `features`, `x`); bytes become floats in [0, 1].
    data_set: the set whose rows the centres are fitted to; every row gets a label. Empty: all rows.
    restarts, max_steps, tol: see `fit`.
  """

  def run(key, data: Data) -> Clustering:
    weights = only(data.n, _rows(data, data_set)) if data_set else None
    x = matrix(data, array)
    found = fit(x, k, key=key, weights=weights, restarts=restarts, max_steps=max_steps, tol=tol)
    return jax.tree.map(np.asarray, found)

  return once(run)


def matrix(data: Data, array: str) -> np.ndarray:
  """The named array as float32 `[n, d]`."""
  if array not in data.arrays:
    raise Invalid("cluster.array", array, f"choose one of {sorted(data.arrays)}")
  values = np.asarray(data.arrays[array])
  return np.asarray(to_float(values), np.float32).reshape(len(values), -1)


def only(n: int, rows: np.ndarray) -> np.ndarray:
  """Weights float32 `[n]`: 1 for `rows`, 0 for the others, which then get a label but do not move a centre."""
  weights = np.zeros(n, np.float32)
  weights[rows] = 1
  return weights


def seed(key: jax.Array, x: jax.Array, k: int, weights: jax.Array) -> jax.Array:
  """Greedy k-means++: positions int32 `[k]` of rows to start from, all different.

  A row equal to a chosen one is taken only when no other row is left at a distance.
  """
  trials = 2 + int(math.log(k))
  first, *rest = jax.random.split(key, k)
  chosen = jax.random.categorical(first, jnp.log(weights)).astype(jnp.int32)
  near = jnp.sum((x - x[chosen]) ** 2, axis=1).at[chosen].set(0)
  free = (weights > 0).at[chosen].set(False)

  def distances(candidate):  # by differences, so that rows equal to a chosen one are at exactly 0
    return jnp.sum((x - x[candidate]) ** 2, axis=1)

  def pick(carry, key):
    near, free = carry
    mass = jnp.where(free, weights * near, 0)
    mass = jnp.where(jnp.any(mass > 0), mass, free.astype(jnp.float32))
    tried = jax.random.categorical(key, jnp.log(mass), shape=(trials,)).astype(jnp.int32)
    reached = jax.lax.map(lambda c: jnp.minimum(near, distances(c)), tried)
    best = jnp.argmin(reached @ weights)
    chosen = tried[best]
    return (reached[best].at[chosen].set(0), free.at[chosen].set(False)), chosen

  if k == 1:
    return chosen[None]
  _, others = jax.lax.scan(pick, (near, free), jnp.stack(rest))
  return jnp.concatenate([chosen[None], others])


def begin(x: jax.Array, centers: jax.Array) -> Lloyd:
  """The state before the first iteration."""
  n = x.shape[0]
  big = jnp.float32(jnp.inf)
  return Lloyd(centers, jnp.full(n, -1, jnp.int32), big, jnp.int32(0), big, jnp.bool_(False))


def lloyd_step(x: jax.Array, weights: jax.Array, state: Lloyd) -> Lloyd:
  """One iteration: assign, give empty clusters their farthest points, move the centres to the means."""
  k = state.centers.shape[0]
  labels, sq = assign(x, state.centers)
  labels, sq = repair(labels, sq, weights, k)
  centers = cluster_sums(x, weights, labels, k) / jax.ops.segment_sum(weights, labels, k)[:, None]
  shift = jnp.sum((centers - state.centers) ** 2)
  same = jnp.all(labels == state.labels)
  return Lloyd(centers, labels, weights @ sq, state.steps + 1, shift, same)


def repair(labels: jax.Array, sq: jax.Array, weights: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
  """Moves, for each empty cluster in order, the farthest point that is not alone in its cluster. Deterministic."""
  present = (weights > 0).astype(jnp.int32)

  def empty(carry):
    return jnp.any(carry[2] == 0)

  def move(carry):
    labels, sq, counts = carry
    target = jnp.argmin(counts).astype(jnp.int32)
    movable = (present > 0) & (counts[labels] > 1)
    point = jnp.argmax(jnp.where(movable, sq, -1.0))
    counts = counts.at[labels[point]].add(-1).at[target].add(1)
    return labels.at[point].set(target), sq.at[point].set(0), counts

  counts = jax.ops.segment_sum(present, labels, k)
  return jax.lax.while_loop(empty, move, (labels, sq, counts))[:2]


def _descend(x, weights, tol, max_steps, centers) -> Clustering:
  k = centers.shape[0]
  total = jnp.sum(weights)
  variance = jnp.sum(weights[:, None] * x * x, axis=0) / total
  limit = tol * jnp.mean(variance)

  def going(state):
    return (state.steps < max_steps) & ~state.same & ~(state.shift <= limit)

  state = jax.lax.while_loop(going, functools.partial(lloyd_step, x, weights), begin(x, centers))
  labels, sq = repair(*assign(x, state.centers), weights, k)
  labels = jnp.where(state.same, state.labels, labels)
  cost = jnp.where(state.same, state.cost, weights @ sq)
  return Clustering(labels, state.centers, None, cost, state.steps, state.same | (state.shift <= limit))


@functools.partial(jax.jit, static_argnames=("k", "restarts"))
def _fit(x, weights, key, tol, max_steps, start, *, k, restarts) -> Clustering:
  mean = weights @ x / jnp.sum(weights)
  x = x - mean

  def once_from(key):
    centers = x[seed(key, x, k, weights)] if start is None else start - mean
    return _descend(x, weights, tol, max_steps, centers)

  keys = jax.random.split(key, restarts)
  fits = x.size * restarts <= AT_ONCE
  many = jax.vmap(once_from)(keys) if fits else jax.lax.map(once_from, keys)
  best = jnp.argmin(many.cost)
  found = jax.tree.map(lambda leaf: leaf[best], many)
  return found._replace(centers=found.centers + mean)


def _check(x, k, weights, restarts) -> None:
  require(x.ndim == 2, "cluster.x", x.shape, "give rows [n, d]")
  require(restarts >= 1, "cluster.restarts", restarts, "use at least 1")
  require(1 <= k <= x.shape[0], "cluster.k", k, f"choose 1 to {x.shape[0]}, the number of samples")
  require(weights.shape == x.shape[:1], "cluster.weights", weights.shape, f"give one weight a row: {x.shape[:1]}")
  if isinstance(x, jax.core.Tracer) or isinstance(weights, jax.core.Tracer):
    return
  require(bool(jnp.isfinite(x).all()), "cluster.x", "NaN or infinity", "remove or repair those samples")
  require(bool((weights >= 0).all()), "cluster.weights", "negative", "use weights of at least 0")
  positive = int((weights > 0).sum())
  require(k <= positive, "cluster.k", k, f"choose at most {positive}, the number of samples with a positive weight")


def _rows(data: Data, name: str) -> np.ndarray:
  if name not in data.sets:
    raise Invalid("cluster.data_set", name, f"choose one of {sorted(data.sets)}")
  return np.asarray(data.sets[name])
