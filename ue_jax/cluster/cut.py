"""Cuts many sets of samples in two at once, and says which cuts are borne out: a level of `ppp`.

Rows come in blocks, each of rows of one set, so that one pass over the rows serves all sets: a block is multiplied
with the parameters of its own set only, and the sums of the blocks of a set are added. Nothing is random, and what
becomes of a set does not depend on the others.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster import mixture
from ue_jax.cluster.distances import HIGHEST
from ue_jax.cluster.mixture import Mixture, Moments
from ue_jax.parallel.spread import allsum, gather

LLOYD = 100  # most steps of 2-means
POWER = 50  # steps towards the first principal direction


class Settings(NamedTuple):
  """Numbers of a cut, float32 scalars: `tau`, `reg` and `tol` as for `ppp.fit`, and `steps` int32 of the mixtures."""

  tau: jax.Array
  reg: jax.Array
  tol: jax.Array
  steps: jax.Array


class _Sets(NamedTuple):
  """The rows about the mean of their set `[blocks, width, d]`, their mask, and the set of each block."""

  rows: jax.Array
  mask: jax.Array
  owner: jax.Array
  slots: int
  axis: str | None

  def total(self, values):
    """Sums over the blocks of each set: `[blocks, ...]` -> `[slots, ...]`."""
    return allsum(jax.ops.segment_sum(values, self.owner, self.slots), self.axis)


def cut(settings: Settings, batch: dict, slots: int, full: bool, axis: str | None = None) -> tuple[Settings, dict]:
  """Cuts up to `slots` sets.

  Args:
    settings: numbers.
    batch: `x` `[blocks, width, d]`, `mask` `[blocks, width]` (0: no sample), `owner` int32 `[blocks]`, the set.
    slots: number of sets; static, as is `full`: full covariances, else diagonal ones.
    axis: name of the device axis over which the blocks are cut.

  Returns:
    The settings, and a dict: `side` bool and `own` float32 (the probability of the sample's own half)
    `[blocks, width]`; `gain`, `agreement`, `stands` `[slots]`.
  """
  x, mask, owner = batch["x"], batch["mask"], batch["owner"]
  raw = _Sets(x, mask, owner, slots, axis)
  count = raw.total(mask.sum(1))
  mean = raw.total(jnp.sum(x * mask[..., None], axis=1)) / jnp.maximum(count, 1)[:, None]
  sets = raw._replace(rows=(x - mean[owner][:, None]) * mask[..., None])
  outer = jnp.matmul(jnp.swapaxes(sets.rows, 1, 2), sets.rows, precision=HIGHEST)
  covariance = sets.total(outer) / jnp.maximum(count, 1)[:, None, None]
  side, sizes = _halves(sets, _direction(covariance))
  smallest = x.shape[-1] + 2 if full else 2
  able = jnp.min(sizes, axis=1) >= smallest  # a covariance needs more samples than features
  spread = jnp.trace(covariance, axis1=1, axis2=2) / x.shape[-1]
  reg = jnp.where(spread > 0, settings.reg * spread, 1.0)
  two = _expect(sets, side, reg, able, settings, full)
  likelihood, own = _judge(sets, two, side)
  one = _single(covariance, reg, full)
  per = lambda values: values / jnp.maximum(count, 1)
  gain = 2 * count * (per(likelihood) - one) - _extra(x.shape[-1], full) * jnp.log(jnp.maximum(count, 1))
  agreement = per(sets.total(jnp.sum(own * mask, axis=1)))
  stands = able & (gain > 0) & (agreement >= settings.tau)
  out = {"side": gather(side, axis), "own": gather(own, axis)}
  return settings, {**out, "gain": gain, "agreement": agreement, "stands": stands}


def _direction(covariance: jax.Array) -> jax.Array:
  """The first principal direction of each set `[slots, d]`, its entry of largest magnitude positive."""
  widest = jnp.argmax(jnp.diagonal(covariance, axis1=1, axis2=2), axis=1)
  start = jnp.take_along_axis(covariance, widest[:, None, None], 2)[..., 0]
  unit = lambda v: v / jnp.maximum(jnp.linalg.norm(v, axis=1, keepdims=True), 1e-30)
  turn = lambda _, v: unit(jnp.matmul(covariance, v[..., None], precision=HIGHEST)[..., 0])
  v = jax.lax.fori_loop(0, POWER, turn, unit(start))
  at = jnp.argmax(jnp.abs(v), axis=1)
  return v * jnp.where(jnp.take_along_axis(v, at[:, None], 1) < 0, -1.0, 1.0)


def _halves(sets: _Sets, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
  """2-means from the two sides of the mean: `side` bool `[blocks, width]`, and the sizes `[slots, 2]`."""

  def beyond(normal, middle):  # by differences, so that nothing cancels
    apart = sets.rows - middle[sets.owner][:, None]
    return jnp.matmul(apart, normal[sets.owner][..., None], precision=HIGHEST)[..., 0] > 0

  def sums(side):
    member = jnp.stack([jnp.where(side, 0, sets.mask), jnp.where(side, sets.mask, 0)], axis=1)
    total = sets.total(jnp.matmul(member, sets.rows, precision=HIGHEST))
    return total, sets.total(member.sum(2))

  def move(carry):
    step, side, _ = carry
    total, sizes = sums(side)
    centers = total / jnp.maximum(sizes, 1)[..., None]
    after = beyond(centers[:, 1] - centers[:, 0], (centers[:, 0] + centers[:, 1]) / 2)
    moved = sets.total(jnp.sum(jnp.where(after != side, sets.mask, 0), axis=1))
    return step + 1, after, jnp.any(moved > 0)

  first = beyond(direction, jnp.zeros_like(direction))
  going = lambda carry: carry[2] & (carry[0] < LLOYD)
  _, side, _ = jax.lax.while_loop(going, move, (jnp.int32(0), first, jnp.bool_(True)))
  return side, sums(side)[1]


def _moments(sets: _Sets, two: Mixture, labels: jax.Array) -> tuple[mixture.Factors, Moments]:
  """The sums of every set under its own two Gaussians."""
  by = jax.vmap(mixture.factors)(two)
  mine = lambda tree: jax.tree.map(lambda v: v[sets.owner], tree)
  seen = jax.vmap(mixture.moments)(mine(two), mine(by), sets.rows, sets.mask, labels)
  return by, jax.tree.map(sets.total, seen)


def _expect(sets: _Sets, side, reg, able, settings: Settings, full: bool) -> Mixture:
  """Two Gaussians a set, fitted by EM from its halves; a set that has converged stands still."""
  slots, d = sets.slots, sets.rows.shape[-1]
  unit = jnp.broadcast_to(jnp.eye(d) if full else jnp.ones(d), (slots, 2, d, d) if full else (slots, 2, d))
  halves = side.astype(jnp.int32)
  better = jax.vmap(mixture.maximise)

  def step(carry):
    t, two, likelihood, going = carry
    early = t < 2  # first the means of the halves, and then the covariances about them
    two = two._replace(covariances=jnp.where(early, unit, two.covariances))
    by, seen = _moments(sets, two, jnp.where(early, halves, -1))
    now = seen.likelihood / jnp.maximum(seen.weight, 1)
    after = better(two, by, seen, reg)
    kept = lambda new, old: jnp.where(going.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    change = jnp.where(early, jnp.inf, jnp.abs(now - likelihood))
    likelihood = jnp.where(early, -jnp.inf, kept(now, likelihood))
    return t + 1, jax.tree.map(kept, after, two), likelihood, going & ~(change < settings.tol)

  first = Mixture(jnp.full((slots, 2), 0.5), jnp.zeros((slots, 2, d)), unit)
  going = lambda carry: jnp.any(carry[3]) & (carry[0] < settings.steps + 2)
  carry = (jnp.int32(0), first, jnp.full(slots, -jnp.inf), able)
  return jax.lax.while_loop(going, step, carry)[1]


def _judge(sets: _Sets, two: Mixture, side: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The log likelihood of each set `[slots]`, and the probability of every sample's own half `[blocks, width]`."""
  by = jax.vmap(mixture.factors)(two)
  mine = lambda tree: jax.tree.map(lambda v: v[sets.owner], tree)

  def block(two, by, rows):
    return mixture.joint(two, by, mixture.whitened(two, by, rows))

  log = jax.vmap(block)(mine(two), mine(by), sets.rows)
  total = jax.nn.logsumexp(log, axis=1)
  own = jnp.exp(jnp.where(side, log[:, 1], log[:, 0]) - total)
  return sets.total(jnp.sum(jnp.where(sets.mask > 0, total, 0), axis=1)), own


def _single(covariance: jax.Array, reg: jax.Array, full: bool) -> jax.Array:
  """The mean log likelihood of each set under one Gaussian, in closed form."""
  d = covariance.shape[-1]
  if full:
    whole = covariance + reg[:, None, None] * jnp.eye(d)
    by = jax.vmap(mixture.factors)(Mixture(jnp.ones((len(reg), 1)), jnp.zeros((len(reg), 1, d)), whole[:, None]))
    quad = d - reg * jnp.sum(by.whiten**2, axis=(1, 2, 3))
    return by.peak[:, 0] - quad / 2
  variance = jnp.diagonal(covariance, axis1=1, axis2=2)
  wide = variance + reg[:, None]
  return -0.5 * jnp.sum(math.log(2 * math.pi) + jnp.log(wide) + variance / wide, axis=1)


def _extra(d: int, full: bool) -> float:
  """How many numbers two Gaussians have beyond one."""
  return d + (d * (d + 1) / 2 if full else d) + 1
