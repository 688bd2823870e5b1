"""Every way in works: the import, the commands, what the README shows, the notebooks."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
COMMANDS = sorted(
  p.stem for p in (ROOT / "experiments").glob("*.py") if '\nif __name__ == "__main__":' in p.read_text()
)
SHOWN = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def python(*args, cwd=ROOT, timeout=120, **env):
  env = {**os.environ, "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg", **env}
  return subprocess.run([sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


def cells(path, kind):
  book = json.loads(path.read_text(encoding="utf-8"))
  return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == kind]


def test_import_is_fast_and_does_not_touch_jax():
  code = (
    "import sys, time; t = time.process_time(); import ue_jax\n"
    "print(time.process_time() - t, 'jax' in sys.modules)"
  )
  done = python("-c", code)
  seconds, loaded = done.stdout.split()
  assert float(seconds) < 0.5 and loaded == "False", done.stdout + done.stderr


def test_importing_every_module_starts_no_backend():
  code = (
    "import importlib, time, jax; t = time.process_time()\n"
    "from ue_jax.core import build\n"
    "for name in list(build.modules()): importlib.import_module('ue_jax.' + name)\n"
    "s = time.process_time() - t\n"
    "from jax._src import xla_bridge\n"
    "print(s, bool(xla_bridge._backends), len(list(build.modules())))"
  )
  done = python("-c", code)
  assert done.returncode == 0, done.stderr
  seconds, started, found = done.stdout.split()
  assert started == "False", "a module computes something with jax while it is imported"
  assert int(found) > 20
  assert float(seconds) < 6, f"{seconds} s of work beyond importing jax: import heavy packages inside functions"


def test_there_is_an_entry_point_to_run_sweep_and_reproduce():
  assert {"run", "sweep", "reproduce"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(command):
  done = python("-m", f"experiments.{command}", "--help")
  said = done.stdout + done.stderr
  assert done.returncode in (0, 1) and "Traceback" not in said, said
  assert f"python -m experiments.{command}" in said and len(said.splitlines()) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_command_is_answered_in_one_line_with_exit_code_2(command, tmp_path):
  done = python("-m", f"experiments.{command}", "--no_such_flag=1", cwd=ROOT)
  assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", SHOWN)
def test_what_the_pages_show_exists(name):
  text = (ROOT / name).read_text(encoding="utf-8")
  for module in re.findall(r"python -m ([\w.]+)", text):
    assert importlib.util.find_spec(module), f"{name} shows python -m {module}"
  for path in re.findall(r"--config (configs/[\w/]+\.py)", text):
    assert (ROOT / path).is_file() or "wga" in path, f"{name} shows {path}"
  for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
    assert (ROOT / link).exists(), f"{name} links to {link}"
  setup = (ROOT / "setup.py").read_text()
  for extra in re.findall(r"\.\[([\w,]+)\]", text):
    assert all(f'"{word}":' in setup for word in extra.split(",")), f"{name} shows the extra [{extra}]"


def test_the_readme_shows_the_commands_that_the_checks_run():
  readme = (ROOT / "README.md").read_text(encoding="utf-8")
  script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
  command = 'pip install -e ".[test]" && python -m pytest'
  assert command in readme and command in script
  main_job = "python -m experiments.run --config configs/protect/unlearnable_clusters.py:small"
  assert f"pip install -e . && {main_job}" in readme


@notebooks
def test_a_notebook_is_thin_and_stored_without_results(path):
  book = json.loads(path.read_text(encoding="utf-8"))
  assert book["nbformat"] == 4
  for cell in book["cells"]:
    assert cell["cell_type"] in ("code", "markdown") and isinstance(cell["source"], list)
    if cell["cell_type"] == "code":
      assert cell["outputs"] == [] and cell["execution_count"] is None, "clear the outputs"
  assert sum(len(c.splitlines()) for c in cells(path, "code")) < 120, "what is longer belongs into the package"
  assert "ORG/REPO" not in path.read_text()


@notebooks
def test_a_notebook_runs_from_top_to_bottom_at_tiny_size(path, tmp_path):
  source = "\n\n".join(cells(path, "code"))
  script = tmp_path / "cells.py"
  script.write_text(source, encoding="utf-8")
  done = python(str(script), timeout=300, UE_JAX_TINY="1", PYTHONPATH=str(ROOT))
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.strip(), "it shows nothing"


def test_found_at_least_one_notebook():
  assert NOTEBOOKS


def test_the_worked_example_of_contributing_works(monkeypatch):
  import types

  import ue_jax.forget

  method, config, test = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
  module = types.ModuleType("ue_jax.forget.wga")
  exec(compile(method, "wga.py", "exec"), module.__dict__)
  monkeypatch.setitem(sys.modules, module.__name__, module)
  monkeypatch.setattr(ue_jax.forget, "wga", module, raising=False)
  names = {}
  exec(compile(test, "wga_test.py", "exec"), names)
  names["test_the_loss_weights_log_probabilities_by_probabilities"]()
  built = {}
  exec(compile(config, "configs/forget/wga.py", "exec"), built)
  fields = built["get_config"]("tiny").method.to_dict()
  assert fields.pop("name") == "forget.wga"
  assert module.method(**fields).steps == fields["steps"]
