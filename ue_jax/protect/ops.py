"""OPS: one-pixel shortcut (Wu, Chen, Xie, Huang; ICLR 2023).

In all pictures of a class one pixel is set to one colour: the place and the corner of the colour cube that are
farthest from what the pictures of the class have there, measured in deviations. It has no budget in Linf: one pixel
changes by all it can. Nothing is random, and sums over the pictures are enough:
|v - x| is x or 1 - x at the corners, so its mean and deviation follow from the first two moments of every place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_bytes
from ue_jax.core.procedure import Procedure
from ue_jax.protect import publish
from ue_jax.protect.noise import class_of_each

CHUNK = 4096


class State(NamedTuple):
  """`places` int32 `[classes, 2]` (row, column); `colours` uint8 `[classes, c]`; `groups` int32 `[n]`: whose pixel."""

  key: jax.Array
  step: jax.Array
  places: jax.Array
  colours: jax.Array
  groups: jax.Array


def protect(label: str = "label", permuted: bool = False) -> Procedure:
  """Sets the pixel of its class in every picture: Data -> Data.

  Args:
    label: name of the labelling.
    permuted: True sets the pixel of a random class: the control.

  Raises:
    Invalid: (from init) for a labelling that is missing, has one class, or more classes than there are pixels.
  """

  def init(key, data: Data) -> State:
    train, image = publish.set_rows(data, "train"), data.arrays["image"]
    groups, classes = class_of_each(data, label, key, permuted)
    room = int(np.prod(image.shape[1:3])) * 2 ** image.shape[-1]
    require(classes <= room, "protect.label", label, f"{classes} classes; pictures of this size have room for {room}")
    truth = publish.labels_of(data, label)[0][train]
    places, colours = choose(scores(*moments(image, train, truth, classes)))
    return State(key, jnp.int32(0), jnp.asarray(places), jnp.asarray(colours), groups)

  def step(state: State, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  def finish(state: State, data: Data) -> Data:
    places, colours, groups = (np.asarray(a) for a in (state.places, state.colours, state.groups))

    def paint(image, rows):
      out = image.copy()
      out[np.arange(len(rows)), *places[groups[rows]].T] = colours[groups[rows]]
      return out

    return publish.publish(data, paint, quantise="none")

  return Procedure(init, step, finish, steps=0)


def moments(image: np.ndarray, rows: np.ndarray, labels: np.ndarray, classes: int):
  """Per class: the number of pictures `[classes]`, and sums of values and of squares `[classes, h, w, c]`.

  Whole numbers (int64), so exact. `labels` are those of `rows`; a block of pictures is widened at a time.
  """
  count = np.bincount(labels, minlength=classes)
  total = np.zeros((classes, *image.shape[1:]), np.int64)
  square = np.zeros_like(total)
  for c in range(classes):
    mine = rows[labels == c]
    for start in range(0, len(mine), CHUNK):
      x = image[mine[start : start + CHUNK]].astype(np.uint32)  # 4096 * 255^2 < 2^32
      total[c] += x.sum(0, dtype=np.uint32)
      square[c] += (x * x).sum(0, dtype=np.uint32)
  return count, total, square


def scores(count: np.ndarray, total: np.ndarray, square: np.ndarray) -> np.ndarray:
  """mean |v - x| / deviation of |v - x|, float64 `[classes, h, w, corners]`; over pictures and channels.

  Corner number k has the colour of its binary digits, the first channel the lowest. Where the deviation is 0 the
  score is the mean times a number beyond all others, so constant places are the best and the farthest colour wins.
  """
  n, c = np.maximum(count, 1)[:, None, None, None], total.shape[-1]
  total, square = total[..., None, :], square[..., None, :]
  far = corners(c).astype(bool)
  summed = np.where(far, 255 * n[..., None] - total, total).sum(-1)  # of |v - x| in grey levels
  squared = np.where(far, 255**2 * n[..., None] - 510 * total + square, square).sum(-1)
  values = n * c
  variance = (squared * values - summed**2) / (255.0 * values) ** 2  # whole numbers up to the division
  return summed / (255.0 * values) / np.maximum(np.sqrt(variance), 1e-9)


def corners(channels: int) -> np.ndarray:
  """The corners of the colour cube, int `[2**c, c]` of 0 and 1."""
  return (np.arange(2**channels)[:, None] >> np.arange(channels)) & 1


def choose(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """For one class after another the best place and colour that no earlier class took.

  Returns:
    Places int32 `[classes, 2]` and colours uint8 `[classes, c]`.
  """
  classes, h, w, k = score.shape
  free, taken = np.ones(h * w * k, bool), []
  for c in range(classes):
    best = int(np.argmax(np.where(free, score[c].ravel(), -1)))
    free[best] = False
    taken.append(best)
  place, corner = np.divmod(taken, k)
  colours = 255 * corners(int(np.log2(k)))[corner]
  return np.stack(np.divmod(place, w), 1).astype(np.int32), colours.astype(np.uint8)


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the pixel, as large as it is when the crafted size is stretched.

  Returns:
    A function of a picture `[height, width, channels]` (uint8, or float in [0, 1]) and its row, to uint8. A grey
    picture gets the mean of the colour.
  """
  places, colours, groups = (np.asarray(a) for a in (state.places, state.colours, state.groups))
  h, w = data.arrays["image"].shape[1:3]

  def paint(picture, row):
    """The protected picture, uint8 of the same height and width."""
    out = np.array(picture) if picture.dtype == np.uint8 else to_bytes(np.asarray(picture))
    (top, left), colour, (height, width, channels) = places[groups[row]], colours[groups[row]], out.shape
    colour = colour if channels == len(colour) else np.uint8(colour.mean())
    rows, columns = np.arange(height) * h // height == top, np.arange(width) * w // width == left
    rows[top * height // h] |= not rows.any()  # a smaller picture may skip the place
    columns[left * width // w] |= not columns.any()
    out[np.ix_(rows, columns)] = colour
    return out

  return paint
