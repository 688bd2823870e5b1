"""How far a run is: bars for people, lines for files."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any


class Lines:
  """Progress as plain lines for logs: one every few seconds, and a sign of life where a stage takes no steps."""

  def __init__(self, seconds: float = 5.0, silence: float = 30.0) -> None:
    self.seconds, self.silence, self.last, self.title, self.began = seconds, silence, 0.0, "", 0.0
    self.over = threading.Event()
    self.pulse = threading.Thread(target=self._beat, daemon=True)

  def stage(self, title: str, done: int, total: int) -> None:
    """Says which stage begins, after `done` of `total`."""
    self.title, self.began = f"[{done + 1}/{total}] {title}", time.monotonic()
    self._say(self.title)

  def step(self, t: int, steps: int, metrics: Any = None) -> None:
    """Says, every few seconds, that `t` of `steps` are taken."""
    if time.monotonic() - self.last > self.seconds:
      self._say(f"{self.title}: {t}/{steps}")

  def _beat(self) -> None:
    """Fits that are one compiled program have no steps to count: says how long they have been at it."""
    while not self.over.wait(self.silence / 10):
      if self.title and time.monotonic() - self.last > self.silence:
        self._say(f"{self.title}: {time.monotonic() - self.began:.0f} s so far")

  def _say(self, line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    self.last = time.monotonic()

  def __enter__(self) -> Lines:
    self.pulse.start()
    return self

  def __exit__(self, *error: Any) -> None:
    self.over.set()
    self.pulse.join()


class Bars:
  """Progress as two bars: stages, and steps of the stage."""

  def __init__(self) -> None:
    from rich import progress as rich
    from rich.console import Console

    clocks = rich.TimeElapsedColumn(), rich.TimeRemainingColumn()  # the first goes on where there are no steps
    columns = rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(), *clocks
    self.bars = rich.Progress(*columns, console=Console(stderr=True), transient=True)
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
