"""LSP: linearly separable patches as shortcuts (Yu, Zhang, Chen, Yin, Liu; "Availability attacks create shortcuts",
KDD 2022). Other papers call it SynPer or SP.

Every class is a vertex of a hypercube with a Gaussian cloud around it; every picture gets a point of the cloud of its
class as a mosaic of flat patches. Nothing is optimised and no picture is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import Procedure
from ue_jax.protect import publish
from ue_jax.protect.noise import class_of_each

NORMS = ("rms", "linf")
DIMENSIONS = 2048  # of a cloud at most: its linear mix is a square matrix a class


class State(NamedTuple):
  """The patches of each picture `[n, rows, columns, c]` and the `side` int32 of one.

  Attributes:
    crafted: float32, in units of [0, 1]; cells: int16, in grey levels.
  """

  key: jax.Array
  step: jax.Array
  crafted: jax.Array
  cells: jax.Array
  side: jax.Array


class Clouds(NamedTuple):
  """`vertices` float32 `[classes, d]` and `mixes` float32 `[classes, d, d]`: a point is vertex + normal @ mix."""

  vertices: jax.Array
  mixes: jax.Array


def protect(
  eps=6 / 255,
  patch: int = 0,
  separation: float = 10.0,
  norm: str = "rms",
  label: str = "label",
  permuted: bool = False,
  quantise: str = "floor",
) -> Procedure:
  """Adds linearly separable patches to the pictures: Data -> Data.

  Args:
    eps: size of the noise in units of [0, 1]; may be traced.
    patch: side of a patch in pixels; 0: a quarter of the shorter side up to 64 pixels, a seventh beyond, which is 8 at
      32 and 32 at 224 pixels as published.
    separation: vertices lie at +-separation; a cloud's deviation is about sqrt(d / 3) in d dimensions, before scaling.
    norm: `rms`: every noise picture has the root mean square eps, that is the L2 norm eps sqrt(h w c), as published;
      its largest value is not bounded. `linf`: its largest value is eps.
    label: name of the labelling.
    permuted: True gives every picture the noise of a random class: the control.
    quantise: `floor` as in the reference, or `round`.

  Raises:
    Invalid: for values out of range, or (from init) a labelling that is missing or has one class, or a patch that
      leaves too few dimensions to tell the classes apart, or more than fit.
  """
  require(norm in NORMS, "protect.norm", norm, f"choose one of {list(NORMS)}")
  publish.check_budget(eps, "linf")
  require(isinstance(patch, int) and patch >= 0, "protect.patch", patch, "give a side in pixels, 0 for the usual one")
  require(separation > 0, "protect.separation", separation, "give a number above 0")
  require(quantise in ("round", "floor"), "protect.quantise", quantise, "choose 'round' or 'floor'")

  def init(key, data: Data) -> State:
    publish.set_rows(data, "train")
    key_groups, key_clouds, key_points = jax.random.split(key, 3)
    groups, classes = class_of_each(data, label, key_groups, permuted)
    shape = data.arrays["image"].shape[1:]
    side = patch or default_patch(*shape[:2])
    dimensions = int(np.prod(layout(shape, side)))
    _check_dimensions(dimensions, classes, side)
    some, index = clouds(key_clouds, classes, dimensions, separation), jnp.asarray(data.arrays["index"], jnp.int32)
    cells = points(key_points, index, groups, some, eps, shape, side, norm)
    return State(key, jnp.int32(0), cells, _grey(cells, eps, norm, quantise), jnp.int32(side))

  def step(state: State, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  def finish(state: State, data: Data) -> Data:
    both, sides = [np.asarray(state.crafted), np.asarray(state.cells)], data.arrays["image"].shape[1:3]
    noise = lambda rows: (mosaic(cells[rows], int(state.side), *sides) for cells in both)
    return publish.publish(data, lambda image, rows: publish.noised(image, *noise(rows)), quantise="none")

  return Procedure(init, step, finish, steps=0)


@functools.partial(jax.jit, static_argnames=("classes", "dimensions"))
def clouds(key: jax.Array, classes: int, dimensions: int, separation: float = 10.0) -> Clouds:
  """Distinct vertices at +-separation, and a uniform random linear mix in [-1, 1] for each."""
  key_code, key_sign, key_order, key_mix = jax.random.split(key, 4)
  bits = min(16, dimensions)
  code = jax.random.permutation(key_code, 2**bits)[:classes]  # without replacement: the first bits differ already
  ours = (code[:, None] >> jnp.arange(bits)) % 2
  rest = jax.random.bernoulli(key_sign, shape=(classes, dimensions - bits)).astype(jnp.int32)
  signs = 2 * jnp.concatenate([ours, rest], 1) - 1
  vertices = separation * jax.random.permutation(key_order, signs, axis=1).astype(jnp.float32)
  return Clouds(vertices, jax.random.uniform(key_mix, (classes, dimensions, dimensions), jnp.float32, -1, 1))


@functools.partial(jax.jit, static_argnames=("shape", "side", "norm"))
def points(key, index, groups, some: Clouds, eps, shape: tuple[int, int, int], side: int, norm: str = "rms"):
  """The patches of pictures, float32 `[n, rows, columns, c]`, in units of [0, 1], before rounding and clipping.

  Args:
    key: with `index` int32 `[n]` it names each picture's point.
    groups: int32 `[n]`, the cloud it is from.
    shape: `(h, w, c)` of a picture; patches at the right and bottom edge may be cut, the norm is that of what is left.
  """
  cells = layout(shape, side)
  area = jnp.asarray(np.outer(*(_lengths(s, side) for s in shape[:2]))[..., None] * np.ones(cells) / np.prod(shape))
  area = area.astype(jnp.float32)

  def one(at):
    normal = jax.random.normal(jax.random.fold_in(key, at[0]), (int(np.prod(cells)),), jnp.float32)
    mixed = jnp.matmul(normal, some.mixes[at[1]], precision=jax.lax.Precision.HIGHEST)
    point = (some.vertices[at[1]] + mixed).reshape(cells)
    size = jnp.sqrt(jnp.sum(area * point * point)) if norm == "rms" else jnp.max(jnp.abs(point))
    return point * (eps / size)

  batch = int(np.clip(2**22 // np.prod(cells) ** 2, 1, 1024))  # each picture of a batch holds its cloud's mix
  return jax.lax.map(one, (index, groups), batch_size=batch)


def mosaic(cells, side: int, height: int, width: int):
  """`[..., rows, columns, c]`, a value a patch, to `[..., height, width, c]`; numpy or JAX."""
  return cells[..., (np.arange(height) // side)[:, None], np.arange(width) // side, :]


def layout(shape: tuple[int, int, int], side: int) -> tuple[int, int, int]:
  """Rows and columns of patches, and channels, of a picture `(h, w, c)`."""
  return -(-shape[0] // side), -(-shape[1] // side), shape[2]


def default_patch(height: int, width: int) -> int:
  """8 at 32 pixels, 32 at 224."""
  side = min(height, width)
  return max(1, side // 4 if side <= 64 else side // 7)


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the patches of that row of `data`, stretched to the picture.

  The mosaic is made at the crafted size and stretched by nearest neighbour: its patches grow with the picture and stay
  flat, and a picture that is not square stretches them unequally.

  Returns:
    A function of a picture `[height, width, channels]` (uint8, or float in [0, 1]) and its row, to uint8.
  """
  cells, side, size = np.asarray(state.cells), int(state.side), data.arrays["image"].shape[1:3]
  return lambda picture, row: publish.paint_levels(picture, mosaic(cells[row], side, *size))


def _lengths(size: int, side: int) -> np.ndarray:
  return np.bincount(np.arange(size) // side)


@functools.partial(jax.jit, static_argnames=("norm", "quantise"))
def _grey(delta, eps, norm: str, quantise: str):
  scaled = delta * 255
  whole = (jnp.round(scaled) if quantise == "round" else jnp.floor(scaled)).astype(jnp.int32)
  if norm == "linf":
    most = publish.most_levels(eps)
    whole = jnp.clip(whole, -most, most)
  return whole.astype(jnp.int16)


def _check_dimensions(dimensions: int, classes: int, side: int) -> None:
  enough = classes <= 2 ** min(dimensions, 16)
  require(enough, "protect.patch", side, f"{dimensions} patches cannot tell {classes} classes apart; use smaller ones")
  require(dimensions <= DIMENSIONS, "protect.patch", side, f"{dimensions} patches are too many; use larger ones")
