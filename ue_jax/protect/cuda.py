"""CUDA: convolution-based unlearnable data sets (Sadasivan, Soltanolkotabi, Feizi; CVPR 2023).

Every picture is convolved with a random filter of its class and divided by its maximum. Nothing is optimised.
The position of the one in a filter is random, so the operator also shifts by up to (size - 1) / 2 pixels. It is not
bounded in any norm of pixels: report PSNR and SSIM beside accuracies.

Departures from the reference: an all-black picture stays black instead of dividing by zero.
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
from ue_jax.core.pictures import to_bytes, to_float
from ue_jax.core.procedure import Procedure
from ue_jax.models.convolution import filtered
from ue_jax.protect import publish


class State(NamedTuple):
  """`filters` float32 `[classes, size, size]`; of each row its filter, `groups` int32 `[n]`, and if it is `chosen`.

  `floor`: bool, whether values are truncated, else rounded.
  """

  key: jax.Array
  step: jax.Array
  filters: jax.Array
  groups: jax.Array
  chosen: jax.Array
  floor: jax.Array


def protect(
  blur=0.3,
  size: int = 3,
  label: str = "label",
  ratio=1.0,
  universal: bool = False,
  quantise: str = "floor",
  compat: str = "jax",
  compat_seed: int = 0,
) -> Procedure:
  """Class-wise convolution: Data -> Data with sets `test_protected` and `test_permuted` beside the changed `train`.

  `test_protected` are the test pictures under the filter of their own class (high accuracy there shows that the
  filter was learned), `test_permuted` under that of the next class.

  Args:
    blur: filter entries are uniform in [0, blur]: 0.3 for 32x32 pictures, 0.06 with size 9 for large; may be traced.
    size: side of the filters, odd.
    label: name of the labelling that picks the filter.
    ratio: share of the train pictures that are convolved, in [0, 1]. May be traced.
    universal: True uses the filter of class 0 for all: the control that must not protect.
    quantise: `floor` as in the reference, or `round`.
    compat: `numpy` draws filters and choices in the order of the reference from a legacy generator.
    compat_seed: the seed of that generator.

  Raises:
    Invalid: for values out of range, or (from init) a labelling that does not exist.
  """
  _check(blur, size, ratio, compat, quantise)

  def init(key, data: Data) -> State:
    labels, classes = publish.labels_of(data, label)
    train = publish.set_rows(data, "train")
    if compat == "numpy":
      bank, drawn = reference_stream(compat_seed, classes, size, blur, len(train))
      uniform = np.zeros(data.n, np.float32)
      uniform[train] = drawn
    else:
      bank = filters(jax.random.fold_in(key, 0), classes, size, blur)
      uniform = jax.random.uniform(jax.random.fold_in(key, 1), (data.n,))
    bank = jnp.broadcast_to(bank[:1], bank.shape) if universal else jnp.asarray(bank)
    floor = jnp.asarray(quantise == "floor")
    return State(key, jnp.int32(0), bank, jnp.asarray(labels), jnp.asarray(uniform) < ratio, floor)

  def step(state: State, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  def finish(state: State, data: Data) -> Data:
    bank, labels, chosen = (np.asarray(a) for a in (state.filters, state.groups, state.chosen))
    classes = len(bank)
    paint = lambda x, rows: _painted(x, bank[labels[rows]], chosen[rows])
    own = lambda x, rows: _painted(x, bank[labels[rows]], np.ones(len(rows), bool))
    following = lambda x, rows: _painted(x, bank[(labels[rows] + 1) % classes], np.ones(len(rows), bool))
    return publish.publish(
      data, paint, copies={"test_protected": own, "test_permuted": following}, quantise=quantise
    )

  return Procedure(init, step, finish, steps=0)


@functools.partial(jax.jit, static_argnames=("classes", "size"))
def filters(key: jax.Array, classes: int, size: int, blur) -> jax.Array:
  """One filter a class, float32 `[classes, size, size]`: uniform in [0, blur] with one random entry set to 1."""
  key_values, key_place = jax.random.split(key)
  values = jax.random.uniform(key_values, (classes, size * size), jnp.float32) * blur
  place = jax.random.randint(key_place, (classes,), 0, size * size)
  return jnp.where(jax.nn.one_hot(place, size * size) > 0, 1, values).reshape(classes, size, size)


def reference_stream(seed: int, classes: int, size: int, blur: float, n: int) -> tuple[np.ndarray, np.ndarray]:
  """Filters `[classes, size, size]` and one uniform number a picture `[n]`, in the reference's order of draws.

  A class draws three channels of filters (the first is used for all), then the row and the column of the one.
  """
  stream = np.random.RandomState(seed)
  bank = np.empty((classes, size, size), np.float32)
  for c in range(classes):
    bank[c] = stream.uniform(0, blur, size=(3, 1, size, size))[0, 0]
    row, column = stream.randint(size), stream.randint(size)
    bank[c, row, column] = 1
  return bank, stream.uniform(size=n).astype(np.float32)


@jax.jit
def transform(x: jax.Array, bank: jax.Array) -> jax.Array:
  """CUDA on float pictures `[b, h, w, c]` with one filter each: convolved, then divided by each picture's maximum."""
  out = filtered(x, bank)
  top = jnp.max(out, axis=(1, 2, 3), keepdims=True)
  # compilers divide by multiplying with 1 / top, which may miss 1 by a bit: 254 instead of 255 after truncation
  at_top = (out >= top * (1 - 2.0**-22)) & (top > 0)
  return jnp.where(at_top, 1, out / jnp.where(top > 0, top, 1))


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: convolved with the filter of that row of `data`, if it is chosen.

  The filter is not stretched: for large pictures choose a larger one (`size` 9 at 224 pixels).

  Returns:
    A function of a picture `[height, width, channels]` (uint8, or float in [0, 1]) and its row, to uint8, truncated
    or rounded as `quantise` says.
  """
  bank, groups, chosen = (np.asarray(a) for a in (state.filters, state.groups, state.chosen))
  quantise = "floor" if state.floor else "round"
  require(len(groups) == data.n, "data", f"{data.n} rows", f"give the Data of init, {len(groups)} rows")

  def paint(picture, row):
    """The protected picture, uint8 of the same height and width."""
    good = picture.ndim == 3 and picture.shape[-1] in (1, 3)
    require(good, "picture", picture.shape, "give [height, width, 1 or 3]")
    image = picture if picture.dtype == np.uint8 else to_bytes(np.asarray(picture))
    return to_bytes(np.asarray(_painted(image[None], bank[groups[row]][None], chosen[row][None])), quantise)[0]

  return paint


@jax.jit
def _painted(image, bank, chosen):
  x = to_float(image)
  return jnp.where(chosen[:, None, None, None], transform(x, bank), x)


def _check(blur, size, ratio, compat, quantise) -> None:
  if isinstance(blur, (int, float)):
    require(0 <= blur <= 1, "protect.blur", blur, "give a number in [0, 1]")
  if isinstance(ratio, (int, float)):
    require(0 <= ratio <= 1, "protect.ratio", ratio, "give a share in [0, 1]")
  require(isinstance(size, int) and size > 0 and size % 2 == 1, "protect.size", size, "give an odd whole number")
  require(quantise in ("round", "floor"), "protect.quantise", quantise, "choose 'round' or 'floor'")
  require(compat in ("jax", "numpy"), "protect.compat", compat, "choose 'jax' or 'numpy'")
