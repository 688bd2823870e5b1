"""Pictures with four independent labellings: shape, texture, colour, position. For label-agnostic questions."""

from __future__ import annotations

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import splits, stream

FACTORS = {
  "shape": ["disc", "square", "triangle", "cross"],
  "texture": ["plain", "rows", "columns", "checker"],
  "colour": ["red", "green", "blue", "yellow"],
  "position": ["top left", "top right", "bottom left", "bottom right"],
}
_RGB = np.array([[0.9, 0.25, 0.2], [0.2, 0.8, 0.3], [0.25, 0.35, 0.95], [0.9, 0.8, 0.2]], np.float32)
_CELLS = 4 ** len(FACTORS)


def data(
  n: int = 1280, test: int = 256, size: int = 32, noise: float = 0.05, seed: int = 0, contrast: float = 1.0,
  known: int = 0,
) -> Data:
  """Each picture shows one textured, coloured shape in one quarter of a grey ground.

  Every 256 rows, counted from the start, hold each of the 4^4 combinations once, in random order: over
  whole blocks all factors are exactly balanced and exactly independent of each other.

  Args:
    n: pictures in all.
    test: how many of them, the last ones, form the set `test`; the others are `train`.
    size: side in pixels, 16 or more.
    noise: standard deviation of grey-level noise, in [0, 1] units; place (by 1/16 of the side) and size
      of the shape and the ground vary too.
    seed: names the draw.
    contrast: above 0, at most 1: how far the shape stands out from its ground.
    known: how many of the others form a set `known` instead: what somebody has of clean pictures.
  Returns:
    Data with `image` uint8 `[n, size, size, 3]`, int32 `[n]` labellings `shape`, `texture`, `colour`,
    `position`, the first of them also as `label`, and `index`.
  Raises:
    Invalid: for sizes out of range.
  """
  require(isinstance(n, int) and n >= 2, "data.n", n, "give a whole number, 2 or more")
  require(isinstance(test, int) and 0 < test < n, "data.test", test, f"give 1 to {n - 1} of the n rows")
  require(isinstance(size, int) and 16 <= size <= 1024, "data.size", size, "give a side of 16 to 1024 pixels")
  require(0 <= noise <= 1, "data.noise", noise, "choose 0 to 1")
  require(0 < contrast <= 1, "data.contrast", contrast, "choose a share above 0, at most 1")
  blocks = [stream.permutation(seed, f"synthetic/cells/{b}", _CELLS) for b in range(-(-n // _CELLS))]
  levels = np.stack(np.unravel_index(np.concatenate(blocks)[:n], (4,) * len(FACTORS)), axis=-1)
  vary = stream.uniform(seed, "synthetic/vary", 4 * n).reshape(n, 4).astype(np.float32)
  image = np.empty((n, size, size, 3), np.uint8)
  for start in range(0, n, _CELLS):  # a block at a time, to bound the memory of the float pictures
    rows = slice(start, min(start + _CELLS, n))
    count = (rows.stop - start) * size * size * 3
    grain = stream.normal(seed, f"synthetic/noise/{start}", count).reshape(-1, size, size, 3) * noise
    image[rows] = np.round(np.clip(_paint(levels[rows], vary[rows], size, contrast) + grain, 0, 1) * 255)
  arrays = {name: levels[:, i].astype(np.int32) for i, name in enumerate(FACTORS)}
  index = np.arange(n, dtype=np.int32)
  arrays = {"image": image, "label": arrays["shape"].copy(), **arrays, "index": index}
  names = {"label": FACTORS["shape"], **FACTORS}
  sets = {"train": index[: n - test], "test": index[n - test :]}
  return splits.known(Data(arrays, sets, {"source": "synthetic", "labels": names}), known, seed)


def _paint(levels: np.ndarray, vary: np.ndarray, size: int, contrast: float) -> np.ndarray:
  """Noiseless pictures float32 [b, size, size, 3] of int levels [b, 4] and uniform variations [b, 4]."""
  shape, texture, colour, position = levels.T
  unit = (np.arange(size, dtype=np.float32) + 0.5) / size
  center = 0.25 + 0.5 * np.stack([position // 2, position % 2], -1) + (vary[:, :2] - 0.5) / 8
  radius = (0.16 + 0.04 * vary[:, 2])[:, None, None]
  y = (unit[None, :, None] - center[:, 0, None, None]) / radius
  x = (unit[None, None, :] - center[:, 1, None, None]) / radius
  outlines = (
    x**2 + y**2 < 1,
    np.maximum(abs(x), abs(y)) < 0.88,
    (y < 0.85) & (2 * abs(x) < y + 1),
    np.minimum(abs(x), abs(y)) < (np.maximum(abs(x), abs(y)) < 1) * 0.34,
  )
  inside = np.choose(shape[:, None, None], outlines)
  band = np.arange(size) // max(size // 16, 1) % 2
  rows, columns = np.broadcast_to(band[:, None], (size, size)), np.broadcast_to(band[None, :], (size, size))
  bright = 1 - 0.6 * np.stack([0 * rows, rows, columns, rows ^ columns])[texture].astype(np.float32)
  ground = (0.4 + 0.2 * vary[:, 3])[:, None, None, None]
  drawn = np.where(inside[..., None], bright[..., None] * _RGB[colour][:, None, None], ground)
  return drawn if contrast == 1 else ground + np.float32(contrast) * (drawn - ground)
