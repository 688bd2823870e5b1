"""Data on disk as one .npz file of plain arrays, read without pickle."""

from __future__ import annotations

import os
import zipfile
import zlib

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, check_data
from ue_jax.core.pictures import to_bytes
from ue_jax.data import splits


def data(path: str, test: float = 0.2, seed: int = 0) -> Data:
  """Reads `image` or `ids` or `x`, and any further arrays, each with one row a sample.

  `image`: `[n, height, width(, 1 or 3)]`, uint8, or floats in [0, 1], which are rounded to uint8. Other
  integer arrays become int32, floats float32. `index` is added if missing. Arrays called `set_<name>`
  hold the positions of a set; without any, the rows are split into `train` and `test`.

  Args:
    path: of the .npz file.
    test: share of the rows for the set `test` if the file names no sets, above 0 and below 1.
    seed: names that split (balanced over `label`, if there is one).
  Raises:
    Invalid: if the file is missing, broken or holds objects; for NaN, a wrong shape or dtype, pictures out
      of range, unequal lengths, empty sets.
  """
  found = _read(path)
  sets = {name[4:]: _integers(f"{path}: {name}", rows) for name, rows in found.items() if name.startswith("set_")}
  arrays = {name: _convert(f"{path}: {name}", name, x) for name, x in found.items() if not name.startswith("set_")}
  samples = [name for name in ("image", "ids", "x") if name in arrays]
  require(bool(samples), f"{path}", sorted(found), "store an array 'image', 'ids' or 'x'")
  n = len(arrays[samples[0]])
  require(n > 0, f"{path}: {samples[0]}", arrays[samples[0]].shape, "store at least one row")
  arrays.setdefault("index", np.arange(n, dtype=np.int32))
  if "ids" in arrays:
    mask = arrays["mask"] = arrays.get("mask", np.zeros(0)).astype(np.float32)
    require(mask.shape == arrays["ids"].shape, f"{path}: mask", mask.shape, "store 'mask' in the shape of 'ids'")
  lengths = {name: len(x) for name, x in arrays.items()}
  require(len(set(lengths.values())) == 1, path, lengths, "give all arrays the same number of rows")
  labels = {k: [str(c) for c in range(int(x.max()) + 1)] for k, x in arrays.items() if _is_labelling(k, x)}
  out = Data(arrays, sets, {"source": os.path.basename(path), "labels": labels})
  return check_data(out if sets else _split(out, test, seed), path)


def _split(data: Data, test: float, seed: int) -> Data:
  require(isinstance(test, float) and 0 < test < 1, "data.test", test, "choose a share above 0 and below 1")
  n = data.n
  rows = min(max(round(test * n), 1), n - 1)
  require(rows > 0, "data.test", test, "store at least two rows, or name the sets in the file")
  return splits.split(data, {"train": n - rows, "test": rows}, seed, "label" if "label" in data.arrays else "")


def _read(path: str) -> dict[str, np.ndarray]:
  require(os.path.isfile(path), "data.path", path, "give the path of an existing .npz file")
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
    # ValueError: objects, which would need pickle. TypeError: a plain .npy array has no names.
    raise Invalid("data.path", path, f"store plain arrays with numpy.savez; {error}") from error


def _convert(field: str, name: str, x: np.ndarray) -> np.ndarray:
  require(x.dtype.kind in "buif", field, x.dtype.name, "store bool, integer or float numbers")
  require(x.ndim > 0, field, "a scalar", "give it one row a sample")
  require(x.dtype.kind != "f" or bool(np.isfinite(x).all()), field, "NaN or infinity", "remove or repair those samples")
  if name == "image":
    return _pictures(field, x)
  whole = name in ("label", "index", "ids") or x.dtype.kind != "f"
  return _integers(field, x) if whole else x.astype(np.float32)


def _pictures(field: str, x: np.ndarray) -> np.ndarray:
  x = x[..., None] if x.ndim == 3 else x
  fits = x.ndim == 4 and x.shape[-1] in (1, 3) and min(x.shape[1:3]) > 0
  require(fits, field, x.shape, "give pictures [n, height, width, 1 or 3]")
  require(x.dtype == np.uint8 or x.dtype.kind == "f", field, x.dtype.name, "store uint8, or floats in [0, 1]")
  if x.dtype == np.uint8:
    return x
  low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
  require(low >= 0 and high <= 1, field, f"{low:g} to {high:g}", "scale float pictures to [0, 1], or store uint8")
  return to_bytes(x.astype(np.float32))


def _integers(field: str, x: np.ndarray) -> np.ndarray:
  require(x.dtype.kind in "bui", field, x.dtype.name, "store integers")
  limits = np.iinfo(np.int32)
  inside = not x.size or (int(x.min()) >= limits.min and int(x.max()) <= limits.max)
  require(inside, field, "beyond int32", "store numbers below 2**31")
  return x.astype(np.int32)


def _is_labelling(name: str, x: np.ndarray) -> bool:
  """A vector of class numbers: non-negative integers, fewer classes than rows."""
  return name != "index" and x.ndim == 1 and x.dtype == np.int32 and x.min() >= 0 and x.max() < len(x)
