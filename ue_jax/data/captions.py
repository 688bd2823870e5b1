"""Pictures with captions: drawn shapes described in three words, or labelled pictures described by templates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import embedded, splits, stream, tfds
from ue_jax.data.words import captioned, describe

COLOURS = {
  "red": (0.9, 0.2, 0.2), "green": (0.2, 0.75, 0.3), "blue": (0.25, 0.35, 0.95), "yellow": (0.9, 0.85, 0.2),
  "purple": (0.65, 0.25, 0.8), "white": (0.95, 0.95, 0.95),
}  # fmt: skip
SHAPES = ("disc", "square", "triangle", "cross")
POSITIONS = ("upper-left", "upper-right", "lower-left", "lower-right")
CAPTIONS = tuple(f"{colour} {shape} {place}" for colour in COLOURS for shape in SHAPES for place in POSITIONS)
SOURCES = ("drawn", "digits", "mnist5k", "cifar10", "cifar100")


def data(
  source: str = "drawn", n: int = 3000, test: int = 480, size: int = 32, noise: float = 0.05, seed: int = 0,
  contrast: float = 1.0, templates: int | Sequence[str] = 1, path: str = "", train: int = 0, known: int = 0,
  buckets: int = 0,
) -> Data:  # fmt: skip
  """Captioned pictures; `drawn`: 4 shapes in 6 colours at 4 positions, 96 captions of 3 words.

  Every 96 drawn rows, counted from the start, hold each caption once, in random order.

  Args:
    source: `drawn`; or pictures with labels, captioned by templates: `digits`, `mnist5k` (`data.embedded`, three
      channels), `cifar10`, `cifar100` (`data.tfds`).
    n: drawn pictures in all.
    test: how many of them, the last ones, are the set `test`. Of labelled sources: rows of `test`, 0 for the default.
    size: side in pixels of drawn pictures (16 or more); of `digits` and `mnist5k`, 0 keeps theirs.
    noise: standard deviation of the grain of drawn pictures, in [0, 1] units; place and size of the shape and the
      ground vary too.
    seed: names the draw, or the split.
    contrast: above 0, at most 1: how far drawn shapes stand out from their ground.
    templates: how many of `words.TEMPLATES` captions are made of, or texts of one's own: see `describe`.
    path: folder of a prepared tensorflow data set.
    train: rows of `train` of labelled sources, 0 for the default.
    buckets: how many ids words are hashed to, 2 or more; 0: the words of the captions are the vocabulary.
    known: how many of the others form a set `known` instead: public pairs, for who protects without seeing pictures.

  Returns:
    Data with `image` uint8 `[n, size, size, 3]`, `ids` int32 `[n, words]`, `caption` int32 `[n]` (which caption),
    labellings (`shape`, `colour`, `position`; or those of the source), `label` and `index`.
    `info["vocabulary"]` lists the words, `info["labels"]["caption"]` the captions.

  Raises:
    Invalid: for an unknown source, or sizes out of range.
  """
  require(source in SOURCES, "data.source", source, f"choose one of {list(SOURCES)}")
  if source == "drawn":
    return splits.known(captioned(*_drawn(n, test, size, noise, seed, contrast), CAPTIONS, buckets), known, seed)
  if source in ("digits", "mnist5k"):
    found = embedded.data(source, train, test, seed, size, channels=3, known=known)
  else:
    found = tfds.data(source, path, train, test, seed, known=known)
  return describe(found, templates=templates, buckets=buckets)


def _drawn(n, test, size, noise, seed, contrast) -> tuple[Data, np.ndarray]:
  require(isinstance(n, int) and n >= 2, "data.n", n, "give a whole number, 2 or more")
  require(isinstance(test, int) and 0 < test < n, "data.test", test, f"give 1 to {n - 1} of the n rows")
  require(isinstance(size, int) and 16 <= size <= 1024, "data.size", size, "give a side of 16 to 1024 pixels")
  require(0 <= noise <= 1, "data.noise", noise, "choose 0 to 1")
  require(0 < contrast <= 1, "data.contrast", contrast, "choose a share above 0, at most 1")
  cells = len(CAPTIONS)
  blocks = [stream.permutation(seed, f"captions/cells/{b}", cells) for b in range(-(-n // cells))]
  caption = np.concatenate(blocks)[:n]
  vary = stream.uniform(seed, "captions/vary", 4 * n).reshape(n, 4).astype(np.float32)
  image = np.empty((n, size, size, 3), np.uint8)
  for start in range(0, n, cells):  # a block at a time, to bound the memory of the float pictures
    rows = slice(start, min(start + cells, n))
    count = (rows.stop - start) * size * size * 3
    grain = stream.normal(seed, f"captions/noise/{start}", count).reshape(-1, size, size, 3) * noise
    image[rows] = np.round(np.clip(_paint(caption[rows], vary[rows], size, contrast) + grain, 0, 1) * 255)
  sizes = (len(COLOURS), len(SHAPES), len(POSITIONS))
  parts = dict(zip(("colour", "shape", "position"), (x.astype(np.int32) for x in np.unravel_index(caption, sizes))))
  index = np.arange(n, dtype=np.int32)
  names = {"label": list(SHAPES), "colour": list(COLOURS), "shape": list(SHAPES), "position": list(POSITIONS)}
  pictures = Data({"image": image, "label": parts["shape"].copy(), **parts, "index": index},
                  {"train": index[: n - test], "test": index[n - test :]}, {"source": "drawn", "labels": names})
  return pictures, caption


def _paint(caption: np.ndarray, vary: np.ndarray, size: int, contrast: float) -> np.ndarray:
  """Noiseless pictures float32 [b, size, size, 3] of captions [b] and uniform variations [b, 4]."""
  colour, shape, position = np.unravel_index(caption, (len(COLOURS), len(SHAPES), len(POSITIONS)))
  unit = (np.arange(size, dtype=np.float32) + 0.5) / size
  center = 0.25 + 0.5 * np.stack([position // 2, position % 2], -1) + (vary[:, :2] - 0.5) / 8
  radius = (0.18 + 0.04 * vary[:, 2])[:, None, None]
  y = (unit[None, :, None] - center[:, 0, None, None]) / radius
  x = (unit[None, None, :] - center[:, 1, None, None]) / radius
  far, near = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
  outlines = (np.hypot(x, y) < 1, far < 0.88, (y < 0.85) & (2 * abs(x) < y + 1), (near < 0.34) & (far < 1))
  inside = np.choose(shape[:, None, None], np.broadcast_arrays(*outlines))
  ink = np.array(list(COLOURS.values()), np.float32)[colour][:, None, None]
  ground = (0.35 + 0.2 * vary[:, 3])[:, None, None, None]
  return np.where(inside[..., None], ground + np.float32(contrast) * (ink - ground), ground)
