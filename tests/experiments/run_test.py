"""Whole experiments in one process: what the reader gets is what was measured."""

import importlib.machinery
import json
import pathlib
import sys
import types

import numpy as np
import pytest

from experiments import command, run, sweep
from ue_jax.report import results

CONFIG = """
import ml_collections
def get_config(arg=""):
  return ml_collections.ConfigDict({
    "title": "cuda <on> digits", "seeds": (0, 1), "labellings": ("label", "parity"),
    "data": {"name": "data.embedded", "source": "digits", "train": 60, "test": 40},
    "protect": {"name": "protect.cuda"},
    "model": {"name": "models.mlp", "widths": (8,)},
    "train": {"name": "train.supervised", "steps": 20, "batch_size": 20, "every": 10},
  })
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
  root = tmp_path_factory.mktemp("run")
  (root / "config.py").write_text(CONFIG)
  result = run.main([f"--config={root}/config.py", f"--workdir={root}/out", "--mode=one"])
  return root / "out", result


def rows(workdir):
  return [json.loads(line) for line in (workdir / "scores.jsonl").read_text().splitlines()]


def test_the_recorded_result_holds_the_means_of_the_scores_and_can_be_read_again(ran):
  workdir, result = ran
  read = results.read(workdir / "result.json")
  assert read._replace(figures=0) == result._replace(figures=0) and set(read.figures) == set(result.figures)
  assert result.seeds == (0, 1) and result.wall_s > 0 and result.config["protect"]["name"] == "protect.cuda"
  for row in ("clean", "cuda"):
    for label in ("label", "parity"):
      place = {"row": row, "group": label, "name": "test/accuracy"}
      values = [s["value"] for s in rows(workdir) if {k: s[k] for k in place} == place]
      assert len(values) == 2
      figure = result.figures[f"{row}/{label}/test/accuracy"]
      assert list(figure) == pytest.approx([np.mean(values), np.std(values, ddof=1)])
  for name in ("best_accuracy", "accuracy"):
    assert 0 < result.figures[f"cuda/label/test/{name}"][0] <= 1
  assert result.figures["cuda/label/test/best_accuracy"] >= result.figures["cuda/label/test/accuracy"]
  assert result.figures["cuda/psnr"] > 1 and 0 < result.figures["cuda/ssim"] < 1 and "clean/psnr" not in result.figures
  assert "cuda/label/test_permuted/accuracy" in result.figures
  assert 50 < result.figures["cuda/crafted/levels"] < result.figures["cuda/levels"] + 1  # truncated to bytes
  assert result.figures["cuda/crafted/psnr"] == pytest.approx(result.figures["cuda/psnr"], rel=0.01)
  assert "clean/crafted/levels" not in result.figures
  assert result.figures["cuda/levels"] > 50 and result.figures["clean/levels"] == 0


def test_the_page_is_whole_and_needs_nothing_beside_it(ran):
  result, text = ran[1], (ran[0] / "summary.html").read_text()
  assert text.rstrip().endswith("</html>") and "<script" not in text and "cuda &lt;on&gt; digits" in text
  for part in ("Accuracy on clean test pictures", "labelling &#x27;parity&#x27;", "Distance from the clean pictures",
               "test_accuracy", "test, permuted", "protect.cuda", "jaxlib", "as crafted", "before and after cuda"):
    assert part in text, part
  assert "before and after clean" not in text
  assert f"{result.command} · " in text, "the command can be copied without what follows"


def test_the_same_command_again_makes_nothing_and_says_the_same(ran, capsys):
  workdir, result = ran
  before = {p: p.stat().st_mtime_ns for p in (workdir / "artefacts").rglob("*")}
  again = run.main([f"--config={workdir.parent}/config.py", f"--workdir={workdir}"])
  assert again.figures == result.figures
  assert {p: p.stat().st_mtime_ns for p in (workdir / "artefacts").rglob("*")} == before
  said = capsys.readouterr()
  assert said.err == "" and "drop" in said.out and str(workdir / "summary.html") in said.out


def test_the_tiny_clustering_config_finds_digits(tmp_path, capsys, undrawn):
  result = run.main(["--config=configs/cluster/k_means.py:tiny", f"--workdir={tmp_path}"])
  assert result.figures["k_means/label/acc"] > 0.6
  assert result.figures["k_means/label/nmi"] > 0.6
  assert result.figures["k_means/cost"] > 0 and result.figures["k_means/steps"] > 1
  assert "k_means" in capsys.readouterr().out


CRAFT = """
import ml_collections
def get_config(arg=""):
  model = {"name": "models.mlp", "widths": (8,)}
  return ml_collections.ConfigDict({
    "data": {"name": "data.embedded", "source": "digits", "train": 60, "test": 40},
    "surrogate": {"model": model, "train": {"name": "train.supervised", "label": "loops", "steps": 5}},
    "protect": {"name": "protect.unlearnable_clusters", "k": 3, "eps": 0.2, "steps": 30, "batch_size": 40},
  })
"""


@pytest.fixture
def craft(tmp_path, undrawn):
  (tmp_path / "config.py").write_text(CRAFT)
  return lambda *flags: run.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/out", *flags])


def test_what_crafting_reached_is_shown_and_recorded(craft, tmp_path, capsys):
  result = craft("--config.protect.every=10")
  last = json.loads(next((tmp_path / "out" / "logs").glob("protect-*")).read_text().splitlines()[-1])
  for name in ("loss", "kl", "redirect", "redirected"):
    assert result.figures[f"unlearnable_clusters/crafting/{name}"] == last[name]
  assert last["step"] == 30 and "Crafting" in capsys.readouterr().out
  page = (tmp_path / "out" / "summary.html").read_text()
  assert "Crafting" in page and "redirect along training" in page


def test_pictures_of_another_size_are_compared_with_clean_ones_of_that_size(craft):
  figures = craft("--config.surrogate.model.name=models.cnn", '--config.surrogate.model.widths=(4,)',
                  '--config.surrogate.model.head=mean', "--config.protect.size=16", "--config.protect.mode=img").figures
  assert 0 < figures["unlearnable_clusters/levels"] <= 51


@pytest.fixture
def board(monkeypatch):
  """Stands in for the package: folder -> the scalars that were written there."""
  written = {}

  class SummaryWriter:
    def __init__(self, folder):
      self.scalars = written.setdefault(pathlib.Path(folder), [])

    def add_scalar(self, name, value, step):
      self.scalars.append((name, value, step))

    def flush(self):
      pass

  fake = types.ModuleType("tensorboardX")
  fake.SummaryWriter, fake.__spec__ = SummaryWriter, importlib.machinery.ModuleSpec("tensorboardX", None)
  monkeypatch.setitem(sys.modules, "tensorboardX", fake)
  return written


def test_asked_for_the_curves_also_go_to_tensorboard_a_folder_a_stage(board, craft, tmp_path):
  craft("--tensorboard", "--config.protect.every=10")
  logs = {p.stem: [json.loads(line) for line in p.read_text().splitlines()] for p in (tmp_path / "out/logs").iterdir()}
  assert {folder.name for folder in board} == set(logs) and {f.parent for f in board} == {tmp_path / "out/tensorboard"}
  for folder, scalars in board.items():
    rows = [(n, x, row["step"]) for row in logs[folder.name] for n, x in row.items() if n not in ("step", "time")]
    assert scalars == rows


def test_not_asked_for_nothing_goes_to_tensorboard(board, craft, tmp_path):
  craft()
  assert not board


def test_a_sweep_writes_the_curves_of_what_shares_a_program_too(board, tmp_path, undrawn):
  text = CONFIG.replace('"protect": {"name": "protect.cuda"},', '"sweep": {"train": {"rate": (0.01, 0.1)}},')
  (tmp_path / "config.py").write_text(text.replace("(0, 1)", "(0,)"))
  sweep.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/out", "--tensorboard"])
  assert len(board) == 2 and all(f.parent == tmp_path / "out/tensorboard" for f in board)
  ends = [{n: x for n, x, step in scalars if step == 20} for scalars in board.values()]
  assert all(np.isfinite(end["loss"]) for end in ends) and ends[0]["loss"] != ends[1]["loss"]


@pytest.mark.parametrize("main", [run.main, sweep.main])
def test_without_its_package_tensorboard_is_refused_in_one_line_before_any_work(main, monkeypatch, tmp_path, capsys):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  (tmp_path / "config.py").write_text(CRAFT)
  argv = [f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/out", "--tensorboard"]
  assert command.guarded(main, argv, "") == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: tensorboard = True") and "pip install tensorboardX" in line
  assert not (tmp_path / "out").exists()
