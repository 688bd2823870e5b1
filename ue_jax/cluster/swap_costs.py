"""What every swap would cost, kept up to date instead of computed anew.

With d1, d2 the costs of a point at its nearest and second nearest medoid and x = d(o, j), the change of the total cost
by a swap of medoid m for candidate j is `shared[j] + own[m, j]`, where

  shared[j] = sum over all o of min(x, d1) - d1           what j gains, whoever leaves
  own[m, j] = sum over the points o of m of clip(x, d1, d2) - d1    what the points of m lose to whoever is left

(Schubert & Rousseeuw 2021, the decomposition of FastPAM1 and FasterPAM, here kept for all candidates). A swap changes
(nearest, d1, d2) of about 3 n/k points: only their rows are added again, so PAM costs about as much as its first sweep.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster.dissimilarities import Source, between, fold, fold_blocks, lower
from ue_jax.cluster.distances import HIGHEST
from ue_jax.cluster.nearest import Nearest


class Costs(NamedTuple):
  """`shared` float32 `[m]` and `own` float32 `[k, m]` over this device's m candidates."""

  shared: jax.Array
  own: jax.Array


def zero(source: Source, k: int) -> Costs:
  """Costs before any point was added."""
  m = source.ids.shape[0]
  return Costs(jnp.zeros(m, jnp.float32), jnp.zeros((k, m), jnp.float32))


def fresh(source: Source, now: Nearest, blocks: bool = False) -> Costs:
  """The costs of all swaps from nothing: one sweep over the matrix. `blocks` is meant for accelerators."""
  n, start = source.n, zero(source, now.medoids.shape[0])
  points = jnp.arange(n, dtype=jnp.int32)
  if blocks:
    return fold_blocks(source, points, n, lambda c, u, x, live: _many(c, x, now, u, live, 1), start)
  return fold(source, points, n, lambda c, u, x: _one(c, x, now, u, 1), start)


def update(source: Source, costs: Costs, before: Nearest, after: Nearest, points, count, blocks: bool = False) -> Costs:
  """Costs after the first `count` of `points` int32 `[n]` changed from `before` to `after`."""

  def one(costs, u, x):
    a, b = before, after
    shared = costs.shared + ((lower(x, b.d1[u]) - b.d1[u]) - (lower(x, a.d1[u]) - a.d1[u]))
    own = _add(costs.own, a.near[u], a.d1[u] - between(x, a.d1[u], a.d2[u]))
    return Costs(shared, _add(own, b.near[u], between(x, b.d1[u], b.d2[u]) - b.d1[u]))

  def many(costs, u, x, live):
    return _many(_many(costs, x, before, u, live, -1), x, after, u, live, 1)

  return (fold_blocks if blocks else fold)(source, points, count, many if blocks else one, costs)


def _one(costs, x, now, u, sign):
  d1, d2 = now.d1[u], now.d2[u]
  shared = costs.shared + sign * (lower(x, d1) - d1)
  return Costs(shared, _add(costs.own, now.near[u], sign * (between(x, d1, d2) - d1)))


def _add(own, slot, row):
  old = jax.lax.dynamic_slice_in_dim(own, slot, 1, 0)
  return jax.lax.dynamic_update_slice_in_dim(own, old + row[None], slot, 0)


def _many(costs, x, now, u, live, sign):
  """The same for rows x `[c, m]`, the sums over points as products with a one-hot matrix in full float32."""
  d1, d2 = now.d1[u][:, None], now.d2[u][:, None]
  weight = sign * live.astype(jnp.float32)
  member = jax.nn.one_hot(now.near[u], costs.own.shape[0], dtype=jnp.float32) * weight[:, None]
  shared = costs.shared + weight @ (lower(x, d1) - d1)
  own = costs.own + jnp.matmul(member.T, between(x, d1, d2) - d1, precision=HIGHEST)
  return Costs(shared, own)
