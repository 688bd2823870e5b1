"""From perturbations to published bytes: what every protection shares.

Additive perturbations become whole grey levels first and are added to bytes, so the budget holds on what is
published, and no float copy of a data set is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_bytes, to_float
from ue_jax.protect import crafted as audits


class Painted(NamedTuple):
  """Pictures `[b, h, w, c]`: uint8 as they are published, and float32 as they were crafted, neither rounded nor cut."""

  image: np.ndarray
  crafted: np.ndarray


# (image uint8 [b, h, w, c], rows int [b]) -> Painted; or floats in [0, 1]; or uint8, where nothing else was crafted
Paint = Callable[[np.ndarray, np.ndarray], Painted | np.ndarray]
QUANTISE = ("round", "floor", "none")
BLOCK = 256  # pictures whose floats are in memory together


def publish(
  data: Data, paint: Paint, *, copies: Mapping[str, Paint] | None = None, quantise: str = "round", chunk: int = 1024
) -> Data:
  """The protected Data: train rows painted, protected copies of the test rows appended.

  Args:
    data: pictures with a set `train`, and usually `test`.
    paint: gives the protected pictures of some rows (positions in `data`); the same size as it was given.
    copies: name of an appended set -> paint of its pictures. Default: `test_protected` painted like train. Nothing is
      appended without a set `test`.
    quantise: `round` or `floor` for paints that give floats, `none` for those that give bytes.
    chunk: pictures painted at a time.

  Returns:
    Data with the rows outside `train` unchanged; the appended rows copy all other arrays, `index` included.
    `info["crafted"]` says how far the rows of `train` were from the clean ones before they became bytes
    (`crafted.summary`); it is not there for a paint that knows bytes only.

  Raises:
    Invalid: for an unknown quantisation, or floats with `none`.
  """
  train, test = set_rows(data, "train"), np.asarray(data.sets.get("test", ()), np.int32)
  image, info = data.arrays["image"].copy(), {k: v for k, v in data.info.items() if k != "crafted"}
  seen = repaint(image, data.arrays["image"], paint, train, train, quantise, chunk, audit=True)
  if seen:
    info["crafted"] = audits.summary(seen, image.shape[1:3])
  if not len(test):
    return Data({**data.arrays, "image": image}, data.sets, info)
  copies = {"test_protected": paint} if copies is None else copies
  parts, sets = [image], dict(data.sets)
  for number, (name, painter) in enumerate(copies.items()):
    part = np.empty((len(test), *image.shape[1:]), np.uint8)
    repaint(part, data.arrays["image"], painter, test, np.arange(len(test)), quantise, chunk)
    sets[name] = np.arange(len(test), dtype=np.int32) + len(image) + number * len(test)
    parts.append(part)
  again = {name: np.concatenate([a, *[a[test]] * len(copies)]) for name, a in data.arrays.items() if name != "image"}
  return Data({**again, "image": np.concatenate(parts)}, sets, info)


def repaint(
  out, image, paint: Paint, rows, into, quantise: str, chunk: int, audit: bool = False
) -> list[audits.Seen]:
  """Writes the painted pictures of `rows` of `image` to the positions `into` of `out`, a block at a time.

  With `audit` it returns what the pictures were as crafted; nothing for a paint that knows bytes only.
  """
  require(quantise in QUANTISE, "protect.quantise", quantise, f"choose one of {list(QUANTISE)}")
  seen: list[audits.Seen] = []
  for start in range(0, len(rows), chunk):
    part = rows[start : start + chunk]
    padded = np.resize(part, min(chunk, len(rows)))  # one shape, so that a jitted paint compiles once
    painted = paint(image[padded], padded)
    painted, crafted = painted if isinstance(painted, Painted) else (painted, painted)
    painted, crafted = np.asarray(painted)[: len(part)], np.asarray(crafted)[: len(part)]
    if audit and crafted.dtype != np.uint8:
      seen.append(audits.look(image[part], crafted, max(audits.MOST - start, 0)))
    if painted.dtype != np.uint8:
      require(quantise != "none", "protect.quantise", quantise, "use 'round' or 'floor': this protection gives floats")
      painted = to_bytes(painted, quantise)
    out[into[start : start + chunk]] = painted
  return seen


def rewrite(data: Data, fn: Callable, *, test: bool, quantise: str = "round", chunk: int = 1024) -> Data:
  """Data with `fn` applied to the pictures of `train`, or of all rows if `test` is True.

  `fn` is jitted: float32 `[b, h, w, c]` in [0, 1] -> the same.
  """
  rows = np.arange(data.n) if test else set_rows(data, "train")
  image = data.arrays["image"].copy()
  compiled = jax.jit(lambda x: fn(x.astype(jnp.float32) / jnp.float32(255)))
  repaint(image, data.arrays["image"], lambda x, _: compiled(x), rows, rows, quantise, chunk)
  return Data({**data.arrays, "image": image}, data.sets, data.info)


def levels(delta, eps, norm: str = "linf", quantise: str = "round") -> np.ndarray:
  """The perturbation in whole grey levels, int16, of the shape of `delta` (units of [0, 1]).

  With `linf` no level is larger than floor(255 eps), whatever the rounding.
  """
  require(quantise in ("round", "floor"), "protect.quantise", quantise, "choose 'round' or 'floor'")
  delta = np.asarray(delta)
  most = int(most_levels(eps)) if norm == "linf" else np.inf
  out = np.empty(delta.shape, np.int16)
  rows = (out.reshape(-1, *delta.shape[-3:]), delta.reshape(-1, *delta.shape[-3:]))
  for start in range(0, len(rows[1]), BLOCK):  # float64 of all pictures of a folder would be most of its memory
    scaled = rows[1][start : start + BLOCK].astype(np.float64) * 255
    whole = np.round(scaled) if quantise == "round" else np.floor(scaled)
    rows[0][start : start + BLOCK] = np.clip(whole, -most, most)
  return out


def most_levels(eps) -> jax.Array:
  """floor(255 eps), forgiving the rounding of eps itself; eps may be traced. int32 scalar."""
  return jnp.floor(jnp.asarray(eps, jnp.float32) * 255 + 1e-4).astype(jnp.int32)


def add(image: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """uint8 pictures plus whole grey levels, cut at 0 and 255."""
  return np.clip(image.astype(np.int16) + whole, 0, 255).astype(np.uint8)


def noised(image: np.ndarray, delta: np.ndarray, whole: np.ndarray) -> Painted:
  """uint8 pictures plus perturbations: as published with whole grey levels, as crafted with `delta` in [0, 1]."""
  return Painted(add(image, whole), to_float(image) + np.asarray(delta, np.float32))


def add_patterns(data: Data, delta: np.ndarray, whole: np.ndarray, places: np.ndarray) -> Data:
  """The protected Data with the pattern `whole[places[row]]` added to every row that is published.

  Args:
    delta: the patterns as they were crafted, float32 `[m, h, w, c]` in units of [0, 1]: they are measured only.
    whole: the patterns in grey levels, int16 `[m, h, w, c]`.
    places: int `[n]`, of every row of `data`; m stands for no pattern.
  """

  def of(patterns, at):
    picked = patterns[np.minimum(at, len(patterns) - 1)]
    picked[at >= len(patterns)] = 0
    return picked

  both = np.asarray(delta), whole
  paint = lambda image, rows: noised(image, *(of(x, places[rows]) for x in both))
  return publish(data, paint, quantise="none", chunk=BLOCK)


def stretch(delta, height: int, width: int):
  """Nearest-neighbour interpolation of `[..., h, w, c]` to `[..., height, width, c]`; numpy or JAX."""
  h, w = delta.shape[-3:-1]
  rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
  return delta[..., rows[:, None], columns, :]


def paint_levels(picture: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """One picture of any size plus a perturbation in grey levels `[h, w, c]`, stretched to it."""
  good = picture.ndim == 3 and picture.shape[-1] in (1, whole.shape[-1])
  if not good:
    raise Invalid("picture", picture.shape, f"give [height, width, {whole.shape[-1]}]")
  picture = picture if picture.dtype == np.uint8 else to_bytes(np.asarray(picture))
  return add(picture, stretch(whole, *picture.shape[:2])[..., : picture.shape[-1]])


def pattern_painter(whole: np.ndarray, places: np.ndarray) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the pattern `whole[places[row]]`, stretched to the picture.

  Args:
    whole: grey levels int16 `[m, h, w, c]`.
    places: int `[n]`, of every row of the Data; m stands for no pattern.

  Returns:
    A function of a picture `[height, width, channels]` (uint8, or float in [0, 1]) and its row, to uint8. It refuses a
    row without a pattern: what is painted must be protected.
  """

  def paint(picture, row):
    """The protected picture, uint8 of the same height and width."""
    good = places[row] < len(whole)
    require(good, "data.test", f"row {row}", "leave no picture out (data.test=0.0): noise was made for `train` only")
    return paint_levels(picture, whole[places[row]])

  return paint


def check_budget(eps, norm: str, field: str = "protect") -> None:
  """Raises `Invalid` for an unknown norm, or an eps that is no budget for it (traced values pass)."""
  require(norm in ("linf", "l2"), f"{field}.norm", norm, "choose 'linf' or 'l2'")
  if isinstance(eps, (int, float)):
    good = 0 <= eps <= 1 if norm == "linf" else 0 <= eps < float("inf")
    require(good, f"{field}.eps", eps, "give a number in [0, 1], such as 16/255" if norm == "linf" else "use >= 0")


def set_rows(data: Data, name: str) -> np.ndarray:
  """The positions of a set of pictures, or `Invalid`."""
  require("image" in data.arrays, "data.arrays", sorted(data.arrays), "give Data with an array 'image'")
  if name not in data.sets:
    raise Invalid("data.sets", sorted(data.sets), f"name a set '{name}'")
  return np.asarray(data.sets[name], np.int32)


def labels_of(data: Data, label: str, field: str = "protect.label") -> tuple[np.ndarray, int]:
  """The labelling int32 `[n]` and its number of classes, or `Invalid`."""
  if label not in data.arrays:
    raise Invalid(field, label, f"choose one of {sorted(set(data.arrays) - {'image', 'index'})}")
  labels = np.asarray(data.arrays[label])
  whole = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
  require(whole and labels.min() >= 0, field, f"{labels.dtype} {labels.shape}", "give whole labels from 0 on, [n]")
  named = data.info.get("labels", {}).get(label, ())
  classes = max(len(named), int(labels.max()) + 1)
  return labels.astype(np.int32), classes
