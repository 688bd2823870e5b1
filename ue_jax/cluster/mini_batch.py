"""Mini-batch k-means as a Procedure: a stream of batches, out of core.

Sculley, "Web-scale k-means clustering", WWW 2010; reassignment of starved centres and the running averages are those
of scikit-learn.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import k_means, seeding
from ue_jax.cluster.distances import assign_top1
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.parallel.spread import allsum, gather
from ue_jax.train.batches import shuffled


class State(NamedTuple):
  """Centres `[k, d]`, how many samples each has taken `[k]`, and the running inertia a sample.

  Attributes:
    best: the lowest running inertia; stale: int32, batches since then; done: True when it has not fallen for long.
  """

  key: jax.Array
  step: jax.Array
  centers: jax.Array
  counts: jax.Array
  inertia: jax.Array
  best: jax.Array
  stale: jax.Array
  done: jax.Array


def cluster(
  k: int = 10,
  array: str = "image",
  data_set: str = "",
  batch_size: int = 1024,
  steps: int = 300,
  patience=10,
  starved=0.01,
  sample: int = 0,
) -> Procedure:
  """Mini-batch k-means on an array of the Data: Data -> Clustering of all rows.

  Args:
    k: number of clusters.
    array, data_set: as in `k_means.cluster`; the array may be a memory map, one batch is read at a time.
    batch_size: rows a step.
    steps: most batches.
    patience: batches without a lower running inertia after which to stop; 0: never.
    starved: share of the largest count below which a centre is moved to a row of the batch; 0: never.
    sample: rows that seed the centres; 0: three batches, or 3 k if that is more.

  Metrics: `inertia`, the mean squared distance of the batch to the centres before they moved.

  Raises:
    Invalid: for values out of range, or (from init) more clusters than rows.
  """
  require(isinstance(k, int) and k >= 1, "cluster.k", k, "use at least 1")
  require(isinstance(batch_size, int) and batch_size >= 1, "cluster.batch_size", batch_size, "use at least 1")
  require(isinstance(steps, int) and steps >= 0, "cluster.steps", steps, "use 0 or more")

  def init(key, data: Data) -> State:
    rows = k_means.rows_in(data, data_set)
    require(k <= len(rows), "cluster.k", k, f"choose 1 to {len(rows)}, the number of samples")
    count = min(len(rows), sample or max(3 * batch_size, 3 * k))
    of_rows, of_seeds, key = jax.random.split(key, 3)
    at = np.asarray(jax.random.permutation(of_rows, len(rows)))[:count]
    x = jnp.asarray(k_means.matrix(data, array, rows[np.sort(at)]))
    return begin(key, x[jax.jit(_seed, static_argnames="k")(of_seeds, x, k=k)])

  def step(state: State, batch, axis=None):
    return update(state, batch["x"], batch["mask"], patience, starved, axis)

  def batch(seed, data: Data, t):
    rows = k_means.rows_in(data, data_set)
    size = min(batch_size, len(rows))
    x = k_means.matrix(data, array, rows[shuffled(seed, len(rows), size, t)])
    return {"x": x, "mask": np.ones(size, np.float32)}

  def finish(state: State, data: Data) -> Clustering:
    weights = k_means.only(data.n, k_means.rows_in(data, data_set))
    labels, cost = np.zeros(data.n, np.int32), 0.0
    assign = jax.jit(_assign)
    for start in range(0, data.n, 2**16):
      rows = np.arange(start, min(start + 2**16, data.n))
      found, away = assign(k_means.matrix(data, array, rows), state.centers)
      labels[rows], cost = np.asarray(found), cost + float(weights[rows] @ np.asarray(away))
    return Clustering(labels, np.asarray(state.centers), None, np.float32(cost), np.asarray(state.step), state.done)

  return Procedure(init, step, finish, batch, steps, None, 0, None, False)


def _seed(key, x, *, k):
  return seeding.plus_plus(key, x - jnp.mean(x, axis=0), k, jnp.ones(len(x), jnp.float32))


def begin(key: jax.Array, centers: jax.Array) -> State:
  """The state before the first batch."""
  big = jnp.finfo(jnp.float32).max  # any batch is better
  counts = jnp.zeros(centers.shape[0], jnp.float32)
  return State(key, jnp.int32(0), centers, counts, jnp.float32(big), jnp.float32(big), jnp.int32(0), jnp.bool_(False))


def update(
  state: State, x: jax.Array, weights: jax.Array, patience=10, starved=0.01, axis: str | None = None
) -> tuple[State, dict]:
  """One batch x `[b, d]` with weights `[b]`: each centre moves to the mean of all samples it has taken so far."""
  k = state.centers.shape[0]
  labels, away = _assign(x, state.centers)
  parts = (
    jax.ops.segment_sum(weights[:, None] * (x - state.centers[labels]), labels, k),
    jax.ops.segment_sum(weights, labels, k),
    weights @ away,
    jnp.sum(weights),
  )
  moves, gained, cost, mass = allsum(parts, axis)
  counts = state.counts + gained
  centers = state.centers + moves / jnp.where(counts > 0, counts, 1)[:, None]
  centers, counts = _reassign(state, centers, counts, x, weights, starved, axis)
  inertia = cost / jnp.where(mass > 0, mass, 1)
  first = state.step == 0
  share = jnp.where(first, 1, jnp.minimum(2 * mass / (jnp.sum(counts) + 1), 1))
  running = (1 - share) * jnp.where(first, 0, state.inertia) + share * inertia
  lower = running < state.best
  stale = jnp.where(lower, 0, state.stale + 1)
  done = (stale >= patience) & (jnp.asarray(patience) > 0)
  after = State(
    state.key, state.step + 1, centers, counts, running, jnp.minimum(running, state.best), stale, done
  )  # fmt: skip
  return after, {"inertia": Tally(cost, mass)}


def _assign(x, centers):
  middle = jnp.mean(centers, axis=0)  # far from the origin the distances would lose their digits
  return assign_top1(x - middle, centers - middle)


def _reassign(state, centers, counts, x, weights, starved, axis):
  """Now and then, centres that have taken hardly anything go to rows of the batch."""
  k = centers.shape[0]
  x, weights = gather((x, weights), axis)
  every = 10 + jnp.min(state.counts).astype(jnp.int32)
  low = (counts < starved * jnp.max(counts)) & ((state.step + 1) % every == 0)
  low &= jnp.cumsum(low) <= jnp.sum(weights > 0) // 2  # never more than half of the batch
  key = jax.random.fold_in(state.key, state.step)
  noise = jnp.where(weights > 0, jax.random.uniform(key, weights.shape), -1)
  rows = jnp.resize(jnp.argsort(-noise), k)  # a random row each, no row twice while there are enough
  floor = jnp.min(jnp.where(low, jnp.inf, counts))
  return jnp.where(low[:, None], x[rows], centers), jnp.where(low, floor, counts)
