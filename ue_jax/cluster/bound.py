"""Prototypes, a smooth labelling and known labels in one objective, minimised by a concave-convex bound.

Over soft labels Y `[n, k]` (rows on the simplex) and prototypes C `[k, d]`,

  E(Y, C) = sum_p Y_p . a_p(C)  -  lam / 2 sum_pq w_pq Y_p . Y_q  +  sum_p Y_p . log Y_p,

where `a` is the cost of a point under each prototype and w a graph of nearest neighbours. The pair term is replaced by
its tangent at the current Y, which gives a closed form for all points at once: `Y_p <- softmax(-a_p + lam (W Y)_p)`.
With W symmetric no update raises E as long as no eigenvalue of W lies below -2 / lam; `diagonal` shifts them up and
changes E by a constant on hard labels. Sources: Ziko, Granger, Ben Ayed, "Scalable Laplacian K-modes", 2018; Ziko,
Boudiaf, Dolz, Granger, Ben Ayed, "Transductive Few-Shot Learning: Clustering is All You Need?", 2021, algorithm 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.cluster.distances import HIGHEST, sqeuclidean
from ue_jax.cluster.neighbours import Graph, dense, gather_sum, scatter_sum

PROTOTYPES = ("means", "soft_means", "mean_shift", "bound_modes")
DENSE = 1024  # up to so many points the graph is a matrix
SHIFTS, SHIFT_TOL = 1000, 1e-5  # of mean-shift


class Numbers(NamedTuple):
  """What may be swept, float32 and int32 scalars.

  Attributes:
    lam: weight of the graph, at least 0.
    width: squared width s^2 of the kernel exp(-|x - c|^2 / 2 s^2) of modes, above 0.
    diagonal: added to the diagonal of the graph, at least 0.
    tol, max_steps: the outer loop ends when E without its entropy changes by this share, or after so many prototypes.
    inner_tol, inner_steps: the same of the bound updates between two prototypes, by E.
  """

  lam: jax.Array
  width: jax.Array
  diagonal: jax.Array
  tol: jax.Array
  max_steps: jax.Array
  inner_tol: jax.Array
  inner_steps: jax.Array


class Trace(NamedTuple):
  """E after every bound update: `energy` float32 `[length]`, NaN where unused.

  `prototypes` int32 `[length]` counts the prototypes in use then: E is comparable where they are the same.
  """

  energy: jax.Array
  prototypes: jax.Array


class Solution(NamedTuple):
  """Where the outer loop is, and at the end the result.

  Attributes:
    labels: int32 `[n]`, the largest of `soft`.
    soft: float32 `[n, k]`.
    centers: float32 `[k, d]`, the prototypes behind `soft`.
    cost: E without its entropy.
    steps: int32 scalar, prototypes computed.
    done, converged: whether it stopped, and whether by `tol`. It also stops, as published, where a cluster would lose
      its last point, with what was before: too large a `lam` may do that at once, with the nearest starts as labels.
    trace: see `Trace`.
  """

  labels: jax.Array
  soft: jax.Array
  centers: jax.Array
  cost: jax.Array
  steps: jax.Array
  done: jax.Array
  converged: jax.Array
  trace: Trace


def solve(
  x: jax.Array, graph: Graph, known: jax.Array, centers: jax.Array, numbers: Numbers,
  *, prototypes: str, clamp: str = "inner", symmetric: bool = True, trace: int = 0,
) -> Solution:
  """Alternates prototypes and bound updates.

  Args:
    x: float32 `[n, d]`.
    graph: nearest neighbours of the rows of x.
    known: int32 `[n]`, the label of a labelled point, -1 for the others.
    centers: float32 `[k, d]` to begin from.
    numbers: see `Numbers`.
    prototypes: one of `PROTOTYPES`.
    clamp: `inner`: labelled points keep their label in every update; `init`: only in the first before each prototype.
    symmetric: the graph's mean with its transpose; False: directed edges, for which nothing is proven.
    trace: length of the energy trace; 0: none.
  """
  k = centers.shape[0]
  neighbours = smoother(graph, symmetric, numbers.diagonal)
  fixed = functools.partial(clamped, known)
  unary = functools.partial(cost, x, prototypes=prototypes, width=numbers.width)
  free = functools.partial(relax, neighbours, fixed, fixed if clamp == "inner" else lambda soft: soft, numbers)

  def step(old: Solution) -> Solution:
    if prototypes == "bound_modes":
      new = x[surest(numbers.lam * neighbours(old.soft) - unary(old.centers))]
    else:
      new = move_prototypes(x, old.centers, old.labels, old.soft, prototypes, numbers.width)
    a = unary(new)
    soft, trace = free(a, old.steps + 1, old.trace)
    labels = first(soft)
    value = jnp.sum(soft * (a - numbers.lam / 2 * neighbours(soft)))
    lost = jnp.any((counts(labels, k) == 0) & (counts(old.labels, k) > 0))
    settled = (old.steps >= 1) & (jnp.abs(old.cost - value) <= numbers.tol * jnp.abs(value))
    made = Solution(labels, soft, new, value, old.steps + 1, lost | settled, settled & ~lost, trace)
    kept = old._replace(done=lost, trace=trace)
    return jax.tree.map(lambda a, b: jnp.where(lost, a, b), kept, made)

  a = unary(centers)
  soft = fixed(jax.nn.softmax(-a))
  value = jnp.sum(soft * (a - numbers.lam / 2 * neighbours(soft)))
  blank = Trace(jnp.full(trace, jnp.nan, jnp.float32), jnp.full(trace, -1, jnp.int32))
  false = jnp.bool_(False)
  begin = Solution(first(soft), soft, centers, value, jnp.int32(0), false, false, blank)
  return jax.lax.while_loop(lambda s: ~s.done & (s.steps < numbers.max_steps), step, begin)


def relax(
  neighbours: Callable, start: Callable, clamp: Callable, numbers: Numbers, a: jax.Array, prototypes=0,
  trace: Trace | None = None,
) -> tuple[jax.Array, Trace]:
  """Bound updates of the soft labels at the cost `a` `[n, k]` of fixed prototypes, until E stands still."""
  trace = Trace(jnp.zeros(0), jnp.zeros(0, jnp.int32)) if trace is None else trace
  at = jnp.sum(trace.prototypes >= 0).astype(jnp.int32)

  def note(trace, at, value):
    if trace.energy.shape[0] == 0:
      return trace
    put = lambda row, new: row.at[at].set(new, mode="drop")
    return Trace(put(trace.energy, value), put(trace.prototypes, prototypes))

  def going(carry):
    return (carry[2] < numbers.inner_steps) & ~carry[4]

  def update(carry):
    _, pull, t, old, _, trace = carry
    soft = clamp(jax.nn.softmax(numbers.lam * pull - a))
    pull = neighbours(soft)
    value = energy(soft, a, pull, numbers.lam)
    stop = jnp.abs(old - value) <= numbers.inner_tol * jnp.abs(old)
    return soft, pull, t + 1, value, stop, note(trace, at + 1 + t, value)

  soft = start(jax.nn.softmax(-a))
  pull = neighbours(soft)
  value = energy(soft, a, pull, numbers.lam)
  carry = (soft, pull, jnp.int32(0), value, jnp.bool_(False), note(trace, at, value))
  soft, *_, trace = jax.lax.while_loop(going, update, carry)
  return soft, trace


def energy(soft: jax.Array, a: jax.Array, pull: jax.Array, lam: jax.Array) -> jax.Array:
  """E at soft labels `[n, k]` with costs `a` and neighbour sums `pull` of the same shape; float32 scalar."""
  entropy = soft * jnp.log(jnp.maximum(soft, jnp.finfo(jnp.float32).tiny))
  return jnp.sum(soft * (a - lam / 2 * pull) + entropy)


def smoother(graph: Graph, symmetric: bool, diagonal: jax.Array) -> Callable[[jax.Array], jax.Array]:
  """The function Y -> (W + diagonal I) Y on float32 `[n, k]`."""
  if graph.index.shape[0] <= DENSE:
    w = dense(graph, symmetric)
    return lambda soft: jnp.matmul(w, soft, precision=HIGHEST) + diagonal * soft
  if symmetric:
    return lambda soft: (gather_sum(graph, soft) + scatter_sum(graph, soft)) / 2 + diagonal * soft
  return lambda soft: gather_sum(graph, soft) + diagonal * soft


def clamped(known: jax.Array, soft: jax.Array) -> jax.Array:
  """The soft labels with a one at the known ones."""
  return jnp.where(known[:, None] >= 0, jax.nn.one_hot(known, soft.shape[1], dtype=soft.dtype), soft)


def cost(x: jax.Array, centers: jax.Array, *, prototypes: str, width: jax.Array) -> jax.Array:
  """a `[n, k]`: squared distances to means, or the negative kernel of modes."""
  sq = sqeuclidean(x, centers)
  return sq if prototypes.endswith("means") else -jnp.exp(-sq / (2 * width))


def move_prototypes(
  x: jax.Array, centers: jax.Array, labels: jax.Array, soft: jax.Array, prototypes: str, width: jax.Array
) -> jax.Array:
  """The means or modes `[k, d]` of a labelling; a prototype without points stays where it is."""
  hard = jax.nn.one_hot(labels, centers.shape[0], dtype=jnp.float32)
  if prototypes == "mean_shift":
    return mean_shift(x, hard, centers, width)
  member = soft if prototypes == "soft_means" else hard
  mass = jnp.sum(member, axis=0)[:, None]
  mean = jnp.matmul(member.T, x, precision=HIGHEST) / jnp.maximum(mass, jnp.finfo(jnp.float32).tiny)
  return jnp.where(mass > 0, mean, centers)


def surest(logits: jax.Array) -> jax.Array:
  """For every cluster the point with the largest softmax of `logits` `[n, k]`: positions int32 `[k]`.

  Compared by odds, which still differ where many probabilities are rounded to 1.
  """
  top = jnp.argmax(logits, axis=1)[:, None] == jnp.arange(logits.shape[1])
  mass = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
  others = jnp.sum(jnp.where(top, 0, mass), axis=1, keepdims=True)
  rest = jnp.where(top, others, 1 + others - mass)
  odds = jnp.log(mass) - jnp.log(jnp.maximum(rest, jnp.finfo(jnp.float32).tiny))
  return jnp.argmax(odds, axis=0).astype(jnp.int32)


def mean_shift(x: jax.Array, member: jax.Array, centers: jax.Array, width: jax.Array) -> jax.Array:
  """From each centre to a mode of the points of its cluster (member `[n, k]` of 0 and 1), all clusters at once.

  The kernel's weights are divided by the largest, so that a lonely or far point is still a mean of weight one.
  """

  def shift(carry):
    old, moving, t = carry
    exponent = jnp.where(member > 0, -sqeuclidean(x, old) / (2 * width), -jnp.inf)
    weight = jax.nn.softmax(exponent, axis=0)
    new = jnp.matmul(weight.T, x, precision=HIGHEST)
    moved = jnp.linalg.norm(new - old, axis=1) > SHIFT_TOL * jnp.linalg.norm(old, axis=1)
    return jnp.where(moving[:, None], new, old), moving & moved, t + 1

  occupied = jnp.any(member > 0, axis=0)
  going = lambda carry: jnp.any(carry[1]) & (carry[2] < SHIFTS)
  return jax.lax.while_loop(going, shift, (centers, occupied, jnp.int32(0)))[0]


def first(soft: jax.Array) -> jax.Array:
  """The label of the largest entry of every row, int32 `[n]`; of equal ones the lowest."""
  return jnp.argmax(soft, axis=1).astype(jnp.int32)


def counts(labels: jax.Array, k: int) -> jax.Array:
  """How many points each cluster has, int32 `[k]`."""
  return jnp.sum(labels[:, None] == jnp.arange(k), axis=0, dtype=jnp.int32)
