"""Artefacts: what a stage made, on disk, whole or not at all.

An artefact is a folder with a manifest that holds the sha256 and the size of every file in it. It is written under a
temporary name and renamed when complete, so a folder with its final name is complete, and every load verifies it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Clustering, Data, Request, Score, Subject

MANIFEST = "manifest.json"


def plain(value: Any) -> Any:
  """A copy made of dicts, lists, strings and numbers that JSON can hold; NaN and infinities become strings."""
  if isinstance(value, Mapping) or hasattr(value, "items"):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple, set, frozenset)):
    return [plain(item) for item in value]
  if hasattr(value, "__array__"):
    return plain(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  return str(value)


def dumps(value: Any, indent: int | None = None) -> str:
  """Canonical JSON: sorted keys, no spaces unless indented, never a bare NaN."""
  separators = (",", ":") if indent is None else None
  return json.dumps(plain(value), sort_keys=True, indent=indent, separators=separators, allow_nan=False)


def digest(value: Any) -> str:
  """16 hexadecimal digits of the sha256 of the canonical JSON of `value`."""
  return hashlib.sha256(dumps(value).encode()).hexdigest()[:16]


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a text file whole or not at all, and onto the disk before it returns."""
  temporary = path.with_name(f".{path.name}.part")
  with open(temporary, "w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)


def folder(workdir: pathlib.Path, kind: str, hash: str) -> pathlib.Path:
  """Where the artefact of a stage lives."""
  return workdir / "artefacts" / f"{kind}-{hash}"


def save(path: pathlib.Path, noun: Any, about: Mapping[str, Any], state: Any = None) -> None:
  """Writes a noun to the folder `path`, atomically.

  Args:
    path: the final folder; if it exists already it is left alone.
    noun: Data, Request (its data and schedule), Subject (without its model), Clustering or Scores.
    about: goes into the manifest beside the checksums (stage config, seconds).
    state: the last state of the procedure, if it is needed again (`load_state`).
  """
  if path.exists():
    return
  temporary = path.with_name(f".{path.name}.part")
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  noun_name = _write(temporary, noun)
  if state is not None:
    from ue_jax.train import checkpoint

    checkpoint.save(temporary / "last", state)
  files = {str(f.relative_to(temporary)): _check(f) for f in sorted(temporary.rglob("*")) if f.is_file()}
  write_text(temporary / MANIFEST, dumps({"noun": noun_name, "files": files, **about}, indent=1))
  os.replace(temporary, path)


def manifest(path: pathlib.Path) -> dict[str, Any]:
  """The manifest of an artefact, without verifying the files."""
  try:
    found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    return {**found, "files": dict(found["files"]), "noun": str(found["noun"])}
  except (OSError, ValueError, KeyError, TypeError):
    raise _damaged(path, path / MANIFEST, "missing or unreadable") from None


def verify(path: pathlib.Path) -> dict[str, Any]:
  """The manifest, after comparing every file with it.

  Raises:
    Invalid: naming the first file that is missing, truncated, edited or foreign.
  """
  found = manifest(path)
  for name, (size, sha) in found["files"].items():
    file = path / name
    if not file.is_file():
      raise _damaged(path, file, "missing")
    if file.stat().st_size != size:
      raise _damaged(path, file, f"{file.stat().st_size} bytes instead of {size}")
    if _check(file) != [size, sha]:
      raise _damaged(path, file, "changed since it was written")
  extra = {str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()} - {MANIFEST, *found["files"]}
  if extra:
    raise _damaged(path, path / min(extra), "not part of it")
  return found


def load(path: pathlib.Path, model: Any = None) -> Any:
  """The noun stored in `path`, verified; `model` is put into a Subject.

  Raises:
    Invalid: if the artefact is damaged; it is never used then.
  """
  return _read(path, verify(path)["noun"], model)


def load_state(path: pathlib.Path, like: Any) -> Any:
  """The state stored beside a noun, verified; `like` is a state of the same procedure."""
  from ue_jax.train import checkpoint

  return checkpoint.load(path / "last", like)


def read_history(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The curves of a stored Subject, without its parameters; nothing if it has none."""
  size, sha = manifest(path)["files"].get("history.npz", (0, ""))
  if not size:
    return {}
  if _check(path / "history.npz") != [size, sha]:
    raise _damaged(path, path / "history.npz", "changed since it was written")
  return _read_arrays(path / "history.npz")


def _damaged(path: pathlib.Path, file: pathlib.Path, what: str) -> Invalid:
  return Invalid(str(file), what, f"delete the folder {path} and run the same command again")


def _check(file: pathlib.Path) -> list:
  with open(file, "rb") as handle:
    sha = hashlib.file_digest(handle, "sha256").hexdigest()
  return [file.stat().st_size, sha]


def _write(path: pathlib.Path, noun: Any) -> str:
  if isinstance(noun, Request):
    _write_data(path, noun.data)
    write_text(path / "schedule.json", dumps(noun.schedule))
    return "request"
  if isinstance(noun, Data):
    _write_data(path, noun)
    return "data"
  if isinstance(noun, Subject):
    _write_subject(path, noun)
    return "subject"
  if isinstance(noun, Clustering):
    arrays = {name: np.asarray(value) for name, value in noun._asdict().items() if value is not None}
    _write_arrays(path / "clustering.npz", arrays)
    return "clustering"
  lines = [dumps({"name": name, **score._asdict()}) for name, score in noun.items()]
  write_text(path / "scores.jsonl", "".join(line + "\n" for line in lines))
  return "scores"


def _read(path: pathlib.Path, noun: str, model: Any) -> Any:
  if noun == "request":
    schedule = tuple(json.loads((path / "schedule.json").read_text()))
    return Request(None, _read_data(path), schedule=schedule)
  if noun == "data":
    return _read_data(path)
  if noun == "subject":
    return _read_subject(path, model)
  if noun == "clustering":
    return Clustering(**_read_arrays(path / "clustering.npz"))
  rows = [json.loads(line) for line in (path / "scores.jsonl").read_text().splitlines()]
  return {row.pop("name"): _score(row) for row in rows}


def _score(row: dict[str, Any]) -> Score:
  numbers = {name: float(row[name]) for name in ("value", "target", "low", "high")}
  return Score(n=int(row["n"]), better=row["better"], **numbers)


def _write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  with open(path, "wb") as file:
    np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})
    file.flush()
    os.fsync(file.fileno())


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as found:
    return {name: found[name] for name in found.files}


def _write_data(path: pathlib.Path, data: Data) -> None:
  sets = {f"sets/{name}": rows for name, rows in data.sets.items()}
  _write_arrays(path / "data.npz", {**{f"arrays/{name}": a for name, a in data.arrays.items()}, **sets})
  order = {"arrays": list(data.arrays), "sets": list(data.sets)}
  write_text(path / "info.json", dumps({"info": data.info, "order": order}))


def _read_data(path: pathlib.Path) -> Data:
  found = _read_arrays(path / "data.npz")
  about = json.loads((path / "info.json").read_text(encoding="utf-8"))
  arrays = {name: found[f"arrays/{name}"] for name in about["order"]["arrays"]}
  sets = {name: found[f"sets/{name}"] for name in about["order"]["sets"]}
  return Data(arrays, sets, about["info"])


def _write_subject(path: pathlib.Path, subject: Subject) -> None:
  from ue_jax.train import checkpoint

  tree = {"params": subject.params, "state": subject.state}
  checkpoint.save(path / "tree", tree)
  write_text(path / "shapes.json", dumps(_spec(tree)))
  _write_arrays(path / "history.npz", subject.history)


def _read_subject(path: pathlib.Path, model: Any) -> Subject:
  from ue_jax.train import checkpoint

  like = _like(json.loads((path / "shapes.json").read_text()))
  tree = checkpoint.load(path / "tree", like)
  return Subject(model, tree["params"], tree["state"], _read_arrays(path / "history.npz"))


def _spec(tree: Any) -> list:
  """A tree of dicts, lists and tuples as JSON: `[type, content]`, arrays as their shape and dtype."""
  if isinstance(tree, Mapping):
    return ["dict", {name: _spec(leaf) for name, leaf in tree.items()}]
  if isinstance(tree, (list, tuple)):
    return ["tuple" if isinstance(tree, tuple) else "list", [_spec(leaf) for leaf in tree]]
  return ["array", [list(tree.shape), str(tree.dtype)]]


def _like(spec: list) -> Any:
  import jax

  kind, content = spec
  if kind == "dict":
    return {name: _like(leaf) for name, leaf in content.items()}
  if kind in ("list", "tuple"):
    leaves = [_like(leaf) for leaf in content]
    return tuple(leaves) if kind == "tuple" else leaves
  return jax.ShapeDtypeStruct(tuple(content[0]), jax.numpy.dtype(content[1]))
