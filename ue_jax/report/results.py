"""Recorded results: small JSON files that say what was measured, with what, on what, and when."""

from __future__ import annotations

import datetime
import json
import math
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from types import MappingProxyType
from typing import Any, NamedTuple

from ue_jax.core.errors import Invalid, require

NUMBERS = re.compile(r"(?<=\[)[-+.\deE,\s]+(?=\])")  # of a list of nothing else, on one line each
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Result(NamedTuple):
  """A recorded run.

  Attributes:
    name: of the file, and of the result.
    paper: the word of the paper that it reproduces.
    command: the whole command line that makes it again.
    figures: name -> number, or `[mean, spread]` over the seeds.
    config: the config as plain values.
    commit: of the code.
    versions: package -> version.
    hardware: in words (`1 NVIDIA H100 80GB`, `2 CPU cores`).
    seeds: that were run.
    wall_s: seconds that it took, all seeds together.
    date: `YYYY-MM-DD`.
    note: what a reader must know to judge it.
    each: name -> the number of every seed, in the order of the seeds, for figures that are a mean over several.
  """

  name: str
  paper: str
  command: str
  figures: Mapping[str, Any]
  config: Mapping[str, Any]
  commit: str
  versions: Mapping[str, str]
  hardware: str
  seeds: tuple[int, ...]
  wall_s: float
  date: str
  note: str = ""
  each: Mapping[str, Sequence[float]] = MappingProxyType({})


def write(folder: str | os.PathLike, result: Result) -> pathlib.Path:
  """Writes `<folder>/<name>.json` under a temporary name, then renames it.

  Raises:
    Invalid: if the result is incomplete; see `check`.
  """
  check(result)
  path = pathlib.Path(folder) / f"{result.name}.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f".{path.name}.{os.getpid()}.part")
  fields = {name: value for name, value in result._asdict().items() if name != "each" or value}
  text = json.dumps(fields, indent=2, allow_nan=False)
  part.write_text(NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")
  os.replace(part, path)
  return path


def read(path: str | os.PathLike) -> Result:
  """Reads one recorded result.

  Raises:
    Invalid: if the file is not JSON, or lacks a field, or has an unknown one, or a value that says nothing.
  """
  try:
    fields = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise Invalid(str(path), str(error), "give a recorded result in JSON") from error
  require(isinstance(fields, dict), str(path), type(fields).__name__, "give a JSON object")
  missing = set(Result._fields) - set(fields) - set(Result._field_defaults)
  require(not missing, str(path), sorted(missing), "add the missing fields")
  unknown = set(fields) - set(Result._fields)
  require(not unknown, str(path), sorted(unknown), f"remove what is not one of {list(Result._fields)}")
  return check(Result(**{**fields, "seeds": tuple(fields["seeds"])}), str(path))


def read_all(folder: str | os.PathLike) -> list[Result]:
  """All results of a folder (`*.json`, sorted by name); empty if there is no such folder."""
  return [read(path) for path in sorted(pathlib.Path(folder).glob("*.json"))]


def check(result: Result, field: str = "result") -> Result:
  """Returns the result if a reader could judge it and run it again, else raises `Invalid` naming what is wanting."""
  for name in ("name", "paper", "command", "commit", "hardware", "date"):
    value = getattr(result, name)
    require(isinstance(value, str) and bool(value.strip()), f"{field}.{name}", value, "say it in words")
  require(bool(result.figures), f"{field}.figures", result.figures, "record at least one number")
  for name, value in result.figures.items():
    numbers = value if isinstance(value, (list, tuple)) else [value]
    good = all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers) and len(numbers) in (1, 2)
    require(good, f"{field}.figures[{name}]", value, "give a finite number, or [mean, spread]")
  for name, values in result.each.items():
    good = name in result.figures and isinstance(values, (list, tuple)) and len(values) > 0
    good = good and all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
    require(good, f"{field}.each[{name}]", values, "give the finite numbers of all seeds of one of the figures")
  require(bool(result.config), f"{field}.config", result.config, "record the config")
  require(bool(result.versions), f"{field}.versions", result.versions, "record the versions")
  require(len(result.seeds) > 0, f"{field}.seeds", result.seeds, "name the seeds")
  require(result.wall_s > 0, f"{field}.wall_s", result.wall_s, "give the seconds that it took")
  try:
    datetime.date.fromisoformat(result.date)
  except ValueError as error:
    raise Invalid(f"{field}.date", result.date, "write YYYY-MM-DD") from error
  return result


def versions() -> dict[str, str]:
  """The versions of Python and of the packages that results depend on, those installed."""
  found = {"python": platform.python_version()}
  for name in PACKAGES:
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      continue
  return found


def commit(folder: str | os.PathLike = ".") -> str:
  """The commit checked out in `folder`, with `+` behind it if files differ from it; `unknown` outside of git."""
  try:
    head = _git(folder, "rev-parse", "HEAD")
    return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
  except (OSError, subprocess.SubprocessError):
    return "unknown"


def hardware() -> str:
  """The accelerators, or the CPU cores that this process may use and their make, in words.

  The make is said because another one rounds otherwise, and figures move with it.
  """
  import jax

  devices = jax.local_devices()
  if devices[0].platform == "cpu":
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores ({', '.join(filter(None, (platform.machine(), _make())))})"
  return f"{len(devices)} x {devices[0].device_kind}"


def _make() -> str:
  """What Linux calls the processor, empty elsewhere."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError):
    return ""
  return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def today() -> str:
  """The date in UTC, `YYYY-MM-DD`."""
  return datetime.datetime.now(datetime.UTC).date().isoformat()


def _git(folder: str | os.PathLike, *args: str) -> str:
  done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, timeout=20, check=True)
  return done.stdout.strip()
