"""Weights in and out: safetensors and npz files without pickle, and the layouts of PyTorch checkpoints.

safetensors files are read and written here in a few lines: the library's numpy face knows no bfloat16, and the layer
below it changes between releases. The tests hold both to the same bytes.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.tree import named_leaves

DTYPES = {
  "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16, "BOOL": np.bool_,
  "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
  "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
DAMAGE = (
  OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError,
  struct.error, zipfile.BadZipFile, zlib.error,
)  # what the parsers raise on bytes that are not what they should be


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """All arrays of a `.safetensors` or `.npz` file: name -> array.

  Raises:
    Invalid: naming the file, if it is missing, has another ending, is truncated or corrupt, or needs pickle.
  """
  path = Path(path)
  reader = _codec(path)[0]
  require(path.is_file(), str(path), "no such file", "give the path of a .safetensors or .npz file")
  try:
    return reader(path)
  except DAMAGE as error:
    fix = "the file is damaged or holds more than plain arrays; fetch or write it again"
    raise Invalid(str(path), f"{type(error).__name__}: {error}", fix) from error


def write(path: str | os.PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str] = {}) -> None:
  """Writes `arrays` as `.safetensors` or `.npz`, under a temporary name and then renamed: never half a file.

  Args:
    path: of the file.
    arrays: name -> array.
    metadata: texts for the header of a `.safetensors` file, such as `{"format": "pt"}` for PyTorch's layouts.

  Raises:
    Invalid: for another ending, a dtype that the format does not have, or metadata for `.npz`.
  """
  path = Path(path)
  require(not metadata or path.suffix != ".npz", str(path), dict(metadata), "give a .safetensors file for metadata")
  writer = _codec(path)[1]
  arrays = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
  for name, array in arrays.items():
    known = array.dtype in NAMES and (path.suffix != ".npz" or array.dtype != jnp.bfloat16)
    require(known, f"{path}[{name}]", str(array.dtype), "cast it to a dtype that the format has, such as float32")
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "wb") as file:
      writer(file, arrays, metadata)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def _codec(path: Path) -> tuple[Callable, Callable]:
  codecs = {".npz": (_read_npz, _write_npz), ".safetensors": (_read_safetensors, _write_safetensors)}
  require(path.suffix in codecs, str(path), path.suffix, f"give a file that ends in one of {sorted(codecs)}")
  return codecs[path.suffix]


def _read_npz(path: Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def _write_npz(file, arrays: dict[str, np.ndarray], metadata: Mapping[str, str]) -> None:
  del metadata
  np.savez(file, **arrays)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
  """Eight bytes of header length, a JSON header, then the raw arrays (little-endian, C order)."""
  with open(path, "rb") as file:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > HEADER_LIMIT:
      raise ValueError(f"a header of {length} bytes")
    header = json.loads(file.read(length))
    body = memoryview(file.read())  # the arrays are views of it: nothing is held twice
  header.pop("__metadata__", None)
  return {name: _view(body, **entry) for name, entry in header.items()}


def _view(body: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
  start, end = data_offsets
  kind = np.dtype(DTYPES[dtype])
  if not 0 <= start <= end <= len(body) or end - start != kind.itemsize * math.prod(shape):
    raise ValueError(f"offsets {data_offsets} do not fit {dtype} {shape} in {len(body)} bytes")
  return np.frombuffer(body[start:end], kind).reshape(shape)


def _write_safetensors(file, arrays: dict[str, np.ndarray], metadata: Mapping[str, str]) -> None:
  header, start = {"__metadata__": dict(metadata)} if metadata else {}, 0
  for name, array in arrays.items():
    header[name] = dict(dtype=NAMES[array.dtype], shape=list(array.shape), data_offsets=[start, start + array.nbytes])
    start += array.nbytes
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  file.write(struct.pack("<Q", len(text)) + text)
  for array in arrays.values():
    file.write(array.tobytes())


def conv(weight: np.ndarray) -> np.ndarray:
  """PyTorch's convolution weight [out, in, h, w] -> [h, w, in, out]; depthwise ones too."""
  return np.transpose(weight, (2, 3, 1, 0))


def linear(weight: np.ndarray) -> np.ndarray:
  """PyTorch's linear weight [out, in] -> [in, out]."""
  return np.transpose(weight)


def norm(arrays: Mapping[str, np.ndarray], name: str) -> tuple[dict, dict]:
  """PyTorch's batch normalisation `name` -> ({scale, bias}, {mean, var})."""
  return (
    {"scale": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]},
    {"mean": arrays[f"{name}.running_mean"], "var": arrays[f"{name}.running_var"]},
  )


def check(tree: Any, like: Any, path: str | os.PathLike) -> None:
  """Raises `Invalid`, naming the file and the first leaf, unless `tree` has the names and shapes of `like`."""
  given = {name: np.shape(leaf) for name, leaf in named_leaves(tree)}
  wanted = {name: np.shape(leaf) for name, leaf in named_leaves(like)}
  for name in sorted(given.keys() | wanted.keys()):
    if given.get(name) != wanted.get(name):
      found = f"{name}: {given.get(name, 'missing')}"
      fix = f"the model needs {wanted.get(name, 'nothing')} there; give the weights of that model"
      raise Invalid(str(path), found, fix)
