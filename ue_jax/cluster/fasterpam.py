"""k-medoids: PAM's result at the price of a few sweeps, eager swaps, and what they need to start.

Schubert & Rousseeuw, "Fast and Eager k-Medoids Clustering: O(k) Runtime Improvement of the PAM, CLARA, and CLARANS
Algorithms", arXiv 2008.05171, 2020 (Information Systems 101, 2021). Modes:

- `pam` (or `fastpam1`): in every step the best of all k(n - k) swaps, the result of PAM and FastPAM1 (`pam.py`);
- `eager` (or `fasterpam`): every improving swap at once, in the order of the points, as FasterPAM (`eager.py`);
- `multi` (or `fastpam2`): in every round the best swap of each medoid (`multi.py`);
- `alternate`: the naive method that reassigns points and recentres clusters in turn; for comparison only.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import alternate, build, dissimilarities, eager, multi, nearest, pam
from ue_jax.cluster.distances import METRICS
from ue_jax.cluster.k_means import matrix as rows_of
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import mesh
from ue_jax.parallel.spread import spread

MODES = {
  "pam": pam.search, "fastpam1": pam.search, "multi": multi.search, "fastpam2": multi.search,
  "eager": eager.search, "fasterpam": eager.search, "alternate": alternate.search,
}
ONE_BY_ONE = ("eager", "fasterpam")  # in the order of all points: on one device
STORED = 2**32  # bytes up to which the matrix of vectors is formed
ALONE = 1024  # points below which one device is used


class Trace(NamedTuple):
  """How a result was reached: int32 scalars.

  Attributes:
    swaps: medoids replaced, one at a time.
    passes: looks at all candidates, with the last that finds nothing.
    sweeps: times that kept costs were formed from all points.
  """

  swaps: Any
  passes: Any
  sweeps: Any


def fit(x=None, k: int = 8, **how) -> Clustering:
  """Chooses k of the points as medoids, so that the total cost of serving each point by its nearest is low.

  Args:
    x: float rows `[n, d]`; or give `distances`.
    k: number of medoids, at most the number of points.
    how: the keyword arguments of `solve`.

  Returns:
    Clustering with `labels` (slots of `medoids`), `medoids`, `cost` (the sum of the costs d(o, medoid of o)),
    `steps` (swaps taken; for `alternate` its iterations) and `converged` (False if `max_steps` ended it).

  Raises:
    Invalid: see `solve`.
  """
  return solve(x, k, **how)[0]


def solve(
  x=None, k: int = 8, *, distances=None, metric: str = "euclidean", start: Any = "build", mode: str = "pam", key=None,
  max_steps=100_000, tol=1e-7, stored: bool | None = None, blocks: bool | None = None, devices=None,
) -> tuple[Clustering, Trace]:
  """`fit`, and how the result was reached.

  Args:
    x: float rows `[n, d]`; or give `distances`.
    k: number of medoids.
    distances: `[n, n]` in place of x, entry [o, j] the cost of serving o by j: at least 0, 0 on the diagonal; need not
      be symmetric nor keep the triangle inequality. Computed with in float32; C order is read fastest.
    metric: between rows of x, one of `distances.METRICS`.
    start: `build`, `lab`, `k-means++`, `random`, `first`, or positions int `[k]`, all different.
    mode: see the module.
    key: PRNG key, needed by `lab`, `k-means++` and `random`; the result is a pure function of the arguments.
    max_steps: most swaps (`alternate`: iterations).
    tol: a swap must lower the cost by more than this part of it.
    stored: whether to form the matrix of the rows of x, or to compute each of its rows when it is needed. Default: up
      to 4 GiB.
    blocks: whether many points at a time are added to the kept costs, by products of matrices. Default: not on a CPU.
    devices: over which the candidates are cut. Default: all, but one below 1024 points; `eager` takes one.

  Raises:
    Invalid: for x or distances that are not finite numbers of a fitting shape, k outside 1..n, an unknown metric, mode
      or start, a start with repeated or foreign positions.
  """
  require((x is None) != (distances is None), "cluster.x", "both or neither", "give either x or distances")
  given = checked_rows(x, metric) if distances is None else checked_matrix(distances)
  n = given.shape[0]
  require(1 <= k <= n, "cluster.k", k, f"choose 1 to {n}, the number of points")
  require(mode in MODES, "cluster.mode", mode, f"choose one of {list(MODES)}")
  named = isinstance(start, str)
  if named:
    require(start in build.STARTS, "cluster.start", start, f"choose one of {list(build.STARTS)} or positions")
    require(key is not None or start in ("build", "first"), "cluster.key", key, f"start '{start}' draws: give a key")
  alone = mode in ONE_BY_ONE or (devices is None and n < ALONE)
  devices = tuple(jax.devices() if devices is None else devices)[: 1 if alone else None]
  kind = "matrix" if distances is not None else "form" if _stored(stored, n) else "vectors"
  blocks = mesh.on_accelerator() if blocks is None else blocks
  run = _runner(kind, metric, start if named else "", k, mode, blocks, devices)
  state = {
    "start": jnp.zeros(k, jnp.int32) if named else checked_start(start, n, k),
    "key": jax.random.key(0) if key is None else key,
    "tol": jnp.float32(tol), "max_steps": jnp.int32(max_steps),
  }
  batch = {"given": given, "ids": np.arange(n, dtype=np.int32), "mask": np.ones(n, np.float32)}
  found = run(state, batch)[1]
  return Clustering(**found["clustering"]), Trace(**found["trace"])


@functools.lru_cache(maxsize=64)
def _runner(kind, metric, start, k, mode, blocks, devices):
  """The compiled fit: candidates are cut over the devices, all else is held whole by each."""

  def step(state, batch, axis=None):
    given, ids, valid = batch["given"], batch["ids"], batch["mask"] > 0
    if kind == "matrix":
      source = dissimilarities.matrix(given, ids, valid, axis)
    else:
      source = getattr(dissimilarities, kind)(given, ids, valid, metric, axis)
    medoids = build.STARTS[start](source, k, state["key"]) if start else state["start"]
    found = MODES[mode](source, medoids, state["tol"], state["max_steps"], blocks)
    return state, _report(found)

  axes = {"given": 1 if kind == "matrix" else None, "ids": 0, "mask": 0}
  return spread(step, mode="one" if len(devices) == 1 else "shard_map", devices=devices, batch_axes=axes)


def _report(found) -> dict:
  now = found.now
  clustering = {
    "labels": now.near, "medoids": now.medoids, "cost": nearest.total(now.d1), "steps": found.steps,
    "converged": found.done,
  }
  return {"clustering": clustering, "trace": {"swaps": found.swaps, "passes": found.passes, "sweeps": found.sweeps}}


def cluster(
  k: int = 10, array: str = "image", metric: str = "euclidean", start: str = "build", mode: str = "pam",
  max_steps: int = 100_000,
) -> Procedure:
  """k-medoids on an array of the Data, flattened to one row a sample: Data -> Clustering.

  Args:
    k: number of medoids.
    array: name of the array to cluster (`image`, `features`, `x`); bytes become floats in [0, 1].
    metric, start, mode, max_steps: see `solve`.
  """

  def run(key, data: Data) -> Clustering:
    found = fit(rows_of(data, array), k, metric=metric, start=start, mode=mode, key=key, max_steps=max_steps)
    return jax.tree.map(np.asarray, found)

  return once(run)


def checked_rows(x, metric: str) -> jax.Array:
  """x as float32 `[n, d]`, centred where the metric does not see it.

  Raises:
    Invalid: for what is not a table of finite numbers, or an unknown metric.
  """
  require(metric in METRICS, "cluster.metric", metric, f"choose one of {sorted(METRICS)}")
  x = _numbers(x, "cluster.x", "give rows [n, d] of numbers")
  require(x.ndim == 2 and x.size > 0, "cluster.x", x.shape, "give rows [n, d] of numbers")
  if not isinstance(x, jax.core.Tracer):
    require(bool(jnp.isfinite(x).all()), "cluster.x", "NaN or infinity", "remove or repair those samples")
  return x if metric == "cosine" else x - jnp.mean(x, axis=0)


def checked_matrix(d) -> jax.Array:
  """A matrix of dissimilarities as float32 `[n, n]`.

  Raises:
    Invalid: unless it is square, finite, at least 0, and 0 on the diagonal.
  """
  d = _numbers(d, "cluster.distances", "give a square matrix of numbers")
  square = d.ndim == 2 and d.shape[0] == d.shape[1] and d.size > 0
  require(square, "cluster.distances", d.shape, "give a square matrix [n, n]")
  if isinstance(d, jax.core.Tracer):
    return d
  low, high, diagonal = (float(v) for v in _extent(d))
  require(np.isfinite(low) and np.isfinite(high), "cluster.distances", "NaN or infinity", "remove those points")
  require(low >= 0, "cluster.distances", low, "use dissimilarities of at least 0")
  require(diagonal == 0, "cluster.distances", diagonal, "set the diagonal to 0: a medoid serves itself at no cost")
  return d


@jax.jit
def _extent(d):
  rows = jnp.min(d, axis=1), jnp.max(d, axis=1)
  return jnp.min(rows[0]), jnp.max(rows[1]), jnp.max(jnp.abs(jnp.diagonal(d)))


def checked_start(start, n: int, k: int) -> jax.Array:
  """Positions to start from as int32 `[k]`.

  Raises:
    Invalid: unless they are k different positions within 0..n-1.
  """
  if isinstance(start, jax.core.Tracer):
    return start.astype(jnp.int32)
  given = np.asarray(start)
  sound = given.shape == (k,) and given.dtype.kind in "iu" and len(np.unique(given)) == k
  fix = f"give {k} different positions within 0..{n - 1}"
  require(sound and given.min() >= 0 and given.max() < n, "cluster.start", start, fix)
  return jnp.asarray(given, jnp.int32)


def _numbers(values, field: str, fix: str):
  if isinstance(values, jax.Array):
    return values.astype(jnp.float32)
  try:
    array = np.asarray(values)
    kind = array.dtype.kind
    return jnp.asarray(array if kind in "fiub" else array.astype(np.float64), jnp.float32)
  except (ValueError, TypeError) as error:
    raise Invalid(field, type(values).__name__, fix) from error


def _stored(stored: bool | None, n: int) -> bool:
  return 4 * n * n <= STORED if stored is None else stored
