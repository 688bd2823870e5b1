"""Trees on disk; the only file that knows orbax.

A checkpoint is a folder: `arrays/` (orbax, a flat dictionary of arrays), `extra.npz` (arrays of unknown length, such
as curves) and `manifest.json`: names, shapes and dtypes of the tree, and the sha256 of every file. It is written
under a temporary name and renamed, so that it is whole or absent; what was changed afterwards is refused by name.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import tree as trees
from ue_jax.core.errors import Invalid, require

MANIFEST, ARRAYS, EXTRA = "manifest.json", "arrays", "extra.npz"
_FIX = "delete this folder and run again"


def save(path: str | os.PathLike, tree: Any, extra: Mapping[str, np.ndarray] | None = None) -> None:
  """Writes `tree` (arrays, typed random keys) to the folder `path`, replacing what is there.

  Args:
    extra: further numpy arrays, name -> array of any shape, read back by `load_extra`.

  Raises:
    Invalid: if it cannot be written (disk full, no permission); what was at `path` is still there.
  """
  path = Path(path).absolute()
  temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
  try:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _write(temporary, tree, extra or {})
    _replace(temporary, path)
  except (OSError, ValueError, RuntimeError) as error:
    shutil.rmtree(temporary, ignore_errors=True)
    raise Invalid(str(path), f"{type(error).__name__}: {error}", "free space or choose a writable directory") from error


def load(path: str | os.PathLike, like: Any) -> Any:
  """Reads a tree with the structure of `like`; leaves are JAX arrays, or numpy arrays where `like` has them.

  Args:
    like: a tree of arrays, or of `jax.ShapeDtypeStruct`.

  Raises:
    Invalid: if a file is missing, truncated or edited, or the names, shapes or dtypes differ; it names the first.
  """
  path = _whole(path)
  manifest = verify(path)
  wanted = _describe(like)
  _compare(path, manifest["leaves"], wanted)
  found = _read_arrays(path / ARRAYS, manifest["leaves"])
  leaves = [_revive(x, row, old) for x, row, old in zip(found, manifest["leaves"], jax.tree.leaves(like))]
  return jax.tree.structure(like).unflatten(leaves)


def load_extra(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The `extra` arrays of a checkpoint.

  Raises:
    Invalid: if a file is missing, truncated or edited.
  """
  path = _whole(path)
  verify(path)
  with np.load(path / EXTRA, allow_pickle=False) as stored:
    return {name: stored[name] for name in stored.files}


def verify(path: str | os.PathLike) -> dict:
  """Compares every file with the manifest and returns the manifest.

  Raises:
    Invalid: naming the file that is missing, or is not what was written.
  """
  path = Path(path)
  file = path / MANIFEST
  try:
    manifest = json.loads(file.read_text())
    files, leaves = manifest["files"], manifest["leaves"]
    seal = manifest["seal"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise Invalid(str(file), f"{type(error).__name__}: {error}", _FIX) from error
  require(seal == _seal(files, leaves), str(file), "edited manifest", _FIX)
  for name, digest in files.items():
    target = path / name
    require(target.is_file(), str(target), "missing", _FIX)
    require(_sha256(target) == digest, str(target), "truncated or edited", _FIX)
  return manifest


class Keeper(NamedTuple):
  """The newest checkpoints of a run, one folder a step.

  Attributes:
    directory: where they are; made when first needed.
    keep: how many to keep.
  """

  directory: str | os.PathLike
  keep: int = 2

  def save(self, step: int, tree: Any, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes a checkpoint for `step`, then deletes all but the newest `keep`."""
    save(self.path(step), tree, extra)
    for old in self.steps()[: -self.keep]:
      shutil.rmtree(self.path(old), ignore_errors=True)

  def latest(self, like: Any) -> tuple[int, Any] | None:
    """`(step, tree)` of the newest complete checkpoint, or None. Folders without manifest are skipped.

    Raises:
      Invalid: as `load`: a complete checkpoint that was changed is an error, not a reason to go back in silence.
    """
    steps = self.steps()
    return (steps[-1], load(self.path(steps[-1]), like)) if steps else None

  def extra(self, step: int) -> dict[str, np.ndarray]:
    """The `extra` arrays that were saved for `step`."""
    return load_extra(self.path(step))

  def steps(self) -> list[int]:
    """The steps that have a complete checkpoint, in order."""
    found = [re.fullmatch(r"step_(\d+)", p.parent.name) for p in Path(self.directory).glob(f"step_*/{MANIFEST}")]
    return sorted(int(m[1]) for m in found if m)

  def path(self, step: int) -> Path:
    """The folder of `step`."""
    return Path(self.directory) / f"step_{step:08d}"


def _is_key(x: Any) -> bool:
  return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _describe(tree: Any) -> list[dict]:
  """A row for every leaf: name, shape, dtype (of random keys: `key<...>`)."""
  rows = [(name, x if hasattr(x, "dtype") else np.asarray(x)) for name, x in trees.named_leaves(tree)]
  return [{"name": name, "shape": list(np.shape(x)), "dtype": str(x.dtype)} for name, x in rows]


def _write(folder: Path, tree: Any, extra: Mapping[str, np.ndarray]) -> None:
  leaves = [x if hasattr(x, "dtype") else np.asarray(x) for x in jax.tree.leaves(tree)]
  rows = _describe(tree)
  for row, x in zip(rows, leaves):
    if _is_key(x):
      row["impl"] = str(jax.random.key_impl(x))
  host = [np.asarray(jax.random.key_data(x) if _is_key(x) else x) for x in leaves]
  flat = {f"{i:06d}": x for i, x in enumerate(host) if x.size}  # orbax refuses empty arrays
  if flat:
    _orbax().PyTreeCheckpointer().save(folder / ARRAYS, flat)
    _give_back()
  np.savez(folder / EXTRA, **{name: np.asarray(x) for name, x in extra.items()})
  files = {p.relative_to(folder).as_posix(): _sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
  text = json.dumps({"leaves": rows, "files": files, "seal": _seal(files, rows)}, indent=1)
  (folder / MANIFEST).write_text(text)


def _give_back() -> None:
  """Gives freed memory back to the system: glibc keeps the copies that the threads of a save made."""
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
  if trim:
    trim(0)


def _read_arrays(folder: Path, rows: list[dict]) -> list[np.ndarray | None]:
  """The stored arrays in the manifest's order; None for empty ones."""
  full = [f"{i:06d}" for i, row in enumerate(rows) if 0 not in row["shape"]]
  found = {}
  if full:
    ocp = _orbax()
    args = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in full}
    found = ocp.PyTreeCheckpointer().restore(folder.absolute(), restore_args=args)
  return [found.get(f"{i:06d}") for i in range(len(rows))]


def _revive(x: np.ndarray | None, row: dict, like: Any) -> Any:
  if "impl" in row:
    data = np.zeros((*row["shape"], 0), np.uint32) if x is None else x
    return jax.random.wrap_key_data(jnp.asarray(data), impl=row["impl"])
  x = np.zeros(row["shape"], like.dtype) if x is None else np.asarray(x)
  if str(x.dtype) != row["dtype"] or list(x.shape) != row["shape"]:
    raise Invalid(row["name"], f"{x.dtype}{list(x.shape)}", f"it was saved as {row['dtype']}{row['shape']}; {_FIX}")
  return x if isinstance(like, (np.ndarray, np.generic, int, float)) else jax.device_put(x.copy())


def _compare(path: Path, found: list[dict], wanted: list[dict]) -> None:
  fix = "it was saved by another configuration: choose another directory"
  have, want = [row["name"] for row in found], [row["name"] for row in wanted]
  for name in want:
    require(name in have, f"{path}[{name}]", "missing", fix)
  for name in have:
    require(name in want, f"{path}[{name}]", "not expected", fix)
  require(have == want, str(path), "order of leaves", fix)
  for a, b in zip(found, wanted):
    for what in ("shape", "dtype"):
      if a[what] != b[what]:
        raise Invalid(f"{path}[{a['name']}].{what}", a[what], f"expected {b[what]}; {fix}")


def _replace(new: Path, path: Path) -> None:
  """Renames `new` to `path`; `_whole` finds the old one if we die between the two renames."""
  aside = path.with_name(f".{path.name}.old")
  if path.exists():
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
  new.rename(path)
  shutil.rmtree(aside, ignore_errors=True)


def _whole(path: str | os.PathLike) -> Path:
  path = Path(path).absolute()
  aside = path.with_name(f".{path.name}.old")
  if not path.exists() and aside.exists():
    aside.rename(path)
  require(path.is_dir(), str(path), "missing", "give the folder of a checkpoint")
  return path


def _seal(files: dict, leaves: list) -> str:
  return hashlib.sha256(json.dumps([files, leaves], sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
  with open(file, "rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _orbax() -> Any:
  """orbax takes half a second to import and logs every save: only when needed, and quietly."""
  import orbax.checkpoint as ocp

  logging.getLogger("absl").setLevel(logging.WARNING)
  return ocp
