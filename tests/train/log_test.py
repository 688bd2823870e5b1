"""Curves as JSON lines."""

import json
import sys

import pytest

from ue_jax.core.errors import Invalid
from ue_jax.train import log


def steps(path):
  return [row["step"] for row in log.read(path)]


def test_every_line_is_on_disk_at_once_with_step_time_and_values(tmp_path):
  write = log.json_lines(tmp_path / "log.jsonl")
  write(5, {"loss": 0.25, "test": float("nan")})
  row = json.loads((tmp_path / "log.jsonl").read_text())
  assert row["step"] == 5 and row["loss"] == 0.25 and row["test"] is None and row["time"] > 1e9


def test_resuming_at_an_earlier_step_leaves_no_step_twice(tmp_path):
  path = tmp_path / "log.jsonl"
  write = log.json_lines(path)
  for step in (5, 10, 15, 20):
    write(step, {"loss": 1.0})
  again = log.json_lines(path)
  for step in (15, 20, 25):
    again(step, {"loss": 2.0})
  assert steps(path) == [5, 10, 15, 20, 25]
  assert [row["loss"] for row in log.read(path)] == [1, 1, 2, 2, 2]


def test_appending_behind_the_last_line_rewrites_nothing(tmp_path):
  path = tmp_path / "log.jsonl"
  log.json_lines(path)(5, {})
  inode = path.stat().st_ino
  log.json_lines(path)(10, {})
  assert steps(path) == [5, 10] and path.stat().st_ino == inode


def test_a_line_cut_in_half_is_dropped(tmp_path):
  path = tmp_path / "log.jsonl"
  log.json_lines(path)(5, {})
  path.write_text(path.read_text() + '{"step": 10, "lo')
  log.json_lines(path)(10, {})
  assert steps(path) == [5, 10]


def test_an_unwritable_file_is_named(tmp_path):
  with pytest.raises(Invalid, match="absent.*writable"):
    log.json_lines(tmp_path / "absent" / "log.jsonl")(1, {})


def test_both_passes_on_to_all_but_none():
  seen = []
  log.both(lambda *a: seen.append(a), None, lambda *a: seen.append(a))(3, {"x": 1.0})
  assert seen == [(3, {"x": 1.0})] * 2


def test_tensorboard_writes_events_or_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with pytest.raises(Invalid, match="pip install tensorboardX"):
    log.tensorboard(tmp_path)
