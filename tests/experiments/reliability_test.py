"""Real processes, killed, stopped or out of space: the same command goes on and ends with the same bits."""

import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

from experiments import store
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.tree import fingerprint

UNDRAWN = """
from ue_jax.report import figures
figures.bars = figures.curves = figures.protection = lambda *given, **how: "<svg></svg>"
"""  # no test reads the pages, and drawing takes longer than the rest of a run
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
import ml_collections
def get_config(arg=""):
  model = {"name": "models.mlp", "widths": (16,)}
  return ml_collections.ConfigDict({
    "data": {"name": "data.embedded", "source": "digits", "train": 120, "test": 40},
    "surrogate": {"model": model, "train": {"name": "train.supervised", "label": "loops", "steps": 50}},
    "protect": {"name": "protect.unlearnable_clusters", "k": 3, "eps": 0.2, "steps": 50, "batch_size": 40},
    "labellings": ("label",),
    "model": model, "train": {"name": "train.supervised", "steps": 400, "batch_size": 40, "every": 50},
  })
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
  """`start(workdir, *flags)`: the process of a run; all share one folder of compiled programs.

  `limit` is the most bytes that a file may have: beyond it the system answers as a full disk does.
  """
  root = tmp_path_factory.mktemp("reliability")
  (root / "config.py").write_text(CONFIG)
  one_device = re.sub(r"\S*device_count=\d+", "", os.environ["XLA_FLAGS"])
  environment = {
    **os.environ, "XLA_FLAGS": one_device, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
  }

  def go(workdir, *flags, limit=resource.RLIM_INFINITY):
    code = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    code += UNDRAWN + "runpy.run_module('experiments.run', run_name='__main__', alter_sys=True)"
    words = [sys.executable, "-c", code, f"--config={root}/config.py", f"--workdir={workdir}", *flags]
    return subprocess.Popen(
      words, cwd=ROOT, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )

  return go


def end(process):
  _, error = process.communicate(timeout=120)
  return process.returncode, error


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
  """The workdir of an uninterrupted run."""
  workdir = tmp_path_factory.mktemp("whole")
  code, error = end(start(workdir))
  assert code == 0, error
  return workdir


def bits(workdir):
  """Artefact -> fingerprint of what a reader of it gets."""
  out = {}
  for path in sorted((workdir / "artefacts").iterdir()):
    noun = store.load(path)
    if isinstance(noun, Data):
      noun = (dict(noun.arrays), dict(noun.sets))
    elif isinstance(noun, Subject):
      noun = (noun.params, noun.state, dict(noun.history))
    else:
      noun = {name: list(score[:2]) for name, score in noun.items()}
    out[path.name] = fingerprint(noun)
  return out


def test_killed_at_three_random_moments_a_run_goes_on_and_ends_with_the_same_bits(start, whole, tmp_path):
  draw, moments = random.Random(), []
  for _ in range(3):
    moments.append((draw.randint(1, 2), draw.uniform(0, 0.3)))  # after the n-th line of progress, seconds later
    process = start(tmp_path, "--save_seconds=0")
    for _ in range(moments[-1][0]):
      process.stderr.readline()
    time.sleep(moments[-1][1])
    process.kill()
    process.communicate()
    ended = process.returncode == 0 and len(moments) == 3  # two kills may have left little to do for the third
    assert ended or process.returncode == -signal.SIGKILL, moments
  code, error = end(start(tmp_path, "--save_seconds=0"))
  assert code == 0, (moments, error)
  assert bits(tmp_path) == bits(whole), moments
  assert not list((tmp_path / "state").iterdir()), "checkpoints of finished stages stay"
  assert (tmp_path / "scores.jsonl").read_text() == (whole / "scores.jsonl").read_text()


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_with_one_line_that_says_how_to_go_on(start, whole, tmp_path, number, code):
  process = start(tmp_path, "--config.train.steps=1000000", "--save_seconds=1000")
  for line in process.stderr:
    if "train clean" in line:
      break
  log = tmp_path / "logs"
  deadline = time.monotonic() + 60
  while not any(p.stat().st_size for p in log.glob("train-*.jsonl") if len(list(log.glob("train-*"))) > 1):
    assert time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(number)
  found, error = end(process)
  assert found == code and "Traceback" not in error
  assert error.splitlines()[-1] == f"stopped by {number.name}: run the same command again to go on"
  assert list((tmp_path / "state").glob("train-*/step_*")), "nothing was saved"


def test_out_of_space_is_one_line_and_what_was_made_is_kept(start, whole, tmp_path):
  code, error = end(start(tmp_path, limit=9000))  # the data has 10 240 bytes of pixels
  assert code == 2 and "Traceback" not in error
  assert [line for line in error.splitlines() if line.startswith("error: ")] == error.splitlines()[-1:]
  assert "space" in error.splitlines()[-1]
  assert not [p for p in (tmp_path / "artefacts").iterdir() if not p.name.startswith(".")]
  code, error = end(start(tmp_path))
  assert code == 0, error
  assert bits(tmp_path) == bits(whole)
