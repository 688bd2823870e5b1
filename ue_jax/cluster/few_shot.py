"""Transductive Few-Shot Learning: Clustering is All You Need? (Ziko, Boudiaf, Dolz, Granger, Ben Ayed, 2021).

Clusters the few labelled points and the unlabelled queries of a task together, on frozen features: prototypes (means
or modes), a graph of nearest neighbours and the labels in one objective, see `cluster.bound`. With `lam` 0 and means it
is k-means that keeps the known labels; without labels it clusters (Scalable Laplacian K-modes, 2018).

Departures: labelled points are held in every update (`clamp="init"`: at the start only, as published), and the graph is
symmetric (`symmetric=False`: directed, as published), without which the energy may rise. Modes by the bound follow
the rule of 2018, on the probabilities before labels are held.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import bound, given, k_means
from ue_jax.cluster.bound import Numbers, Solution, Trace
from ue_jax.cluster.distances import sqeuclidean
from ue_jax.cluster.neighbours import graph as neighbour_graph
from ue_jax.cluster.seeding import plus_plus
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure, once

NORMALISE = ("cl2n", "l2n", "un")


class Inference(NamedTuple):
  """What is found about the queries of one task.

  Attributes:
    labels: int32 `[q]`.
    soft: float32 `[q, k]`, rows sum to 1.
    prototypes: float32 `[k, d]`, in the normalised space.
    trace: the energy, see `bound.Trace`.
  """

  labels: jax.Array
  soft: jax.Array
  prototypes: jax.Array
  trace: Trace


def infer(
  support, labels, query, k: int, *, lam=0.7, prototypes: str = "means", neighbours: int = 2, mean=None,
  normalise: str = "cl2n", shift: bool = True, clamp: str = "inner", symmetric: bool = True, width=None, diagonal=0.0,
  max_steps=100, tol=1e-4, inner_steps=600, inner_tol=1e-7, trace: int = 0,
) -> Inference:
  """Labels the queries of one task; a pure function that may be jitted and vmapped over tasks and over `lam`.

  Args:
    support: features `[s, d]` of the labelled points.
    labels: int `[s]` in 0..k-1, each class at least once.
    query: features `[q, d]`.
    k: number of classes.
    lam: weight of the graph; 0 leaves the prototypes alone.
    prototypes: one of `bound.PROTOTYPES`.
    neighbours: edges from each point of support and queries together.
    mean: `[d]`, the mean of the features of the base classes, for `cl2n`; None: that of the task itself.
    normalise: `cl2n` subtracts the mean and scales rows to length 1, `l2n` only scales, `un` does nothing.
    shift: moves the queries so that their mean is that of the support.
    clamp, symmetric, diagonal: see `bound.solve` and `bound.Numbers`.
    width: squared width of the modes' kernel; None: a fifth of the sum of squared distances to the neighbours, a point.
    max_steps, tol, inner_steps, inner_tol: see `bound.Numbers`.
    trace: length of the energy trace to keep.

  Raises:
    Invalid: for shapes, labels or settings that do not fit.
  """
  support, query, labels = _task(support, labels, query, k)
  _settings(prototypes, clamp, lam, normalise)
  support, query = normalised(support, query, mean, normalise, shift)
  x = jnp.concatenate([support, query])
  graph = neighbour_graph(x, neighbours)
  known = jnp.concatenate([labels, jnp.full(len(query), -1, jnp.int32)])
  width = bandwidth(graph.sq) if width is None else width
  numbers = _numbers(lam, width, diagonal, max_steps, tol, inner_steps, inner_tol)
  found = bound.solve(
    x, graph, known, class_means(support, labels, k), numbers,
    prototypes=prototypes, clamp=clamp, symmetric=symmetric, trace=trace,
  )  # fmt: skip
  s = len(support)
  return Inference(found.labels[s:], found.soft[s:], found.centers, found.trace)


def laplacian_shot(
  support, labels, query, k: int, *, lam=0.7, neighbours: int = 2, mean=None, normalise: str = "cl2n",
  shift: bool = True, rectify: bool = True, symmetric: bool = True, max_steps=20, tol=1e-6, trace: int = 0,
) -> Inference:
  """LaplacianShot: prototypes computed once, then bound updates on a graph of the queries alone.

  Ziko, Dolz, Granger, Ben Ayed, "Laplacian Regularized Few-Shot Learning", 2020. `rectify` averages, into a prototype,
  all points predicted as its class, each times its softmax of 10 cos; divided by their number, as published, so that
  prototypes shrink. Other arguments as for `infer`.
  """
  support, query, labels = _task(support, labels, query, k)
  _settings("means", "inner", lam, normalise)
  support, query = normalised(support, query, mean, normalise, shift)
  centers = class_means(support, labels, k)
  if rectify:
    centers = rectified(jnp.concatenate([support, query]), centers)
  numbers = _numbers(lam, 1.0, 0.0, 1, 0.0, max_steps, tol)
  pull = bound.smoother(neighbour_graph(query, neighbours), symmetric, numbers.diagonal)
  free = lambda soft: soft
  blank = Trace(jnp.full(trace, jnp.nan, jnp.float32), jnp.full(trace, -1, jnp.int32))
  soft, found = bound.relax(pull, free, free, numbers, sqeuclidean(query, centers), 1, blank)
  return Inference(bound.first(soft), soft, centers, found)


def nearest(support, labels, query, k: int, *, mean=None, normalise: str = "cl2n", shift: bool = True) -> Inference:
  """The nearest class mean of the support, query by query but for `shift`: what transduction is measured against."""
  support, query, labels = _task(support, labels, query, k)
  support, query = normalised(support, query, mean, normalise, shift)
  centers = class_means(support, labels, k)
  soft = jax.nn.softmax(-sqeuclidean(query, centers))
  return Inference(bound.first(soft), soft, centers, Trace(jnp.zeros(0), jnp.zeros(0, jnp.int32)))


def fit(
  x, k: int, *, key, labels=None, start=None, lam=1.0, prototypes: str = "mean_shift", neighbours: int = 5,
  clamp: str = "inner", symmetric: bool = True, width=None, diagonal=0.0, max_steps=100, tol=1e-5, inner_steps=1000,
  inner_tol=1e-7, trace: int = 0,
) -> tuple[Clustering, Solution]:
  """Clusters the rows of x `[n, d]`; how far `lam` reaches depends on their scale (rows of length 1, as published).

  Args:
    x: float rows.
    k: number of clusters.
    key: of the k-means++ seeding.
    labels: int `[n]`, known labels in 0..k-1, -1 elsewhere; None: none is known. Known classes start at their means.
    start: prototypes `[k, d]` to begin from, in place of the seeding.
    lam, prototypes, neighbours, clamp, symmetric, width, diagonal, trace: as for `infer`.
    max_steps, tol, inner_steps, inner_tol: see `bound.Numbers`.

  Returns:
    The Clustering (`cost` is the energy without its entropy), and the `bound.Solution` with soft labels and trace.

  Raises:
    Invalid: for k outside 1..n, NaN or infinity, labels out of range, or unknown settings.
  """
  x = given.rows(x)
  n = x.shape[0]
  require(1 <= k <= n, "cluster.k", k, f"choose 1 to {n}, the number of samples")
  _settings(prototypes, clamp, lam, "un")
  known = jnp.full(n, -1, jnp.int32) if labels is None else jnp.asarray(labels, jnp.int32)
  require(known.shape == (n,), "cluster.labels", known.shape, f"give one label a row: ({n},)")
  _in_range(known, -1, k)
  graph = neighbour_graph(x, neighbours)
  start = None if start is None else k_means.starting(start, (k, x.shape[1]))
  width = bandwidth(graph.sq) if width is None else width
  numbers = _numbers(lam, width, diagonal, max_steps, tol, inner_steps, inner_tol)
  how = dict(prototypes=prototypes, clamp=clamp, symmetric=symmetric, trace=trace)
  found = _fit(x, graph, known, key, start, numbers, k=k, **how)
  return Clustering(found.labels, found.centers, None, found.cost, found.steps, found.converged), found


@functools.partial(jax.jit, static_argnames=("k", "prototypes", "clamp", "symmetric", "trace"))
def _fit(x, graph, known, key, start, numbers, *, k, **how) -> Solution:
  mean = jnp.mean(x, axis=0)
  x = x - mean
  centers = x[plus_plus(key, x, k, jnp.ones(len(x), jnp.float32))] if start is None else start - mean
  centers = jnp.where(bound.counts(known, k)[:, None] > 0, class_means(x, known, k), centers)
  found = bound.solve(x, graph, known, centers, numbers, **how)
  return found._replace(centers=found.centers + mean)


def cluster(
  k: int = 10, array: str = "image", lam: float = 1.0, prototypes: str = "mean_shift", neighbours: int = 5,
  normalise: str = "l2n", max_steps: int = 100, tol: float = 1e-5,
) -> Procedure:
  """Clustering with a Laplacian on an array of the Data: Data -> Clustering.

  Args:
    k: number of clusters.
    array: name of the array, flattened to one row a sample; bytes become floats in [0, 1].
    lam, prototypes, neighbours, max_steps, tol: see `fit`.
    normalise: `l2n` scales rows to length 1, `cl2n` after subtracting their mean, `un` does nothing.
  """
  _settings(prototypes, "inner", lam, normalise)

  def run(key, data: Data) -> Clustering:
    x = rows(k_means.matrix(data, array), normalise)
    options = dict(lam=lam, prototypes=prototypes, neighbours=neighbours, max_steps=max_steps, tol=tol)
    return jax.tree.map(np.asarray, fit(x, k, key=key, **options)[0])

  return once(run)


def rows(x, normalise: str, mean=None) -> jax.Array:
  """The rows of x `[n, d]`, with `mean` (None: their own) subtracted for `cl2n`, of length 1 unless `un`."""
  x = jnp.asarray(x, jnp.float32)
  if normalise == "cl2n":
    x = x - (jnp.mean(x, axis=0) if mean is None else jnp.asarray(mean, jnp.float32))
  if normalise != "un":
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
  return x


def normalised(support, query, mean, normalise: str, shift: bool) -> tuple[jax.Array, jax.Array]:
  """Support and queries in the space in which they are compared, the means of both brought together by `shift`."""
  s = len(support)
  x = rows(jnp.concatenate([support, query]), normalise, mean)
  support, query = x[:s], x[s:]
  if shift:
    query = query + (jnp.mean(support, axis=0) - jnp.mean(query, axis=0))
  return support, query


def class_means(x: jax.Array, labels: jax.Array, k: int) -> jax.Array:
  """The mean of the rows of each class, float32 `[k, d]`; rows of label -1 count in none; 0 for an empty class."""
  nothing = jnp.zeros((k, x.shape[1]), jnp.float32)
  return bound.move_prototypes(x, nothing, labels, None, "means", None)


def rectified(x: jax.Array, centers: jax.Array) -> jax.Array:
  """LaplacianShot's prototypes: the mean over the points predicted as k of softmax(10 cos)_k times the point."""
  unit = lambda v: v / jnp.maximum(jnp.linalg.norm(v, axis=1, keepdims=True), 1e-12)
  cosine = jnp.matmul(unit(x), unit(centers).T, precision=bound.HIGHEST)
  predicted = bound.first(cosine)
  share = jnp.take_along_axis(jax.nn.softmax(10 * cosine), predicted[:, None], 1)
  mean = class_means(x * share, predicted, len(centers))
  return jnp.where(bound.counts(predicted, len(centers))[:, None] > 0, mean, centers)


def bandwidth(sq: jax.Array, divisor: float = 5.0) -> jax.Array:
  """Squared width of the modes' kernel: the sum of squared neighbour distances `[n, m]` over `divisor` n.

  The divisor is 5 as published, whatever m is.
  """
  return jnp.maximum(jnp.sum(sq) / (divisor * sq.shape[0]), jnp.finfo(jnp.float32).tiny)


def _numbers(lam, width, diagonal, max_steps, tol, inner_steps, inner_tol) -> Numbers:
  found = Numbers(lam, width, diagonal, tol, max_steps, inner_tol, inner_steps)
  return Numbers(*(jnp.asarray(v, jnp.int32 if name.endswith("steps") else jnp.float32)
                   for name, v in found._asdict().items()))


def _task(support, labels, query, k: int) -> tuple[jax.Array, ...]:
  support, query = given.rows(support, "cluster.support"), given.rows(query, "cluster.query")
  labels = jnp.asarray(labels, jnp.int32)
  fits = support.shape[1] == query.shape[1]
  require(fits, "cluster.query", (support.shape, query.shape), "give support [s, d] and queries [q, d]")
  require(labels.shape == support.shape[:1], "cluster.labels", labels.shape, f"give {len(support)}, one a support row")
  require(1 <= k <= len(support), "cluster.k", k, "give every class a labelled point")
  _in_range(labels, 0, k)
  if not isinstance(labels, jax.core.Tracer):
    missing = sorted(set(range(k)) - set(np.asarray(labels).tolist()))
    require(not missing, "cluster.labels", missing, "give every class a labelled point")
  return support, query, labels


def _in_range(labels: Any, low: int, k: int) -> None:
  if not isinstance(labels, jax.core.Tracer) and labels.size:
    seen = (int(np.min(np.asarray(labels))), int(np.max(np.asarray(labels))))
    require(low <= seen[0] and seen[1] < k, "cluster.labels", seen, f"use labels within {low}..{k - 1}")


def _settings(prototypes: str, clamp: str, lam: Any, normalise: str) -> None:
  for field, value, among in (
    ("prototypes", prototypes, bound.PROTOTYPES), ("clamp", clamp, ("inner", "init")),
    ("normalise", normalise, NORMALISE),
  ):  # fmt: skip
    if value not in among:
      raise Invalid(f"cluster.{field}", value, f"choose one of {list(among)}")
  if isinstance(lam, (int, float)):
    require(0 <= lam < float("inf"), "cluster.lam", lam, "give a finite number >= 0")
