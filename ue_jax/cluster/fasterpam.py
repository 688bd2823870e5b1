"""k-medoids: PAM's result at the price of a few sweeps, eager swaps, and what they need to start.

Schubert & Rousseeuw, "Fast and Eager k-Medoids Clustering: O(k) Runtime Improvement of the PAM, CLARA, and CLARANS
Algorithms", arXiv 2008.05171, 2020 (Information Systems 101, 2021). Modes:

- `pam` (or `fastpam1`): in every step the best of all k(n - k) swaps, the result of PAM and FastPAM1 (`pam.py`);
- `eager` (or `fasterpam`): every improving swap at once, in the order of the points, as FasterPAM (`eager.py`);
- `multi` (or `fastpam2`): in every round the best swap of each medoid (`multi.py`);
- `alternate`: the naive method that reassigns points and recentres clusters in turn; for comparison only.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import alternate, build, eager, multi, pam
from ue_jax.cluster.k_means import matrix
from ue_jax.cluster.medoids import Trace, checked_start, choose, points, run
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import mesh

MODES = {
  "pam": pam.search, "fastpam1": pam.search, "multi": multi.search, "fastpam2": multi.search,
  "eager": eager.search, "fasterpam": eager.search, "alternate": alternate.search,
}
ONE_BY_ONE = ("eager", "fasterpam")  # in the order of all points: on one device


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
  max_steps=100_000, tol=1e-8, stored: bool | None = None, blocks: bool | None = None, devices=None,
) -> tuple[Clustering, Trace]:
  """`fit`, and how the result was reached.

  Args:
    x: float rows `[n, d]`; or give `distances`.
    k: number of medoids.
    distances: `[n, n]` in place of x, entry [o, j] the cost of serving o by j: at least 0, 0 on the diagonal; need not
      be symmetric nor keep the triangle inequality. Computed with in float32; C order is read fastest.
    metric: between rows of x, one of `distances.METRICS`.
    start: `build`, `lab`, `k-means++`, `random`, `first`, or positions int `[k]`, all different.
    mode: see the module; a single medoid is found at once, whatever the mode.
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
  on = points(x, distances, metric, k, stored)
  require(mode in MODES, "cluster.mode", mode, f"choose one of {list(MODES)}")
  named = isinstance(start, str)
  if named:
    require(start in build.STARTS, "cluster.start", start, f"choose one of {list(build.STARTS)} or positions")
    require(key is not None or start in ("build", "first"), "cluster.key", key, f"start '{start}' draws: give a key")
  devices = choose(devices, on.n)[: 1 if mode in ONE_BY_ONE else None]
  state = {
    "start": jnp.zeros(k, jnp.int32) if named else checked_start(start, on.n, k),
    "key": jax.random.key(0) if key is None else key,
    "tol": jnp.float32(tol), "max_steps": jnp.int32(max_steps),
  }
  blocks = mesh.on_accelerator() if blocks is None else blocks
  return run(on, _begin_and_search, state, devices, start=start if named else "", k=k, mode=mode, blocks=blocks)


def _begin_and_search(source, state, *, start, k, mode, blocks):
  medoids = build.STARTS[start](source, k, state["key"]) if start else state["start"]
  if k == 1:
    return eager.single(source, medoids)
  return MODES[mode](source, medoids, state["tol"], state["max_steps"], blocks)


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

  def fitted(key, data: Data) -> Clustering:
    found = fit(matrix(data, array), k, metric=metric, start=start, mode=mode, key=key, max_steps=max_steps)
    return jax.tree.map(np.asarray, found)

  return once(fitted)
