"""Random noise: the controls that every protection is held against.

A picture's pattern of signs is a pure function of (key, group), so the six kinds differ in one array only: the
groups. Nothing here looks at a model, but for the clusters that the control of Unlearnable Clusters shares with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.protect import surrogate as surrogates
from ue_jax.protect.publish import Painted, check_budget, labels_of, most_levels, paint_levels, publish, set_rows

KINDS = ("clean", "sample", "cluster", "class", "permuted", "universal")
_FORGIVEN = 1e-6  # share of an L2 budget: an eps that is meant to be whole levels is off by its own rounding


class State(NamedTuple):
  """`groups` int32 `[n]`: rows of one group share a pattern.

  Attributes:
    grey: its height in whole grey levels, int32. height: before it was rounded down, float32.
  """

  key: jax.Array
  step: jax.Array
  groups: jax.Array
  grey: jax.Array
  height: jax.Array


def protect(
  kind: str = "sample",
  eps=16 / 255,
  norm: str = "linf",
  label: str = "label",
  groups: str = "",
  surrogate: Subject | None = None,
  k: int = 10,
  size: int = 0,
  augment: bool = False,
  feature: str = "features",
  normalise: bool = False,
  restarts: int = 1,
  cluster_seed: int = 0,
) -> Procedure:
  """Adds random signs times eps to the pictures: Data -> Data.

  Args:
    kind: which pictures share a pattern: `sample` none, `cluster`, `class`, `universal` all; `permuted`: the patterns
      of `class`, but every picture gets that of a class drawn for it; `clean` adds nothing (and still appends
      `test_protected`).
    eps: budget in units of [0, 1]; may be traced.
    norm: `linf`, or `l2`: the norm of a whole pattern, cut to the next whole grey level below, so that the published
      bytes are within eps; the smallest is sqrt(h w c) / 255. A picture of another size is painted with equal heights.
    label: for `class` and `permuted`: the labelling.
    groups: for `cluster`: an int array of the Data to take the clusters from, in place of k-means.
    surrogate, k, size, augment, feature, normalise, restarts, cluster_seed: for `cluster`: as in
      `unlearnable_clusters`, and with equal values the very same clusters. Without a surrogate: k-means on pixels.

  Raises:
    Invalid: for an unknown kind or norm, eps out of range, or (from init) what the Data lacks, or for an eps above 0
      that is less than one level with `l2`.
  """
  require(kind in KINDS, "protect.kind", kind, f"choose one of {list(KINDS)}")
  check_budget(eps, norm)
  view = surrogates.View(size, augment, feature)

  def grouped(key, data: Data):
    if kind == "sample":
      return jnp.asarray(data.arrays["index"], jnp.int32)
    if kind == "class":
      return jnp.asarray(labels_of(data, label)[0])
    if kind == "permuted":
      return drawn_classes(key, jnp.asarray(data.arrays["index"], jnp.int32), labels_of(data, label)[1])
    if kind == "cluster" and groups:
      return jnp.asarray(labels_of(data, groups, "protect.groups")[0])
    if kind == "cluster":
      found = surrogates.group(data, surrogate, k, view, normalise=normalise, restarts=restarts, seed=cluster_seed)
      return found.labels
    return jnp.zeros(data.n, jnp.int32)

  def init(key, data: Data) -> State:
    set_rows(data, "train")
    budget = jnp.asarray(0 if kind == "clean" else eps, jnp.float32)
    grey, height = most_levels(budget), 255 * budget
    if norm == "l2":
      grey, height = _level(eps if kind != "clean" else 0.0, data), budget / _one_level(data)
    return State(key, jnp.int32(0), grouped(key, data), grey, height)

  def step(state: State, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  def finish(state: State, data: Data) -> Data:
    shape = data.arrays["image"].shape[1:]
    drawn, height = np.asarray(state.groups), np.float32(state.height) / np.float32(255)

    def paint(image, rows):
      """The block with its signs."""
      pattern = signs(state.key, jnp.asarray(drawn[rows]), shape)
      return Painted(_painted(image, pattern, state.grey), to_float(image) + np.asarray(pattern) * height)

    return publish(data, paint, quantise="none")

  return Procedure(init, step, finish, steps=0)


@functools.partial(jax.jit, static_argnames="shape")
def signs(key: jax.Array, groups: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """The patterns of groups `[b]`: int8 `[b, *shape]` of -1 and 1."""
  return jax.vmap(lambda group: jax.random.rademacher(jax.random.fold_in(key, group), shape, jnp.int8))(groups)


def drawn_classes(key: jax.Array, index: jax.Array, classes: int) -> jax.Array:
  """A random class for every picture, int32 `[n]`, a function of its key and index: labels permuted."""
  key = jax.random.fold_in(key, np.uint32(2**32 - 1))  # no group has this number
  return jax.vmap(lambda i: jax.random.randint(jax.random.fold_in(key, i), (), 0, classes))(index)


def class_of_each(data: Data, label: str, key: jax.Array, permuted: bool) -> tuple[jax.Array, int]:
  """The class whose shortcut each picture gets, int32 `[n]`, and the number of classes.

  Args:
    permuted: True draws the class instead of reading it: the control that carries nothing about the label.

  Raises:
    Invalid: if there is no such labelling, or it has one class only.
  """
  labels, classes = labels_of(data, label)
  require(classes > 1, "protect.label", label, "choose a labelling of two classes or more: a shortcut tells them apart")
  index = jnp.asarray(data.arrays["index"], jnp.int32)
  return (drawn_classes(key, index, classes) if permuted else jnp.asarray(labels)), classes


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the noise of that row of `data`, stretched to the picture.

  Args:
    state: of any kind of noise.
    data: what `init` was given; its picture size is that of the patterns.

  Returns:
    A function of a picture `[height, width, channels]` (uint8, or float in [0, 1]) and its row, to uint8. No value
    moves by more than floor(255 eps) grey levels.
  """
  shape = data.arrays["image"].shape[1:]
  groups, grey = np.asarray(state.groups), int(state.grey)

  def paint(picture, row):
    """The protected picture, uint8 of the same height and width."""
    pattern = np.asarray(signs(state.key, jnp.asarray(groups[row][None]), shape))[0]
    return paint_levels(picture, pattern.astype(np.int16) * grey)

  return paint


def _level(eps, data: Data) -> jax.Array:
  """The largest whole grey level, int32, of which a pattern of the Data's size has an L2 norm within eps."""
  level = _one_level(data)
  if isinstance(eps, (int, float)) and eps > 0:
    least = f"one grey level is {level:.4f} at this size; use at least that, or 0"
    require(eps >= level * (1 - _FORGIVEN), "protect.eps", eps, least)
  return jnp.floor(jnp.asarray(eps, jnp.float32) / level * (1 + _FORGIVEN)).astype(jnp.int32)


def _one_level(data: Data) -> np.float32:
  """The L2 norm of a pattern of one grey level."""
  return np.float32(np.sqrt(np.prod(data.arrays["image"].shape[1:])) / 255)


@jax.jit
def _painted(image, pattern, grey):
  moved = image.astype(jnp.int32) + pattern.astype(jnp.int32) * grey
  return jnp.clip(moved, 0, 255).astype(jnp.uint8)
