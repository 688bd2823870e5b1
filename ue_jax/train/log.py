"""Curves as JSON lines, and for TensorBoard if it is installed; `both` writes to several at once."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    """Appends one line, after removing those it replaces."""
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
    """Writes each metric as a scalar of its name."""
    for name, value in metrics.items():
      writer.add_scalar(name, value, int(step))
    writer.flush()

  return log


def both(*logs: Log | None) -> Log:
  """A log that passes everything to several; None is left out."""

  def log(step, metrics):
    """Calls them in turn."""
    for one in logs:
      if one is not None:
        one(step, metrics)

  return log


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
