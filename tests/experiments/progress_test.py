"""Progress is lines where nobody watches, and not more of them than can be read."""

import sys
import time

import pytest

from experiments import progress


def test_a_file_gets_lines_and_a_terminal_bars(monkeypatch):
  monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
  assert isinstance(progress.shown(), progress.Lines)
  pytest.importorskip("rich")
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
  assert isinstance(progress.shown(), progress.Bars)


def test_every_stage_has_a_line_and_steps_only_one_now_and_then(capsys):
  with progress.Lines(seconds=1000) as lines:
    lines.stage("train clean", 0, 3)
    for t in range(10):
      lines.step(t, 10)
  assert capsys.readouterr().err == "[1/3] train clean\n"
  with progress.Lines(seconds=-1) as lines:
    lines.stage("train clean", 1, 3)
    lines.step(7, 10)
  assert capsys.readouterr().err.splitlines() == ["[2/3] train clean", "[2/3] train clean: 7/10"]


def test_a_stage_without_steps_gives_a_sign_of_life_until_it_is_over(capsys):
  with progress.Lines(silence=0.1) as lines:
    lines.stage("cluster k_means", 0, 2)
    time.sleep(0.5)
  said = capsys.readouterr().err.splitlines()
  assert said[0] == "[1/2] cluster k_means" and said[1] == "[1/2] cluster k_means: 0 s so far" and len(said) < 7
  time.sleep(0.2)
  assert capsys.readouterr().err == ""


def test_bars_show_the_stage_and_its_steps():
  pytest.importorskip("rich")
  with progress.Bars() as bars:
    bars.stage("train clean", 1, 3)
    bars.step(7, 10)
    stages, steps = bars.bars.tasks
    assert (stages.completed, stages.total) == (1, 3)
    assert (steps.completed, steps.total, steps.description) == (7, 10, "train clean")
