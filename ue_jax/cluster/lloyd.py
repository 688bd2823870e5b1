"""Lloyd's iteration in its plain form: all distances, every time. Runs under vmap and on accelerators.

Lloyd, "Least squares quantization in PCM", 1982. `pruned` gives the same partitions with less work on a CPU.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster.distances import assign_top1, cluster_sums
from ue_jax.core.nouns import Clustering
from ue_jax.parallel import spread


class Lloyd(NamedTuple):
  """The state of the iteration: `cost` is the weighted inertia of `labels` before the centres moved."""

  centers: jax.Array
  labels: jax.Array
  cost: jax.Array
  steps: jax.Array
  shift: jax.Array
  same: jax.Array


def begin(x: jax.Array, centers: jax.Array) -> Lloyd:
  """The state before the first iteration."""
  n = x.shape[0]
  big = jnp.float32(jnp.inf)
  return Lloyd(centers, jnp.full(n, -1, jnp.int32), big, jnp.int32(0), big, jnp.bool_(False))


def step(x: jax.Array, weights: jax.Array, state: Lloyd, axis: str | None = None) -> Lloyd:
  """One iteration: assign, give empty clusters their farthest points, move the centres to the means.

  Args:
    x: float32 `[n, d]`, centred; over several devices each holds its own rows.
    weights: `[n]`.
    state: centres, `steps` and what follows are alike on all devices.
    axis: name of the mapped device axis.
  """
  k = state.centers.shape[0]
  labels, sq = assign_top1(x, state.centers)
  labels, sq = repair(labels, sq, weights, k, axis)
  parts = cluster_sums(x, weights, labels, k), jax.ops.segment_sum(weights, labels, k), weights @ sq
  sums, mass, cost = spread.allsum(parts, axis)
  centers = sums / mass[:, None]
  shift = jnp.sum((centers - state.centers) ** 2)
  moved = spread.allsum(jnp.sum(labels != state.labels, dtype=jnp.int32), axis)
  return Lloyd(centers, labels, cost, state.steps + 1, shift, moved == 0)


def repair(
  labels: jax.Array, sq: jax.Array, weights: jax.Array, k: int, axis: str | None = None
) -> tuple[jax.Array, jax.Array]:
  """Moves, for each empty cluster in order, the farthest point that is not alone in its cluster. Deterministic."""
  counts = spread.allsum(jax.ops.segment_sum((weights > 0).astype(jnp.int32), labels, k), axis)

  def fill(labels, sq):
    """Every device repairs the whole, and keeps its own rows."""
    whole = spread.gather((labels, sq, weights > 0), axis)
    return tuple(spread.own(found, len(labels), axis) for found in _repair(*whole, counts))

  return jax.lax.cond(jnp.any(counts == 0), fill, lambda *same: same, labels, sq)


def _repair(labels, sq, present, counts):
  def move(carry):
    labels, sq, counts = carry
    target = jnp.argmin(counts).astype(jnp.int32)
    movable = present & (counts[labels] > 1)
    point = jnp.argmax(jnp.where(movable, sq, -1.0))
    counts = counts.at[labels[point]].add(-1).at[target].add(1)
    return labels.at[point].set(target), sq.at[point].set(0), counts

  empty = lambda carry: jnp.any(carry[2] == 0)
  return jax.lax.while_loop(empty, move, (labels, sq, counts))[:2]


def descend(x, weights, tol, max_steps, centers, axis: str | None = None) -> Clustering:
  """Iterates until no label changes, the centres hardly move, or `max_steps`.

  Args:
    x, weights, axis: as in `step`.
    tol: squared movement of the centres, relative to the mean feature variance, at which to stop.
    max_steps: most iterations.
    centers: float32 `[k, d]` to begin from.
  """
  limit = tol * mean_variance(x, weights, axis)

  def going(state):
    return (state.steps < max_steps) & ~state.same & ~(state.shift <= limit)

  state = jax.lax.while_loop(going, functools.partial(step, x, weights, axis=axis), begin(x, centers))
  labels, sq = repair(*assign_top1(x, state.centers), weights, len(centers), axis)
  labels = jnp.where(state.same, state.labels, labels)
  cost = jnp.where(state.same, state.cost, spread.allsum(weights @ sq, axis))
  return Clustering(labels, state.centers, None, cost, state.steps, state.same | (state.shift <= limit))


def mean_variance(x: jax.Array, weights: jax.Array, axis: str | None = None) -> jax.Array:
  """The mean over the features of their weighted variance around 0 (x is centred)."""
  square, mass = spread.allsum((jnp.sum(weights @ (x * x)), jnp.sum(weights)), axis)
  return square / (mass * x.shape[1])
