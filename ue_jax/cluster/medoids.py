"""What all methods of k-medoids share: input that was checked, one compiled fit over the devices, its report."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import dissimilarities, nearest
from ue_jax.cluster.distances import METRICS
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering
from ue_jax.parallel import mesh
from ue_jax.parallel.spread import allsum, spread

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


class Points(NamedTuple):
  """What is to be clustered: a checked matrix (`kind` matrix), or rows (`form` their matrix, or `vectors`)."""

  given: jax.Array
  kind: str
  metric: str

  @property
  def n(self) -> int:
    return self.given.shape[0]


def points(x, distances, metric: str, k: int, stored: bool | None = None) -> Points:
  """Checks what is to be clustered; see `fasterpam.solve` for the arguments.

  Raises:
    Invalid: for both or neither of x and distances, numbers that are not usable, k outside 1..n, an unknown metric.
  """
  require((x is None) != (distances is None), "cluster.x", "both or neither", "give either x or distances")
  given = checked_rows(x, metric) if distances is None else checked_matrix(distances)
  n = given.shape[0]
  require(1 <= k <= n, "cluster.k", k, f"choose 1 to {n}, the number of points")
  stored = 4 * n * n <= STORED if stored is None else stored
  kind = "matrix" if distances is not None else "form" if stored else "vectors"
  return Points(given, kind, "" if kind == "matrix" else metric)


def choose(devices, n: int) -> tuple:
  """The devices to use: those given, or all of them where n points are worth it."""
  if devices is None:
    return tuple(jax.devices()[: 1 if n < ALONE else None])
  return tuple(devices)


def place(distances, devices=None) -> jax.Array:
  """Cuts the columns of a matrix over the devices (default: all), so that fits need not copy it each time.

  The number of columns must be a multiple of that of the devices.
  """
  return jax.device_put(distances, mesh.split(mesh.mesh(devices), 1))


def run(on: Points, method: Callable, state: dict, devices: tuple, **static: Any) -> tuple[Clustering, Trace]:
  """Runs `method(source, state, **static)` with the candidates cut over the devices.

  The method returns a state with `now` (the `Nearest`), `steps`, `swaps`, `passes`, `sweeps` and `done`.
  """
  compiled = _compiled(on.kind, on.metric, method, tuple(sorted(static.items())), devices)
  batch = {"given": on.given, "ids": np.arange(on.n, dtype=np.int32), "mask": np.ones(on.n, np.float32)}
  if len(devices) == 1:  # a matrix that was cut over several would be computed with in pieces
    batch = jax.device_put(batch, devices[0])
  found = compiled(state, batch)[1]
  _check_entries(found["unfit"])
  return Clustering(**found["clustering"]), Trace(**found["trace"])


@functools.lru_cache(maxsize=64)
def _compiled(kind, metric, method, static, devices):
  def step(state, batch, axis=None):
    given, ids, valid = batch["given"], batch["ids"], batch["mask"] > 0
    if kind == "matrix":
      source, unfit = dissimilarities.matrix(given, ids, valid, axis), _unfit(given, ids, axis)
    else:
      source, unfit = getattr(dissimilarities, kind)(given, ids, valid, metric, axis), jnp.zeros(2, jnp.int32)
    usable = {**state, "max_steps": jnp.where(jnp.any(unfit > 0), 0, state["max_steps"])}
    return state, {**_report(method(source, usable, **dict(static))), "unfit": unfit}

  axes = {"given": 1 if kind == "matrix" else None, "ids": 0, "mask": 0}
  return spread(step, mode="one" if len(devices) == 1 else "shard_map", devices=devices, batch_axes=axes)


def _unfit(d, ids, axis):
  """How many entries are not finite or negative, and how many of the diagonal are not 0, int32 `[2]`."""
  m, limit = d.shape[1], jnp.uint32(0x7F800000)  # the bits of infinity: those of usable numbers are below, except -0.0
  bits = lambda i: jax.lax.bitcast_convert_type(d[i], jnp.uint32)
  largest = jax.lax.fori_loop(0, d.shape[0], lambda i, top: jnp.maximum(top, bits(i)), jnp.zeros(m, jnp.uint32))
  bad = lambda i, count: count + (~((d[i] >= 0) & (d[i] < jnp.inf))).astype(jnp.int32)
  count = lambda: jnp.sum(jax.lax.fori_loop(0, d.shape[0], bad, jnp.zeros(m, jnp.int32)))
  entries = jax.lax.cond(jnp.max(largest) < limit, lambda: jnp.int32(0), count)
  own = d[ids, jnp.arange(m)] != 0
  return allsum(jnp.stack([entries, jnp.sum(own, dtype=jnp.int32)]), axis)


def _check_entries(unfit) -> None:
  if isinstance(unfit, jax.core.Tracer):
    return
  entries, own = np.asarray(unfit).tolist()
  fix = "give finite dissimilarities of at least 0"
  require(entries == 0, "cluster.distances", f"{entries} entries that are NaN, infinite or negative", fix)
  value = f"{own} points at a distance from themselves"
  require(own == 0, "cluster.distances", value, "set the diagonal to 0: a medoid serves itself at no cost")


def _report(found) -> dict:
  now = found.now
  clustering = {
    "labels": now.near, "medoids": now.medoids, "cost": nearest.total(now.d1), "steps": found.steps,
    "converged": found.done,
  }
  return {"clustering": clustering, "trace": {"swaps": found.swaps, "passes": found.passes, "sweeps": found.sweeps}}


_around_mean = jax.jit(lambda x: x - jnp.mean(x, axis=0))


def checked_rows(x, metric: str) -> jax.Array:
  """x as float32 `[n, d]`, centred where the metric does not see it.

  Raises:
    Invalid: for what is not a table of finite numbers, or an unknown metric.
  """
  require(metric in METRICS, "cluster.metric", metric, f"choose one of {sorted(METRICS)}")
  x = _numbers(x, "cluster.x", "give rows [n, d] of numbers")
  require(x.ndim == 2 and x.size > 0, "cluster.x", x.shape, "give rows [n, d] of numbers")
  if not isinstance(x, jax.core.Tracer):
    require(bool(np.isfinite(x).all()), "cluster.x", "NaN or infinity", "remove or repair those samples")
  x = jnp.asarray(x)
  return x if metric == "cosine" else _around_mean(x)


def checked_matrix(d):
  """A matrix of dissimilarities as float32 `[n, n]`, of numpy or JAX as it was given; `run` looks at its entries.

  Raises:
    Invalid: unless it is a square matrix of numbers.
  """
  d = _numbers(d, "cluster.distances", "give a square matrix of numbers")
  square = d.ndim == 2 and d.shape[0] == d.shape[1] and d.size > 0
  require(square, "cluster.distances", d.shape, "give a square matrix [n, n]")
  return d


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
    return np.asarray(array if array.dtype.kind in "fiub" else array.astype(np.float64), np.float32)
  except (ValueError, TypeError) as error:
    raise Invalid(field, type(values).__name__, fix) from error
