"""Medoids to begin from: BUILD, LAB, k-means++ for a linear cost, random and first.

BUILD is the greedy start of PAM (Kaufman & Rousseeuw 1987): the point of lowest total cost, then again and again the
point that lowers the total most. Here the gain of every candidate is kept, and only the rows of the points that came
nearer are added again. LAB (Schubert & Rousseeuw 2021) does the same on a fresh sample of 10 + sqrt(n) points for each
medoid. Every function is `(source, k, key) -> medoids int32 [k]`, all different.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from ue_jax.cluster.dissimilarities import Source, fold, lower
from ue_jax.cluster.distances import listed
from ue_jax.parallel.spread import gather


def build(source: Source, k: int, key: jax.Array) -> jax.Array:
  """The greedy start of PAM; deterministic, ties go to the lower position."""
  del key
  everyone = jnp.arange(source.n, dtype=jnp.int32)
  zero = jnp.zeros(source.ids.shape, jnp.float32)
  sums = fold(source, everyone, source.n, lambda c, u, x: _add(c, x), (zero, zero))
  first = _lowest(source, sums, source.valid)
  d1 = source.column(first).at[first].set(0)
  gains = fold(source, everyone, source.n, lambda c, u, x: _add(c, jnp.maximum(d1[u] - x, 0)), (zero, zero))

  def pick(carry, _):
    d1, gains, free = carry
    j = _lowest(source, (-gains[0], -gains[1]), free)
    new = lower(source.column(j).at[j].set(0), d1)
    points, count = listed(new < d1)
    change = lambda c, u, x: _add(_add(c, -jnp.maximum(d1[u] - x, 0)), jnp.maximum(new[u] - x, 0))
    return (new, fold(source, points, count, change, gains), free & (source.ids != j)), j

  start = (d1, gains, source.valid & (source.ids != first))
  return jnp.concatenate([first[None], jax.lax.scan(pick, start, length=k - 1)[1]])


def lab(source: Source, k: int, key: jax.Array) -> jax.Array:
  """BUILD on a fresh sample for each medoid: linear in n."""
  n = source.n
  size = min(n, 10 + math.ceil(math.sqrt(n)))

  def pick(carry, at):
    d1, free = carry
    i, key = at
    sample = jax.random.choice(key, n, (size,), replace=False).astype(jnp.int32)
    cost = source.columns(sample, sample)
    value = jnp.where(i == 0, jnp.sum(cost, 0), -jnp.sum(jnp.maximum(d1[sample][:, None] - cost, 0), 0))
    value = jnp.where(free[sample], value, jnp.inf)
    any_free = jnp.argmax(free).astype(jnp.int32)
    j = jnp.where(jnp.any(free[sample]), sample[jnp.argmin(value)], any_free)
    d1 = lower(source.column(j), d1).at[j].set(0)
    return (d1, free.at[j].set(False)), j

  start = (jnp.full(n, jnp.finfo(jnp.float32).max), jnp.ones(n, bool))
  return jax.lax.scan(pick, start, (jnp.arange(k), jax.random.split(key, k)))[1]


def plus_plus(source: Source, k: int, key: jax.Array) -> jax.Array:
  """Each further medoid is drawn with a probability proportional to its cost so far, not to the square of it."""
  n = source.n

  def pick(carry, key):
    d1, free = carry
    mass = jnp.where(free, d1, 0)
    mass = jnp.where(jnp.any(mass > 0), mass, free.astype(jnp.float32))
    j = jax.random.categorical(key, jnp.log(mass)).astype(jnp.int32)
    d1 = lower(source.column(j), d1).at[j].set(0)
    return (d1, free.at[j].set(False)), j

  first, rest = jax.random.split(key)
  j = jax.random.randint(first, (), 0, n, jnp.int32)
  start = (source.column(j).at[j].set(0), jnp.ones(n, bool).at[j].set(False))
  return jnp.concatenate([j[None], jax.lax.scan(pick, start, jax.random.split(rest, k)[1:])[1]])


def random(source: Source, k: int, key: jax.Array) -> jax.Array:
  """Points drawn without replacement."""
  return jax.random.choice(key, source.n, (k,), replace=False).astype(jnp.int32)


def first(source: Source, k: int, key: jax.Array) -> jax.Array:
  """The first k points."""
  del source, key
  return jnp.arange(k, dtype=jnp.int32)


STARTS = {"build": build, "lab": lab, "k-means++": plus_plus, "random": random, "first": first}


def _lowest(source: Source, pair, free) -> jax.Array:
  """The free candidate, over all devices, of which a sum kept as a pair is lowest; of equal ones the first."""
  high = jnp.where(free, pair[0] + pair[1], jnp.inf)
  low = jnp.where(free, pair[1] - (high - pair[0]), jnp.inf)
  at = _first_lowest(high, low)
  high, low, js = gather((high[at][None], low[at][None], source.ids[at][None]), source.axis)
  return js[_first_lowest(high, low)]


def _first_lowest(high, low):
  return jnp.argmin(jnp.where(high == jnp.min(high), low, jnp.inf))


def _add(pair, values):
  """Adds to a sum kept as two float32 numbers: gains shrink by orders of magnitude while rounding errors stay."""
  high, low = pair
  new = high + values
  back = new - high
  return new, low + ((high - (new - back)) + (values - back))
