"""Curves as JSON lines, TensorBoard if it is installed, and what a run ran on."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ue_jax.core.errors import Invalid

Log = Callable[[int, Mapping[str, float]], None]


def json_lines(path: str | os.PathLike) -> Log:
  """A `log(step, metrics)` for `loop.fit` that appends a line `{"step", "time", name: value}` and flushes it.

  NaN and infinity are written as null. A step that is not after the last line's, as after resuming from a
  checkpoint, first removes the lines from it on, so no step stands twice; so does a last line cut in half.

  Raises:
    Invalid: if the file cannot be written.
  """
  path = Path(path)
  last = _last_step(path)

  def log(step, metrics):
    nonlocal last
    if last is not None and step <= last:
      _truncate(path, step)
    row = {"step": int(step), "time": round(time.time(), 3), **{name: _number(x) for name, x in metrics.items()}}
    try:
      with open(path, "a") as stream:
        stream.write(json.dumps(row) + "\n")
    except OSError as error:
      raise Invalid(str(path), str(error), "free space or choose a writable directory") from error
    last = int(step)

  return log


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The rows of a JSON lines file; a last line cut in half is left out. An absent file has no rows."""
  path, rows = Path(path), []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      rows.append(json.loads(line))
    except ValueError:
      break
  return rows


def tensorboard(directory: str | os.PathLike) -> Log:
  """A `log(step, metrics)` that writes TensorBoard scalars.

  Raises:
    Invalid: if tensorboardX is not installed.
  """
  try:
    from tensorboardX import SummaryWriter
  except ImportError as error:
    raise Invalid("log.tensorboard", str(error), "pip install tensorboardX") from error
  writer = SummaryWriter(str(directory))

  def log(step, metrics):
    for name, value in metrics.items():
      writer.add_scalar(name, value, int(step))
    writer.flush()

  return log


def both(*logs: Log | None) -> Log:
  """A log that passes everything to several; None is left out."""

  def log(step, metrics):
    for one in logs:
      if one is not None:
        one(step, metrics)

  return log


def environment() -> dict[str, Any]:
  """What a result depends on beside the config, as plain JSON values: versions, devices, flags, commit."""
  names = ("ue_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
  devices = jax.devices()
  return {
    "python": sys.version.split()[0],
    "platform": platform.platform(),
    "cores": os.cpu_count(),
    "versions": {name: _version(name) for name in names},
    "backend": jax.default_backend(),
    "devices": [str(d.device_kind) for d in devices],
    "flags": {name: os.environ[name] for name in ("XLA_FLAGS", "JAX_PLATFORMS") if name in os.environ},
    "promotion": str(jax.config.jax_numpy_dtype_promotion),
    "commit": commit(),
  }


def commit(directory: str | os.PathLike = ".") -> str:
  """The git commit of `directory`, with `+` if files differ from it; empty outside git."""
  run = lambda *args: subprocess.run(["git", "-C", str(directory), *args], capture_output=True, text=True, timeout=10)
  try:
    head, changed = run("rev-parse", "HEAD"), run("status", "--porcelain", "--untracked-files=no")
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else ""


def _version(name: str) -> str:
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return ""


def _number(x: Any) -> float | None:
  return float(x) if math.isfinite(float(x)) else None


def _last_step(path: Path) -> int | None:
  """The step of the last whole line; a broken line behind it is removed."""
  rows = read(path)
  if path.exists() and len(rows) != len(path.read_text().splitlines()):
    _write(path, rows)
  return rows[-1]["step"] if rows else None


def _truncate(path: Path, step: int) -> None:
  _write(path, [row for row in read(path) if row["step"] < step])


def _write(path: Path, rows: list[dict]) -> None:
  """Replaces the file in one go, so that no moment has half of it."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
  os.replace(temporary, path)
