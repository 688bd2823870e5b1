"""Few-shot tasks drawn from labelled features, and what methods of inference reach on them.

An episode: `way` classes, `shots` labelled points of each, and queries of those classes to be labelled together. The
accuracy is the mean over episodes, with the half-width 1.96 s / sqrt(episodes) of its 95 % interval. Queries balanced
over the classes make transduction look good; `concentration` draws the classes' shares from a Dirichlet instead
(Veilleux et al., "Realistic Evaluation of Transductive Few-Shot Learning", 2021, with 2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import few_shot, k_means
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.train import supervised
from ue_jax.train.batches import array_of, data_of

# name -> (function of the task, its settings, weight of the graph unless another is asked for)
METHODS = {
  "prototype": (few_shot.nearest, {"shift": False}, None),
  "k_means": (few_shot.infer, {}, 0.0),
  "k_modes": (few_shot.infer, {"prototypes": "mean_shift"}, 0.0),
  "slk_means": (few_shot.infer, {}, 0.7),
  "slk_ms": (few_shot.infer, {"prototypes": "mean_shift"}, 0.3),
  "slk_bo": (few_shot.infer, {"prototypes": "bound_modes"}, 0.3),
  "laplacian_shot": (few_shot.laplacian_shot, {}, 0.7),
}
CHUNK = 1000  # episodes at once


class Episodes(NamedTuple):
  """Positions of the points of many tasks, on the host.

  Attributes:
    support: int32 `[episodes, way * shots]`, the classes one after another.
    query: int32 `[episodes, way * queries]`.
    truth: int32 of the same shape, the class of each query within its episode, 0..way-1.
  """

  support: np.ndarray
  query: np.ndarray
  truth: np.ndarray


def draw(
  labels, count: int, *, way: int = 5, shots: int = 1, queries: int = 15, concentration: float = 0.0, seed: int = 0
) -> Episodes:
  """Draws episodes; no point is twice in one.

  Args:
    labels: int `[n]`; points of label -1 are never drawn.
    count: episodes.
    way: classes of an episode.
    shots: labelled points a class.
    queries: unlabelled points a class; with `concentration` above 0 that many on average.
    concentration: of the Dirichlet from which the classes' shares of the queries are drawn; 0: equal shares.
    seed: names the draw.

  Raises:
    Invalid: if there are too few classes, or points in a class.
  """
  labels, generator = np.asarray(labels), np.random.default_rng(np.random.SeedSequence([seed]))
  pools = [np.flatnonzero(labels == c) for c in np.unique(labels[labels >= 0])]
  for field, value in (("episodes", count), ("way", way), ("shots", shots), ("queries", queries)):
    require(isinstance(value, int) and value >= 1, f"measure.{field}", value, "give a whole number, 1 or more")
  pools = [pool for pool in pools if len(pool) >= shots + queries]
  fix = f"{len(pools)} classes have the {shots + queries} points that an episode takes"
  require(way <= len(pools), "measure.way", way, fix)
  made = [_one(generator, pools, way, shots, queries, concentration) for _ in range(count)]
  return Episodes(*(np.stack(part).astype(np.int32) for part in zip(*made)))


def _one(generator, pools, way, shots, queries, concentration):
  chosen = [generator.permutation(pools[c]) for c in generator.choice(len(pools), way, replace=False)]
  free = np.array([len(rows) - shots for rows in chosen])
  sizes = np.full(way, queries)
  if concentration > 0:
    shares = generator.dirichlet(np.full(way, concentration))
    sizes = np.minimum(generator.multinomial(way * queries, shares), free)
    while sizes.sum() < way * queries:  # what a small class cannot give comes from the others
      sizes[generator.choice(np.flatnonzero(sizes < free))] += 1
  support = np.concatenate([rows[:shots] for rows in chosen])
  query = np.concatenate([rows[shots : shots + size] for rows, size in zip(chosen, sizes)])
  return support, query, np.repeat(np.arange(way), sizes)


def play(x, episodes: Episodes, method: str, *, lam: Any = None, mean=None, **settings: Any) -> jax.Array:
  """The accuracy of a method on every episode, float32 `[episodes]`.

  Args:
    x: features `[n, d]` of all points.
    episodes: from `draw`.
    method: a key of `METHODS`.
    lam: weight of the graph, may be traced; None: the method's own.
    mean: `[d]`, mean of the base classes' features; None: that of x.
    **settings: further arguments of the method, such as `normalise` or `neighbours`; static.
  """
  require(method in METHODS, "measure.methods", method, f"choose among {list(METHODS)}")
  x = jnp.asarray(x, jnp.float32)
  mean = jnp.mean(x, axis=0) if mean is None else jnp.asarray(mean, jnp.float32)
  fn, own, weight = METHODS[method]
  lam = weight if lam is None else lam
  how = tuple(sorted({**own, **settings}.items()))
  way = int(episodes.truth.max()) + 1
  return _play(x, mean, lam if weight is not None else None, tuple(episodes), fn, way, how, CHUNK)


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _play(x, mean, lam, episodes, fn, way, how, chunk):
  shots = episodes[0].shape[1] // way
  labels = np.repeat(np.arange(way, dtype=np.int32), shots)
  weight = {} if lam is None else {"lam": lam}

  def one(episode):
    support, query, truth = episode
    found = fn(x[support], labels, x[query], way, mean=mean, **weight, **dict(how))
    return jnp.mean((found.labels == truth).astype(jnp.float32))

  count = len(episodes[0])
  return jax.vmap(one)(episodes) if count <= chunk else jax.lax.map(one, episodes, batch_size=chunk)


def tuned(x, episodes: Episodes, method: str, grid: Sequence[float], **settings: Any) -> float:
  """The weight of the graph in `grid` with the best mean accuracy on the episodes; the grid is one vmapped call."""
  means = jax.vmap(lambda lam: jnp.mean(play(x, episodes, method, lam=lam, **settings)))(jnp.asarray(grid, jnp.float32))
  return float(grid[int(jnp.argmax(means))])


def measure(
  methods: Sequence[str] = ("prototype", "slk_means"), array: str = "image", label: str = "label",
  episodes: int = 100, way: int = 0, shots: int = 1, queries: int = 15, concentration: float = 0.0,
  normalise: str = "cl2n", neighbours: int = 2, lam: Mapping[str, float] = {}, grid: Sequence[float] = (),
  validation: Sequence[int] = (), base: str = "",
) -> Procedure:
  """Request or Data -> Scores: the accuracy of each method, and after it as `method +-` half of its 95 % interval.

  Args:
    methods: keys of `METHODS`.
    array: the array whose rows are the points; `features`, where the data has none: what the subject's last layer sees.
    label: the labelling.
    episodes, way, shots, queries, concentration: see `draw`; `way` 0: five, or as many as have the points.
    normalise, neighbours: see `few_shot.infer`.
    lam: method -> weight of the graph, in place of its own.
    grid: weights to choose from, for every method with a graph, on as many episodes of the classes `validation`.
    validation: classes that are not tested on.
    base: the set whose mean `cl2n` subtracts; empty: all rows.

  Raises:
    Invalid: for unknown names, too few classes or points, or a grid without validation classes.
  """
  for method in methods:
    require(method in METHODS, "measure.methods", method, f"choose among {list(METHODS)}")
  fix = "name the classes to choose on, and give weights: both or none"
  require(bool(grid) == bool(validation), "measure.grid", tuple(grid), fix)

  def score(key, problem: Any) -> Scores:
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    data = data_of(problem)
    x, y = _features(problem, data, array), np.asarray(array_of(data, label))
    settings = {"mean": x[_rows(data, base)].mean(0), "normalise": normalise}
    held = np.isin(y, list(validation))

    def deal(inside, seed):
      able = int(np.sum(np.unique(y[inside & (y >= 0)], return_counts=True)[1] >= shots + queries))
      size = dict(way=way or min(5, max(able, 1)), shots=shots, queries=queries, concentration=concentration)
      return draw(np.where(inside, y, -1), episodes, **size, seed=seed)

    tested, out = deal(~held, seed), {}
    for method in methods:
      graph = METHODS[method][2] is not None
      more = {**settings, **({"neighbours": neighbours} if graph else {})}
      weight = lam.get(method)
      if graph and grid and METHODS[method][2] > 0:
        weight = tuned(x, deal(held, seed + 1), method, grid, **more)
      reached = np.asarray(play(x, tested, method, lam=weight, **more), np.float64)
      out[method] = Score(float(reached.mean()), episodes, "high", 1.0)
      half = 1.96 * reached.std(ddof=1) / math.sqrt(episodes) if episodes > 1 else 0.0
      out[f"{method} +-"] = Score(float(half), episodes, "low", 0.0)
    return out

  return once(score)


def _features(problem: Any, data: Data, array: str) -> np.ndarray:
  if array == "features" and array not in data.arrays and isinstance(problem, Request) and problem.subject is not None:
    subject = problem.subject
    return np.asarray(supervised.predict(subject.model, subject.params, subject.state, array_of(data, "image"))[1])
  return k_means.matrix(data, array)


def _rows(data: Data, name: str) -> Any:
  if name and name not in data.sets:
    raise Invalid("measure.base", name, f"choose one of {sorted(data.sets)}")
  return data.sets[name] if name else slice(None)
