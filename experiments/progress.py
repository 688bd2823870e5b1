"""How far a run is: bars for people, lines for files."""

from __future__ import annotations

import sys
import time
from typing import Any


class Lines:
  """Progress as plain lines, one every few seconds, for logs."""

  def __init__(self, seconds: float = 5.0) -> None:
    self.seconds, self.last, self.title = seconds, 0.0, ""

  def stage(self, title: str, done: int, total: int) -> None:
    """Says which stage begins, after `done` of `total`."""
    self.title = f"[{done + 1}/{total}] {title}"
    self._say(self.title)

  def step(self, t: int, steps: int, metrics: Any = None) -> None:
    """Says, every few seconds, that `t` of `steps` are taken."""
    if time.monotonic() - self.last > self.seconds:
      self._say(f"{self.title}: {t}/{steps}")

  def _say(self, line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    self.last = time.monotonic()

  def __enter__(self) -> Lines:
    return self

  def __exit__(self, *error: Any) -> None:
    pass


class Bars:
  """Progress as two bars: stages, and steps of the stage."""

  def __init__(self) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    self.bars = Progress(*columns, console=Console(stderr=True), transient=True)
    self.stages = self.bars.add_task("stages", total=None)
    self.steps = self.bars.add_task("", total=None, visible=False)

  def stage(self, title: str, done: int, total: int) -> None:
    """Says which stage begins, after `done` of `total`."""
    self.bars.update(self.stages, completed=done, total=total)
    self.bars.reset(self.steps, total=None, description=title, visible=True)

  def step(self, t: int, steps: int, metrics: Any = None) -> None:
    """Moves the lower bar to `t` of `steps`."""
    self.bars.update(self.steps, completed=t, total=steps)

  def __enter__(self) -> Bars:
    self.bars.start()
    return self

  def __exit__(self, *error: Any) -> None:
    self.bars.stop()


def shown() -> Lines | Bars:
  """Bars for people, lines for files."""
  return Bars() if sys.stderr.isatty() else Lines()
