"""k-means: greedy k-means++ seeding and Lloyd's iteration, with weights, restarts and repair of empty clusters.

Lloyd, "Least squares quantization in PCM", 1982; Arthur & Vassilvitskii, "k-means++", 2007. The stopping rules are
those of scikit-learn: unchanged labels, or a squared movement of the centres of at most `tol` times the mean variance
of the features. Seeding is in `seeding`, the iteration in `lloyd` and, with bounds, in `pruned`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import lloyd, pruned, seeding
from ue_jax.cluster.distances import assign_top1
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import mesh
from ue_jax.parallel.spread import collect, spread

assign = assign_top1
AT_ONCE = 2**26  # scalars: restarts of larger problems run one after another, for a vmapped one copies the rows
LARGE = 2**21  # distances: bounds pay from here on, on a CPU
ENGINES = {"plain": lloyd.descend, "pruned": pruned.descend}
SEEDS = ("k-means++", "k-means||", "random")


def fit(
  x,
  k: int,
  *,
  key,
  weights=None,
  restarts: int = 1,
  max_steps=300,
  tol=1e-4,
  start=None,
  seeds: str = "k-means++",
  engine: str = "auto",
  devices: Sequence[Any] | None = None,
) -> Clustering:
  """Clusters the rows of x `[n, d]` into k groups, none of them empty.

  Args:
    x: float rows; centred internally.
    k: number of clusters, at most the number of rows (with a positive weight).
    key: PRNG key; the result is a pure function of the arguments.
    weights: `[n]`, at least 0; a row of weight w counts as w equal rows.
    restarts: independent seedings (vmapped while that fits); the lowest cost is returned.
    max_steps: most Lloyd iterations.
    tol: squared movement of the centres, relative to the mean feature variance, at which to stop.
    start: centres `[k, d]` to begin from, in place of the seeding.
    seeds: `k-means++` (greedy), `k-means||` (few passes, for large k) or `random` (different rows).
    engine: `plain` (all distances, every time), `pruned` (bounds leave most out: the same partition), or `auto`:
      `pruned` for large problems on a CPU.
    devices: over which the rows are cut; None: one.

  Returns:
    Clustering with `labels`, `centers`, `cost` (the weighted sum of squared distances), `steps`, `converged`.

  Raises:
    Invalid: for k outside 1..n, NaN or infinity, or weights that do not fit.
  """
  x = rows_of(x)
  weights = np.ones(x.shape[0], np.float32) if weights is None else jnp.asarray(weights, jnp.float32)
  check(x, k, weights, restarts)
  require(seeds in SEEDS, "cluster.seeds", seeds, f"choose one of {list(SEEDS)}")
  require(engine in ("auto", *ENGINES), "cluster.engine", engine, f"choose one of {['auto', *ENGINES]}")
  start = None if start is None else starting(start, (k, x.shape[1]))
  if engine == "auto":
    large = x.shape[0] * k >= LARGE and k > 2 and not mesh.on_accelerator()
    engine = "pruned" if large else "plain"
  engine = "plain" if k == 1 else engine  # bounds compare a centre with the others
  limits = jnp.float32(tol), jnp.int32(max_steps)
  if devices is None or len(devices) == 1:
    return _fit(x, weights, key, *limits, start, k=k, restarts=restarts, seeds=seeds, engine=engine)
  return _fit_across(x, weights, key, *limits, start, k, restarts, seeds, engine, tuple(devices))


def cluster(
  k: int = 10, array: str = "image", data_set: str = "", restarts: int = 4, max_steps: int = 300, tol: float = 1e-4
) -> Procedure:
  """k-means on an array of the Data, flattened to one row a sample: Data -> Clustering.

  Args:
    k: number of clusters.
    array: name of the array to cluster (`image`, `features`, `x`); bytes become floats in [0, 1].
    data_set: the set whose rows the centres are fitted to; every row gets a label. Empty: all rows.
    restarts, max_steps, tol: see `fit`.
  """

  def run(key, data: Data) -> Clustering:
    weights = only(data.n, rows_in(data, data_set)) if data_set else None
    x = matrix(data, array)
    found = fit(x, k, key=key, weights=weights, restarts=restarts, max_steps=max_steps, tol=tol)
    return jax.tree.map(np.asarray, found)

  return once(run)


def matrix(data: Data, array: str, rows=slice(None)) -> np.ndarray:
  """The named array, or some rows of it, as float32 `[n, d]`."""
  if array not in data.arrays:
    raise Invalid("cluster.array", array, f"choose one of {sorted(data.arrays)}")
  values = np.asarray(data.arrays[array][rows])
  return np.asarray(to_float(values), np.float32).reshape(len(values), -1)


def only(n: int, rows: np.ndarray) -> np.ndarray:
  """Weights float32 `[n]`: 1 for `rows`, 0 for the others, which then get a label but do not move a centre."""
  weights = np.zeros(n, np.float32)
  weights[rows] = 1
  return weights


def centers_from(key: jax.Array, x: jax.Array, k: int, weights: jax.Array, seeds: str = "k-means++") -> jax.Array:
  """Centres float32 `[k, d]` to begin from, by one of `SEEDS`."""
  if seeds == "k-means++":
    return x[seeding.plus_plus(key, x, k, weights)]
  if seeds == "k-means||":
    return seeding.parallel(key, x, k, weights)
  noise = jnp.where(weights > 0, jax.random.uniform(key, weights.shape), -1)
  return x[jax.lax.top_k(noise, k)[1]]


def centred(x: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The rows around their weighted mean `[d]`, and that mean."""
  mean = weights @ x / jnp.sum(weights)
  return x - mean, mean


@functools.partial(jax.jit, static_argnames=("k", "restarts", "seeds", "engine"))
def _fit(x, weights, key, tol, max_steps, start, *, k, restarts, seeds, engine) -> Clustering:
  x, mean = centred(x, weights)

  def once_from(key):
    centers = centers_from(key, x, k, weights, seeds) if start is None else start - mean
    return ENGINES[engine](x, weights, tol, max_steps, centers)

  keys = jax.random.split(key, restarts)
  if restarts == 1:
    found = once_from(keys[0])
  else:
    fits = x.size * restarts <= AT_ONCE and engine == "plain"
    many = jax.vmap(once_from)(keys) if fits else jax.lax.map(once_from, keys)
    found = jax.tree.map(lambda leaf: leaf[jnp.argmin(many.cost)], many)
  return found._replace(centers=found.centers + mean)


class _Share(NamedTuple):
  """What is cut over devices: the rows and their weights, and the result."""

  x: Any
  weights: Any
  found: Clustering


def _fit_across(x, weights, key, tol, max_steps, start, k, restarts, seeds, engine, devices) -> Clustering:
  """Seeds on one device, iterates on all; restarts one after another."""
  x, mean = jax.jit(centred)(x, weights)
  n, run, best = len(x), _across(engine, devices), None
  more = -n % len(devices)
  rows = np.pad(np.asarray(x), ((0, more), (0, 0))), np.pad(np.asarray(weights), (0, more))
  for one in jax.random.split(key, restarts):
    centers = _seed(one, x, weights, k=k, seeds=seeds) if start is None else start - mean
    nothing = jnp.float32(0), jnp.int32(0), jnp.bool_(False)
    begin = _Share(*rows, Clustering(jnp.zeros(n + more, jnp.int32), centers, None, *nothing))
    found = run(begin, {"tol": tol, "max_steps": max_steps})[0].found
    best = found if best is None or float(found.cost) < float(best.cost) else best
  return collect(best._replace(labels=best.labels[:n], centers=best.centers + mean))


_seed = functools.partial(jax.jit, static_argnames=("k", "seeds"))(
  lambda key, x, weights, k, seeds: centers_from(key, x, k, weights, seeds)
)


@functools.lru_cache(maxsize=8)
def _across(engine: str, devices: tuple):
  def step(state, batch, axis=None):
    """All iterations from the centres of `state.found`."""
    arguments = state.x, state.weights, batch["tol"], batch["max_steps"], state.found.centers
    return state._replace(found=ENGINES[engine](*arguments, axis)), {}

  axes = _Share(0, 0, Clustering(0, None, None, None, None, None))
  return spread(step, mode="shard_map", devices=devices, axes=axes)


def rows_of(x) -> jax.Array:
  """x as float32 `[n, d]`.

  Raises:
    Invalid: for what is not a rectangular array of numbers.
  """
  try:
    return jnp.asarray(x, jnp.float32)
  except (TypeError, ValueError) as error:
    raise Invalid("cluster.x", type(x).__name__, f"give a rectangular array of numbers: {error}") from None


def starting(start, shape) -> jax.Array:
  """Centres to begin from as float32; Invalid unless they have this shape."""
  start = rows_of(start)
  require(start.shape == shape, "cluster.start", start.shape, f"give centres of shape {shape}")
  return start


def check(x, k, weights, restarts) -> None:
  """Refuses rows, numbers of clusters, weights and restarts that cannot be; looks at no traced value."""
  require(x.ndim == 2 and x.size > 0, "cluster.x", x.shape, "give rows [n, d]")
  require(restarts >= 1, "cluster.restarts", restarts, "use at least 1")
  require(1 <= k <= x.shape[0], "cluster.k", k, f"choose 1 to {x.shape[0]}, the number of samples")
  require(weights.shape == x.shape[:1], "cluster.weights", weights.shape, f"give one weight a row: {x.shape[:1]}")
  if isinstance(x, jax.core.Tracer) or isinstance(weights, jax.core.Tracer):
    return
  x, weights = mesh.at_hand(x), mesh.at_hand(weights)
  require(bool((abs(x) < np.inf).all()), "cluster.x", "NaN or infinity", "remove or repair those samples")
  fits = bool(((weights >= 0) & (weights < np.inf)).all())
  require(fits, "cluster.weights", "negative or not finite", "use finite weights of at least 0")
  positive = int((weights > 0).sum())
  require(k <= positive, "cluster.k", k, f"choose at most {positive}, the number of samples with a positive weight")


def rows_in(data: Data, name: str) -> np.ndarray:
  """The positions of the set `name`; of all samples if it is empty."""
  if not name:
    return np.arange(data.n, dtype=np.int32)
  if name not in data.sets:
    raise Invalid("cluster.data_set", name, f"choose one of {sorted(data.sets)}")
  return np.asarray(data.sets[name])
