"""Every mistake on the command line or in what it names: one line with field, value and fix, code 2, nothing lost."""

import contextlib
import errno
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import command, plan, reproduce, run, sweep
from ue_jax.core.errors import Invalid

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
import ml_collections
def get_config(arg=""):
  if arg not in ("", "tiny"):
    raise ValueError(f"config size = {arg!r}: choose one of tiny")
  return ml_collections.ConfigDict({
    "seeds": (0,),
    "data": {"name": "data.embedded", "source": "digits", "train": 30, "test": 10},
    "protect": {"name": "protect.noise", "kind": "sample", "eps": 0.1},
  })
"""
CLUSTER = """
import ml_collections
def get_config(arg=""):
  return ml_collections.ConfigDict({
    "data": {"name": "data.embedded", "source": "digits", "train": 30, "test": 10},
    "cluster": {"name": "cluster.k_means", "k": 3, "restarts": 1},
  })
"""
READ = """
import ml_collections
def get_config(arg=""):
  return ml_collections.ConfigDict({
    "data": {"name": "data.%s", "path": "PATH"}, "cluster": {"name": "cluster.k_means", "k": 2, "restarts": 1},
  })
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Configs, a folder without pictures, one with a broken picture only, data with a NaN, and a file."""
  root = tmp_path_factory.mktemp("place")
  texts = {"c": CONFIG, "k": CLUSTER, "folder": READ % "folder", "npz": READ % "npz", "broken": "import nothing_there",
           "syntax": "def get_config(:", "empty": "x = 1"}
  for name, text in texts.items():
    (root / f"{name}.py").write_text(text)
  (root / "empty").mkdir()
  (root / "corrupt").mkdir()
  (root / "corrupt" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
  (root / "file").write_text("")
  (root / "mine.py").write_text((READ % "folder").replace(
    '"cluster": {"name": "cluster.k_means", "k": 2, "restarts": 1}', '"protect": {"name": "protect.noise"}'
  ).replace("PATH", f"{root}/corrupt"))
  picture = np.zeros((4, 2, 2, 1), np.uint8)
  with_nan = np.array([0, np.nan, 1, 2], np.float32)
  np.savez(root / "nan.npz", image=picture, x=with_nan, index=np.arange(4, dtype=np.int32))
  return root


CASES = {  # name -> (arguments, what the line says)
  "no config": ([], ["config", "(missing)", "give --config"]),
  "no such file": (["--config={p}/nope.py"], ["config", "nope.py", "no such file"]),
  "config that cannot be imported": (["--config={p}/broken.py"], ["config", "nothing_there"]),
  "config that cannot be parsed": (["--config={p}/syntax.py"], ["config", "syntax"]),
  "config without get_config": (["--config={p}/empty.py"], ["config", "get_config"]),
  "unknown size": (["--config={p}/c.py:huge"], ["config size", "huge", "choose one of tiny"]),
  "unknown flag": (["--config={p}/c.py", "--wrkdir=x"], ["wrkdir", "workdir"]),
  "unknown field": (["--config={p}/c.py", "--config.protect.epps=0.1"], ["config.protect.epps", "0.1", "eps"]),
  "unknown field at the top": (["--config={p}/c.py", "--config.sed=1"], ["config.sed", "1", "seeds"]),
  "field of what has none": (["--config={p}/c.py", "--config.seeds.a=1"], ["config.seeds.a", "1"]),
  "seed that is no whole number": (["--config={p}/c.py", "--config.seed=1.5"], ["config.seed", "1.5", "whole"]),
  "unknown stage": (["--config={p}/c.py", "--config.protec.eps=0.1"], ["config.protec", "protect"]),
  "text for a number that the file does not name": (
    ["--config={p}/c.py", "--config.protect.k=many"], ["config.protect.k", "many", "number"]),
  "wrong type": (["--config={p}/c.py", "--config.protect.eps=much"], ["config.protect.eps", "much", "float"]),
  "wrong type in a tuple": (["--config={p}/c.py", "--config.seeds=a"], ["config.seeds", "whole numbers"]),
  "a whole number wanted": (["--config={p}/c.py", "--config.data.train=1.5"], ["config.data.train", "1.5"]),
  "word without a flag": (["--config={p}/c.py", "eps=0.1"], ["eps=0.1", "--config.FIELD"]),
  "unknown mode": (["--config={p}/c.py", "--mode=fast"], ["mode", "fast", "pmap"]),
  "eps above 1": (["--config={p}/c.py", "--config.protect.eps=1.5"], ["protect.eps", "1.5", "[0, 1]"]),
  "eps below 0": (["--config={p}/c.py", "--config.protect.eps=-0.5"], ["protect.eps", "-0.5", "[0, 1]"]),
  "unknown module": (["--config={p}/c.py", "--config.protect.name=protect.magic"], ["protect.name", "magic", "noise"]),
  "module of another kind": (["--config={p}/c.py", "--config.protect.name=data.npz"], ["protect.name", "noise"]),
  "argument of another method": (
    ["--config={p}/c.py", "--config.protect.name=protect.cuda"], ["config.protect", "protect.cuda takes", "blur"]),
  "unknown source": (["--config={p}/c.py", "--config.data.source=cats"], ["data.source", "cats", "digits"]),
  "K larger than N": (["--config={p}/k.py", "--config.cluster.k=100"], ["k", "100"]),
  "export of no model": (["--config={p}/k.py", "--export={p}/models"], ["export", "models", "trains no model"]),
  "K of 0": (["--config={p}/k.py", "--config.cluster.k=0"], ["k", "0"]),
  "empty folder": (["--config={p}/folder.py", "--config.data.path={p}/empty"], ["data.path", "empty", "put pictures"]),
  "no such folder": (["--config={p}/folder.py", "--config.data.path={p}/nope"], ["data.path", "nope", "existing"]),
  "corrupt picture only": (["--config={p}/folder.py", "--config.data.path={p}/corrupt"], ["data.path", "a.png"]),
  "no such npz": (["--config={p}/npz.py", "--config.data.path={p}/nope.npz"], ["nope.npz"]),
  "npz that is none": (["--config={p}/npz.py", "--config.data.path={p}/file"], ["file"]),
  "NaN in data": (["--config={p}/npz.py", "--config.data.path={p}/nan.npz"], ["nan.npz", "NaN"]),
  "workdir is a file": (["--config={p}/c.py", "--workdir={p}/file"], ["workdir", "file", "can be written"]),
  "workdir below a file": (["--config={p}/c.py", "--workdir={p}/file/out"], ["workdir", "out", "can be written"]),
  "workdir cannot be written": (["--config={p}/c.py", "--workdir=/proc/out"], ["workdir", "out", "can be written"]),
  "workdir among the pictures": (
    ["--config={p}/mine.py", "--workdir={p}/corrupt/out"], ["workdir", "corrupt/out", "outside"]),
}


def failed(code, error, words):
  lines = [line for line in error.splitlines() if not line.startswith("[")]  # progress
  assert code == 2 and "Traceback" not in error
  assert len(lines) == 1 and lines[0].startswith("error: ") and " = " in lines[0] and ": " in lines[0][7:], lines
  for word in words:
    assert word in lines[0], (word, lines[0])


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_answered_by_one_line_and_code_2(name, place, tmp_path, capsys):
  arguments, words = CASES[name]
  arguments = [word.format(p=place) for word in arguments]
  if not any(word.startswith("--workdir") for word in arguments):
    arguments.append(f"--workdir={tmp_path}/out")
  code = command.guarded(run.main, arguments, run.__doc__)
  failed(code, capsys.readouterr().err, words)


@pytest.mark.parametrize("main, arguments, words", [
  (sweep.main, ["--config={p}/c.py", "--workdir={p}/s"], ["config.sweep", "sweep=dict"]),
  (sweep.main, ["--config={p}/mine.py", "--workdir={p}/corrupt/out"], ["workdir", "corrupt/out", "outside"]),
  (sweep.main, ["--config={p}/c.py", "--workdir={p}/s", "--sweep_mode=x"], ["sweep_mode", "x", "vmap"]),
  (reproduce.main, ["nothing"], ["NAME", "nothing", "choose one of", "all"]),
  (reproduce.main, [], ["NAME", "(missing)", "all"]),
  (reproduce.main, ["cuda", "--size=huge"], ["size", "huge", "tiny"]),
  (reproduce.main, ["cuda", "--sice=huge"], ["sice"]),
])
def test_the_other_commands_answer_alike(main, arguments, words, place, capsys):
  code = command.guarded(main, [word.format(p=place) for word in arguments], "")
  failed(code, capsys.readouterr().err, words)


def test_a_damaged_artefact_is_named_by_the_command_and_nothing_else_is_lost(place, tmp_path, capsys):
  arguments = [f"--config={place}/k.py", f"--workdir={tmp_path}"]
  assert command.guarded(run.main, arguments, "") == 0
  file = next((tmp_path / "artefacts").glob("score-*/scores.jsonl"))
  file.write_text(file.read_text().replace("nmi", "nmo"))
  others = {p: p.stat().st_mtime_ns for p in (tmp_path / "artefacts").rglob("*") if p.is_file() and p != file}
  capsys.readouterr()
  code = command.guarded(run.main, arguments, "")
  failed(code, capsys.readouterr().err, [str(file), "delete the folder"])
  for part in file.parent.iterdir():
    part.unlink()
  file.parent.rmdir()
  assert command.guarded(run.main, arguments, "") == 0
  kept = {p: p.stat().st_mtime_ns for p in others if file.parent not in p.parents}
  assert kept == {p: t for p, t in others.items() if file.parent not in p.parents}


def test_a_bug_is_not_hidden_behind_a_friendly_line():
  def buggy(argv):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    command.guarded(buggy, [], "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_even_deep_inside_another_error(number, capsys):
  def full(argv):
    try:
      raise OSError(number, os.strerror(number), "/x/y")
    except OSError as error:
      raise RuntimeError("could not save") from error

  failed(command.guarded(full, [], ""), capsys.readouterr().err, ["workdir", "/x/y", "no space left"])


def test_two_runs_never_share_a_workdir(tmp_path):
  with command.locked(tmp_path), pytest.raises(Invalid, match=f"process {os.getpid()} is using it"):
    with command.locked(tmp_path):
      pass
  with command.locked(tmp_path):
    pass


@pytest.mark.parametrize("module", ["run", "sweep", "reproduce"])
def test_help_is_printed_without_importing_jax(module):
  code = "import sys, runpy; sys.argv = ['x', '--help']\n"
  code += f"try: runpy.run_module('experiments.{module}', run_name='__main__')\n"
  code += "except SystemExit as e: assert not e.code and 'jax' not in sys.modules, e.code"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert done.returncode == 0, done.stderr
  assert f"python -m experiments.{module}" in done.stdout


def test_flags_are_read_without_importing_jax(place):
  code = "import sys; from experiments import command; command.guarded(command.read, sys.argv[1:], '')"
  code += "\nassert 'jax' not in sys.modules"
  words = [f"--config={place}/c.py", "--wrkdir=x"]
  done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
  assert done.returncode == 0, done.stderr
  assert "wrkdir" in done.stderr


def test_any_argument_of_a_stage_can_be_set_even_where_the_file_does_not_name_it(place):
  options = command.read([f"--config={place}/c.py", "--config.seed=1", "--config.protect.norm=l2"])
  assert options.config["seed"] == 1 and options.config["protect"]["norm"] == "l2"
  made = plan.plan(options.config)
  assert [s.seed for s in made.stages.values() if s.kind == "protect"] == [1]


def test_the_command_names_its_module_and_files_of_the_repository_from_its_root():
  file = f"--config={ROOT}/configs/cluster/k_means.py:tiny"
  assert command.read([file], module="experiments.sweep").line() == (
    "python -m experiments.sweep --config=configs/cluster/k_means.py:tiny"
  )


def test_the_command_line_is_kept_without_the_workdir(place):
  words = [f"--config={place}/c.py:tiny", "--workdir", "x", "--config.protect.eps=0.2"]
  options = command.read(words)
  assert options.line() == f"python -m experiments.run --config={place}/c.py:tiny --config.protect.eps=0.2"
  assert options.config["protect"]["eps"] == 0.2 and options.workdir == pathlib.Path("x").absolute()
  with contextlib.chdir(place):
    assert command.read(words[:1]).workdir == place / "runs" / "c-tiny"
