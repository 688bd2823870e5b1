"""Probabilistic Partitive Partitioning (Sultan, 2020): clusters without being told how many, the same for every seed.

k-means halves a set of samples, a mixture of two Gaussians fitted from the halves judges the cut, and the halves are
cut in turn until no cut is borne out. Only the abstract of the paper could be had; its claims are kept (no number of
clusters, no dependence on the start or the order of rows, k-means does the work, the most separable samples are named),
the rest is a reconstruction:

- the start of 2-means is the side of the mean along the first principal direction, so nothing is random;
- a cut stands if two Gaussians have the lower BIC than one, and give each half's samples to its own component with a
  mean probability of at least `tau`: BIC alone would also cut flat, uniform data;
- rows are put into an order of their own first, so that results do not depend, to the last bit, on that of the caller.

All open sets of a level of the tree are cut at once, see `cut`: the work stays that of one pass over the rows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import given, k_means
from ue_jax.cluster.cut import Settings, cut
from ue_jax.core.errors import require
from ue_jax.core.nouns import Clustering, Data
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import spread

COVARIANCES = ("auto", "full", "diag")
SLOTS = 16  # nodes that are cut by one call
WIDE = 32  # features up to which `auto` takes full covariances


class Tree(NamedTuple):
  """How the samples were cut, and how sure that is. Node 0 holds all samples; children come after their parents.

  Attributes:
    parent: int32 `[nodes]`, -1 for node 0.
    children: int32 `[nodes, 2]`, -1 for leaves.
    label: int32 `[nodes]`, the cluster of a leaf; -1 for others.
    centers: float32 `[nodes, d]`, the mean of each node's samples.
    size: int32 `[nodes]`.
    gain: float32 `[nodes]`, by how much two Gaussians lower the BIC; NaN where no cut was tried.
    agreement: float32 `[nodes]`, the mean probability of a sample's own half; NaN likewise.
    confidence: float32 `[n]`, the lowest such probability of each sample, over the cuts that stand.
    core: bool `[n]`, the most separable samples: those with a confidence of at least `tau`.
    scale: float32 `[d]`, by which features were divided.
  """

  parent: np.ndarray
  children: np.ndarray
  label: np.ndarray
  centers: np.ndarray
  size: np.ndarray
  gain: np.ndarray
  agreement: np.ndarray
  confidence: np.ndarray
  core: np.ndarray
  scale: np.ndarray


def fit(
  x, *, key=None, tau=0.95, min_size: int = 0, max_depth: int = 20, covariance: str = "auto", em_steps=100, em_tol=1e-3,
  reg=1e-6, standardise: bool = True, polish: bool = False, devices: Sequence[Any] | None = None,
) -> tuple[Clustering, Tree]:  # fmt: skip
  """Clusters the rows of x `[n, d]`; how many clusters there are is found.

  Args:
    x: float rows.
    key: not used: there is nothing random.
    tau: agreement from which a cut stands, 0.5 to 1.
    min_size: samples below which a set is not cut; 0 stands for 2 (d + 2).
    max_depth: of the tree.
    covariance: `full`, `diag`, or `auto`: full up to 32 features.
    em_steps, em_tol: of the mixtures, see `gmm.fit`.
    reg: added to their variances, relative to the mean variance of the set.
    standardise: divide features by their standard deviation first.
    polish: end with Lloyd's iteration from the means of the leaves; `confidence` and the tree stay as they were.
    devices: over which rows are cut; default: one.

  Returns:
    `(Clustering, Tree)`. Clusters are numbered by falling size, equal ones by their centres. `cost` is the sum of
    squared distances to the centres, in the units of x; `steps` the levels of the tree.

  Raises:
    Invalid: for values out of range, NaN or infinity.
  """
  del key
  x = _checked(x, tau, min_size, max_depth, covariance, reg)
  n, d = x.shape
  middle = x.mean(0)
  scale = x.std(0) if standardise else np.ones(d)
  scale = np.where(scale > 1e-12 * np.maximum(np.abs(middle), 1e-300), scale, 1.0)
  z = ((x - middle) / scale).astype(np.float32)
  order = _canonical(z)
  full = covariance == "full" or (covariance == "auto" and d <= WIDE)
  settings = Settings(*(jnp.float32(v) for v in (tau, reg, em_tol)), jnp.int32(em_steps))
  grown = _grow(z[order], settings, min_size or 2 * (d + 2), max_depth, full, devices)
  return _finish(x, z, order, grown, scale, float(tau), polish)


def cluster(
  array: str = "image", tau: float = 0.95, min_size: int = 0, max_depth: int = 20, covariance: str = "auto",
  standardise: bool = True, polish: bool = False,
) -> Procedure:  # fmt: skip
  """Partitive partitioning of an array of the Data, flattened to one row a sample: Data -> Clustering. See `fit`."""

  def run(key, data: Data) -> Clustering:
    del key
    settings = dict(tau=tau, min_size=min_size, max_depth=max_depth, covariance=covariance)
    return fit(k_means.matrix(data, array), standardise=standardise, polish=polish, **settings)[0]

  return once(run)


def predict(tree: Tree, x) -> np.ndarray:
  """The cluster of new rows `[m, d]`, int32: down the tree, always to the nearer of two centres."""
  given.rows(x)
  x, d = np.asarray(x, np.float64), len(tree.scale)
  require(x.shape[1] == d, "cluster.x", x.shape, f"give rows of {d} features")
  at = np.zeros(len(x), np.int32)
  while (inner := tree.children[at, 0] >= 0).any():
    rows = np.flatnonzero(inner)
    below = tree.children[at[rows]]
    apart = (x[rows, None] - tree.centers[below]) / tree.scale
    sq = (apart**2).sum(-1)
    at[rows] = np.where(sq[:, 1] < sq[:, 0], below[:, 1], below[:, 0])
  return tree.label[at]


def _grow(z: np.ndarray, settings: Settings, min_size: int, max_depth: int, full: bool, devices) -> dict:
  """Cuts level by level; the tree as lists, with the node and the confidence of every row of z."""
  n = len(z)
  node, sure = np.zeros(n, np.int32), np.ones(n, np.float32)
  tree = {"parent": [-1], "children": [[-1, -1]], "gain": [np.nan], "agreement": [np.nan]}
  open_, depth = [0] if n >= min_size else [], 0
  slots, (width, blocks) = SLOTS, _shape(n)
  run = _program(slots, full, tuple(devices or ()))
  while open_ and depth < max_depth:
    coming = []
    for start in range(0, len(open_), slots):
      group = np.array(open_[start : start + slots])
      for at, below in _cut_group(run, settings, z, node, sure, group, slots, width, blocks, tree):
        coming += [child for child, size in zip(at, below) if size >= min_size]
    open_, depth = coming, depth + 1
  return {**tree, "node": node, "sure": sure, "depth": depth}


def _shape(n: int) -> tuple[int, int]:
  """Rows a block and blocks for n rows of up to `SLOTS` nodes; numbers of rows that are near each other share one."""
  n = max(2048, 2 ** math.ceil(math.log2(n)))
  width = int(np.clip(n // 64, 32, 512))
  return width, n // width + SLOTS


def _cut_group(run, settings, z, node, sure, group, slots, width, blocks, tree):
  """Tries to cut the nodes of one group, writes what came of it into the tree, and yields (children, sizes)."""
  slot_of = np.full(len(tree["parent"]), -1, np.int32)
  slot_of[group] = np.arange(len(group))
  slot = slot_of[node]
  rows, place, owner = _layout(slot, slots, width, blocks)
  x, mask = np.zeros((blocks * width, z.shape[1]), np.float32), np.zeros(blocks * width, np.float32)
  x[place], mask[place] = z[rows], 1
  batch = {"x": x.reshape(blocks, width, -1), "mask": mask.reshape(blocks, width), "owner": owner}
  out = jax.device_get(run(settings, batch)[1])
  side, own = out["side"].reshape(-1)[place], out["own"].reshape(-1)[place]
  for i, parent in enumerate(group.tolist()):
    tree["gain"][parent], tree["agreement"][parent] = float(out["gain"][i]), float(out["agreement"][i])
    if not out["stands"][i]:
      continue
    children = [len(tree["parent"]), len(tree["parent"]) + 1]
    tree["children"][parent] = children
    for name, value in (("parent", parent), ("children", [-1, -1]), ("gain", np.nan), ("agreement", np.nan)):
      tree[name] += [value, list(value) if isinstance(value, list) else value]
    mine = slot[rows] == i
    node[rows[mine]] = np.where(side[mine], children[1], children[0])
    sure[rows[mine]] = np.minimum(sure[rows[mine]], own[mine])
    yield children, np.bincount(side[mine].astype(int), minlength=2)


def _layout(slot: np.ndarray, slots: int, width: int, blocks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rows of open slots sorted by slot, their places in blocks of one slot each, and the slot of every block."""
  rows = np.flatnonzero(slot >= 0)
  rows = rows[np.argsort(slot[rows], kind="stable")]
  counts = np.bincount(slot[rows], minlength=slots)
  taken = -(-counts // width)
  first_block, first_row = np.cumsum(taken) - taken, np.cumsum(counts) - counts
  at = slot[rows]
  place = first_block[at] * width + np.arange(len(rows)) - first_row[at]
  owner = np.zeros(blocks, np.int32)
  owner[: taken.sum()] = np.repeat(np.arange(slots), taken)
  return rows, place, owner


@functools.cache
def _program(slots: int, full: bool, devices: tuple):
  def step(settings, batch, axis=None):
    return cut(settings, batch, slots, full, axis)

  if devices:
    return spread.spread(step, devices=devices)
  return jax.jit(step)


def _finish(x, z, order, grown, scale, tau: float, polish: bool) -> tuple[Clustering, Tree]:
  n, d = x.shape
  parent, children = np.array(grown["parent"], np.int32), np.array(grown["children"], np.int32)
  sums, size = np.zeros((len(parent), d)), np.zeros(len(parent), np.int64)
  np.add.at(sums, grown["node"], x[order])
  np.add.at(size, grown["node"], 1)
  for i in range(len(parent) - 1, 0, -1):
    sums[parent[i]] += sums[i]
    size[parent[i]] += size[i]
  centers = sums / size[:, None]
  leaves = np.flatnonzero(children[:, 0] < 0)
  ranked = leaves[np.lexsort((*centers[leaves].T[::-1], -size[leaves]))]
  label = np.full(len(parent), -1, np.int32)
  label[ranked] = np.arange(len(ranked))
  back = np.empty(n, np.int64)
  back[order] = np.arange(n)
  labels, sure = label[grown["node"]][back], grown["sure"][back]
  middles = (centers[ranked] - x.mean(0)) / scale
  if polish:
    better = k_means.fit(z, len(ranked), key=jax.random.key(0), start=middles.astype(np.float32))
    labels, middles = np.asarray(better.labels, np.int32), np.asarray(better.centers, np.float64)
  places = middles * scale + x.mean(0)
  cost = np.float32(((x - places[labels]) ** 2).sum())
  found = Clustering(labels, places.astype(np.float32), None, cost, np.int32(grown["depth"]), np.bool_(True))
  gain, agreement = (np.array(grown[name], np.float32) for name in ("gain", "agreement"))
  return found, Tree(parent, children, label, centers.astype(np.float32), size.astype(np.int32), gain, agreement, sure,
                     sure >= tau, scale.astype(np.float32))


def _canonical(z: np.ndarray) -> np.ndarray:
  """An order of the rows that does not depend on the one they came in: by the first feature, ties by the next ones."""
  order = np.argsort(z[:, 0], kind="stable")
  tied = np.any(np.diff(z[order, 0]) == 0)
  return np.lexsort(z.T[::-1]) if tied else order


def _checked(x, tau, min_size, max_depth, covariance, reg) -> np.ndarray:
  given.rows(x)
  require(0.5 <= tau <= 1, "cluster.tau", tau, "use 0.5 to 1")
  require(min_size == 0 or min_size >= 2, "cluster.min_size", min_size, "use at least 2, or 0 for 2 (d + 2)")
  require(max_depth >= 0, "cluster.max_depth", max_depth, "use at least 0")
  require(covariance in COVARIANCES, "cluster.covariance", covariance, f"choose one of {list(COVARIANCES)}")
  require(reg >= 0, "cluster.reg", reg, "use at least 0")
  return np.asarray(x, np.float64)
