"""Grids: what shares a program, and that the table equals single runs."""

import json
import os
import signal

import pytest

from experiments import command, pipeline, plan, progress, run, sweep
from ue_jax.core.errors import Invalid

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
import ml_collections
def get_config(arg=""):
  return ml_collections.ConfigDict({
    "data": {"name": "data.embedded", "source": "digits", "train": 60, "test": 40},
    "model": {"name": "models.mlp", "widths": (8,)},
    "train": {"name": "train.supervised", "steps": 10, "batch_size": 20, "rate": 0.01},
    "sweep": {"train": {"rate": (0.001, 0.1), "steps": (5, 10)}},
  })
"""


PROTECT = {
  "data": {"name": "data.embedded", "source": "digits", "train": 60, "test": 40},
  "protect": {"name": "protect.noise", "kind": "clean"}, "controls": {"a": {"name": "protect.noise"}},
  "model": {"name": "models.mlp", "widths": (8,)}, "train": {"name": "train.supervised", "steps": 2, "batch_size": 20},
}


def test_floats_of_the_last_stage_share_a_program_and_all_else_is_apart():
  grid = {"method.beta": (0.1, 0.2), "train.rate": (0.5,), "method.steps": (3, 4)}
  parts = sweep.groups(grid)
  assert [[p["method.beta"] for p in part] for part in parts] == [[0.1, 0.2], [0.1, 0.2]]
  assert [part[0]["method.steps"] for part in parts] == [3, 4]


@pytest.mark.parametrize("grid", [{}, {"method": {"beta": ()}}, {"method": {"beta": 0.1}}, {"metod": {"beta": (0.1,)}}])
def test_a_grid_that_is_none_is_named(grid):
  with pytest.raises(Invalid, match="config.sweep"):
    sweep.fields({"method": {"name": "forget.npo"}, "sweep": grid})


def test_the_figures_of_a_sweep_are_those_of_single_runs(tmp_path, capsys):
  (tmp_path / "config.py").write_text(CONFIG)
  rows = sweep.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/sweep", "--mode=one"])
  assert [row["setting"] for row in rows] == [
    {"train.steps": s, "train.rate": r} for s in (5, 10) for r in (0.001, 0.1)
  ]
  for row in rows[1:3]:
    flags = [f"--config.{name}={value}" for name, value in row["setting"].items()]
    out = f"--workdir={tmp_path}/{row['setting']['train.steps']}"
    single = run.main([f"--config={tmp_path}/config.py", out, "--mode=one", *flags]).figures
    assert set(single) == set(row["figures"])
    assert all(abs(single[name] - value) < 1e-3 for name, value in row["figures"].items())
  assert len({row["figures"]["original/train/nll"] for row in rows}) == 4
  assert not {p.name for p in (tmp_path / "sweep" / "artefacts").glob("train-*")} & {
    p.name for p in tmp_path.glob("*/artefacts/train-*") if "sweep" not in p.parts
  }, "what was traced is not taken for a single run"
  assert len(list((tmp_path / "sweep" / "artefacts").glob("data-*"))) == 1
  command = json.loads((tmp_path / "sweep" / "result.json").read_text())["command"]
  assert command.startswith("python -m experiments.sweep ")
  lines = [json.loads(line) for line in (tmp_path / "sweep" / "sweep.jsonl").read_text().splitlines()]
  assert lines == rows and "train.rate" in capsys.readouterr().out


def test_every_setting_is_looked_at_before_the_first_is_run(tmp_path):
  (tmp_path / "config.py").write_text(CONFIG.replace("(0.001, 0.1)", "(0.001, -0.1)").replace("(5, 10)", "(5, 0.5)"))
  with pytest.raises(Invalid, match="train.(rate|steps)"):
    sweep.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/sweep", "--mode=one"])
  assert not (tmp_path / "sweep" / "artefacts").exists()


def test_asked_to_stop_a_sweep_begins_no_further_stage(tmp_path):
  (tmp_path / "config.py").write_text(CONFIG)
  options = command.read([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/sweep"], sweep._define)
  options.workdir.mkdir()

  class Asked(command.Signals):
    def __call__(self):
      return len(list(options.workdir.glob("artefacts/train-*"))) > 0

    def stopped(self):
      return command.Stopped(signal.SIGTERM)

  with pytest.raises(command.Stopped):
    sweep.run(options, Asked())
  assert len(list(options.workdir.glob("artefacts/train-*"))) == 2, "two rates share a program; steps=10 is not begun"
  assert not list(options.workdir.glob("artefacts/measure-*"))


def test_a_signal_in_a_shared_program_ends_it_within_a_step_and_the_same_command_ends_with_the_same_bits(
  tmp_path, capsys, monkeypatch
):
  (tmp_path / "config.py").write_text(CONFIG.replace("(5, 10)", "(40,)"))
  whole = sweep.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/whole"])
  seen, titles = [], []

  class Killed(progress.Lines):
    def stage(self, title, done, total):
      titles.append(title)

    def step(self, t, steps, metrics=None):
      seen.append((t, steps))
      if len(seen) == 30:
        os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(progress, "shown", Killed)
  argv = [f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/out", "--save_seconds=1000"]
  capsys.readouterr()
  assert command.guarded(sweep.main, argv, "") == 143
  assert capsys.readouterr().err.splitlines() == ["stopped by SIGTERM: run the same command again to go on"]
  assert seen == [(t, 40) for t in range(1, 31)] and "2 settings together" in titles[-1]
  assert [p.name for p in (tmp_path / "out" / "state").glob("sweep-*/step_*")] == ["step_00000030"]
  assert sweep.main(argv) == whole
  assert seen[30] == (31, 40) and not list((tmp_path / "out" / "state").glob("sweep-*"))


def test_two_stages_that_differ_are_not_both_begun_after_a_stop(tmp_path):
  plans = [plan.plan(sweep.change(PROTECT, {"train.rate": rate, "controls.a.eps": rate})) for rate in (0.1, 0.2)]
  plans = sweep.marked(plans)
  begun = lambda: len(list(tmp_path.glob("artefacts/protect-*"))) > 0
  results = [pipeline.Results(p, tmp_path, pipeline.Settings(stop=begun)) for p in plans]
  assert [stages[0].kind for stages, _ in sweep.alike(plans)] == ["protect", "train", "train"]
  with pytest.raises(pipeline.Interrupted):
    sweep.together(plans, results, "loop")
  assert not list(tmp_path.glob("artefacts/train-*"))
