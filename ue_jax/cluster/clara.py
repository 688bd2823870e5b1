"""k-medoids of many points: FasterCLARA works on samples, FastCLARANS on random candidates.

Schubert & Rousseeuw 2021; CLARA is of Kaufman & Rousseeuw 1986, CLARANS of Ng & Han 2002. Neither looks at all n^2
dissimilarities, so both are meant for rows whose matrix is never formed. They end above what `fasterpam.fit` reaches.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import build, dissimilarities, eager, medoids, nearest, pam
from ue_jax.cluster.dissimilarities import Source
from ue_jax.cluster.nearest import Nearest
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering

MODES = {"eager": eager.search, "pam": pam.search}


class Best(NamedTuple):
  """The best medoids so far, and what it took to find all of them."""

  now: Nearest
  loss: jax.Array
  swaps: jax.Array
  passes: jax.Array
  sweeps: jax.Array
  steps: jax.Array
  done: jax.Array


def fit(
  x=None, k: int = 8, *, key, distances=None, metric: str = "euclidean", samples: int = 5, size: int = 0,
  mode: str = "eager", max_steps=100_000, tol=1e-8, devices=None,
) -> Clustering:
  """FasterCLARA: k-medoids of a few samples, of which the best medoids for all points are kept.

  Each further sample holds the best medoids so far.

  Args:
    x, k, distances, metric, max_steps, tol, devices: see `fasterpam.solve`; max_steps holds for each sample.
    key: PRNG key of the samples.
    samples: how many.
    size: points in each; 0: 80 + 4 k.
    mode: `eager` or `pam`, from BUILD on the sample.

  Returns:
    Clustering with `cost` over all points and `steps`, the swaps in all samples.

  Raises:
    Invalid: for what `fasterpam.solve` refuses, and a size below k.
  """
  on = medoids.points(x, distances, metric, k, stored=False)
  size = min(on.n, size or 80 + 4 * k)
  require(mode in MODES, "cluster.mode", mode, f"choose one of {list(MODES)}")
  require(size >= k, "cluster.size", size, f"use at least {k}, the number of medoids, or 0")
  require(samples >= 1, "cluster.samples", samples, "use at least 1")
  state = {"key": key, "tol": jnp.float32(tol), "max_steps": jnp.int32(max_steps)}
  where = medoids.choose(devices, on.n)
  return medoids.run(on, _from_samples, state, where, k=k, samples=samples, size=size, mode=mode)[0]


def clarans(
  x=None, k: int = 8, *, key, distances=None, metric: str = "euclidean", restarts: int = 2, patience: float = 0.025,
  max_steps=100_000, tol=1e-8, devices=None,
) -> Clustering:
  """FastCLARANS: candidates in random order are judged for all k medoids at once; the best of a few restarts.

  A restart ends when ceil(patience (n - k)) candidates in a row were refused. All candidates come before one comes a
  second time. The arguments are those of `fit`.
  """
  on = medoids.points(x, distances, metric, k, stored=False)
  require(restarts >= 1, "cluster.restarts", restarts, "use at least 1")
  wait = max(1, math.ceil(patience * (on.n - k)))
  state = {"key": key, "tol": jnp.float32(tol), "max_steps": jnp.int32(max_steps)}
  where = medoids.choose(devices, on.n)[:1]
  return medoids.run(on, _from_candidates, state, where, k=k, restarts=restarts, wait=wait)[0]


def _from_samples(source: Source, state: dict, *, k, samples, size, mode) -> Best:
  def one(best: Best, key):
    held = jnp.where(best.steps > 0, best.now.medoids, best.now.medoids[0])
    order = jax.random.uniform(key, (source.n,)).at[held].set(-1.0)
    sample = jnp.argsort(order)[:size].astype(jnp.int32)
    ids = jnp.arange(size, dtype=jnp.int32)
    small = dissimilarities.matrix(source.columns(sample, sample), ids, ids >= 0)
    found = MODES[mode](small, build.build(small, k, key), state["tol"], state["max_steps"])
    return _better(best, _best(source, sample[found.now.medoids], found)), None

  return jax.lax.scan(one, _none(source, k), jax.random.split(state["key"], samples))[0]


def _from_candidates(source: Source, state: dict, *, k, restarts, wait) -> Best:
  def one(best: Best, key):
    start, order = jax.random.split(key)
    order = jax.random.permutation(order, source.n).astype(jnp.int32)
    begin = build.random(source, k, start)
    found = eager.search(source, begin, state["tol"], state["max_steps"], order=order, patience=wait)
    return _better(best, _best(source, found.now.medoids, found)), None

  return jax.lax.scan(one, _none(source, k), jax.random.split(state["key"], restarts))[0]


def _best(source: Source, chosen, found: Any) -> Best:
  now = nearest.nearest(source, chosen)
  return Best(now, nearest.total(now.d1), found.swaps, found.passes, found.sweeps, jnp.maximum(found.swaps, 1),
              found.done)


def _none(source: Source, k: int) -> Best:
  zero = jnp.int32(0)
  now = Nearest(jnp.zeros(k, jnp.int32), jnp.zeros((source.n, k)), *_nothing(source.n))
  return Best(now, jnp.float32(jnp.inf), zero, zero, zero, zero, jnp.bool_(True))


def _nothing(n: int):
  return jnp.zeros(n, jnp.int32), jnp.zeros(n), jnp.zeros(n, jnp.int32), jnp.zeros(n)


def _better(old: Best, new: Best) -> Best:
  wins = new.loss < old.loss
  now, loss = jax.tree.map(lambda a, b: jnp.where(wins, b, a), (old.now, old.loss), (new.now, new.loss))
  add = lambda name: getattr(old, name) + getattr(new, name)
  return Best(now, loss, *(add(name) for name in ("swaps", "passes", "sweeps", "steps")), old.done & new.done)
