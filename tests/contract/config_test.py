"""Every config builds in every size, quickly, without jax; every field of a stage is an argument of its factory."""

import importlib
import inspect
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from configs import common
from tests.contract.gathered import over
from ue_jax.core import build

ROOT = pathlib.Path(__file__).parents[2]
SHARED = ("__init__", "common")
PATHS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.py") if p.stem not in SHARED)
# What the experiment hands to a factory, so that a config need not: see signature_test for the arguments themselves.
HANDED = {"surrogate", "model", "train", "vocabulary", "classes"}
KINDS = {**{kind: kind for kind in build.KINDS}, "controls": "protect"}

BUILD = """
import importlib, json, sys
import ml_collections

def none(value, name):
  if isinstance(value, ml_collections.ConfigDict):
    return [x for k, v in value.items(preserve_field_references=True) for x in none(v, f"{name}.{k}")]
  return [name] if value is None else []

out = {}
for path, args in json.loads(sys.argv[1]).items():
  module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
  for arg in args:
    config = module.get_config(arg)
    out[f"{path}:{arg}"] = {"config": config.to_dict(), "none": none(config, "config"),
                            "again": config.to_dict() == module.get_config(arg).to_dict()}
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"jax", "ue_jax", "numpy", "flax", "optax"})
json.dump({"heavy": heavy, "configs": out}, sys.stdout, default=list)
"""


def arguments(path):
  """The sizes, and what else the docstring shows after the colon (`folder`)."""
  text = (ROOT / path).read_text()
  shown = re.findall(re.escape(path) + r":(\w+)", text)
  released = common.RELEASED if "RELEASED" in text else ()
  return list(dict.fromkeys(["", "tiny", "small", "full", *shown, *released]))


CASES = [f"{path}:{arg}" for path in PATHS for arg in arguments(path)]


@pytest.fixture(scope="module")
def built():
  asked = json.dumps({path: arguments(path) for path in PATHS})
  command = [sys.executable, "-c", BUILD, asked]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def stages(config, prefix="config"):
  """`(kind, stage, field)` of everything in the config that has a `name`."""
  for key, value in config.items():
    if key in KINDS and isinstance(value, Mapping):
      many = {"": value} if isinstance(value.get("name"), str) else value
      for name, stage in many.items():
        if isinstance(stage, Mapping) and stage.get("name"):
          own = described(stage) if key == "model" else stage
          yield KINDS[key], own, f"{prefix}.{key}" + (f".{name}" if name else "")
          if isinstance(stage.get("surrogate"), Mapping):
            yield from stages({"surrogate": stage["surrogate"]}, f"{prefix}.{key}.{name}")
    elif key == "reference" and isinstance(value, Mapping):
      yield "method", value, f"{prefix}.reference"
    elif key == "surrogate" and isinstance(value, Mapping):
      if "name" in value:
        yield "model", {k: v for k, v in value.items() if k != "path"}, f"{prefix}.surrogate"
      else:
        yield from stages(value, f"{prefix}.surrogate")


def described(stage):
  """A network without the `path` of its weights, which `load` reads, unless the network itself is described there."""
  module = importlib.import_module(f"ue_jax.{stage['name']}")
  apart = "path" in stage and "path" not in inspect.signature(module.model).parameters
  assert not apart or callable(getattr(module, "load", None)), f"{stage['name']} loads no weights"
  return {k: v for k, v in stage.items() if k != "path" or not apart}


def test_configs_of_several_rooms_were_found():
  assert {path.split("/")[1] for path in PATHS} >= {"protect", "cluster", "forget"}


def test_all_configs_build_without_jax(built):
  assert built["heavy"] == [], "configs import ml_collections only"


@over("case", CASES)
def test_a_config_holds_no_none_and_is_a_pure_function(built, case):
  found = built["configs"][case]
  assert found["none"] == [], "use config_dict.placeholder(type), or leave the field out"
  assert found["again"]
  assert found["config"].get("data"), "an experiment begins with data"


@over("case", CASES)
def test_every_field_of_a_stage_is_an_argument_of_its_factory(built, case):
  found = list(stages(built["configs"][case]["config"]))
  assert found, "no stage at all"
  for kind, stage, field in found:
    factory = build.find(kind, stage["name"])  # raises Invalid if there is none
    parameters = inspect.signature(factory).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in stage:
      assert name == "name" or name in parameters or open_ended, f"{field}.{name}: {stage['name']} has no such argument"
    for name, parameter in parameters.items():
      needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
      assert not needed or name in stage or name in HANDED, f"{field}: {stage['name']} needs {name}"


def test_a_config_without_the_sizes_of_released_models_refuses_them():
  """Else it would train a small network from nothing under the name of a large one."""
  for path in PATHS:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for arg in common.RELEASED:
      if f"{path}:{arg}" in CASES:
        assert module.get_config(arg).model.name == "models.decoder", path
      else:
        with pytest.raises(ValueError, match="config size"):
          module.get_config(arg)


@over("case", CASES)
def test_the_experiment_plans_every_config(built, case):
  from experiments import plan

  config = built["configs"][case]["config"]
  plan.unknown_fields(config)
  made = plan.plan(config)
  seen = set()
  for hash, stage in made.stages.items():
    assert set(stage.needs.values()) <= seen, f"{stage.title} is planned before what it needs"
    seen.add(hash)


@over("path", PATHS)
def test_a_config_says_what_it_is_how_to_run_it_and_what_to_expect(path):
  text = (ROOT / path).read_text()
  assert text.startswith('"""'), "begin with a docstring"
  shown = text.split('"""')[1]
  assert f"python -m experiments.run --config {path}" in shown, "show the command"
