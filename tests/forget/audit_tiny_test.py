"""One world for the size `small` of all base methods; what was recorded elsewhere is planned as it was."""

import importlib
import inspect
import json
import pathlib

import pytest

from configs.forget import audit_tiny
from experiments import plan, store
from ue_jax.audit import relearn
from ue_jax.core import build
from ue_jax.data import facts

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted((ROOT / "configs" / "forget").glob("*.py"))
BASE = [p.stem for p in FILES if "RELEASED" in p.read_text() and p.stem != "kgtiny"]


def small(name):
  return importlib.import_module(f"configs.forget.{name}").get_config("small").to_dict()


def shared(config):
  """Hashes of what all methods begin with, and of the control that never saw the persons."""
  cells = plan.plan(config | {"seeds": (0,)}).cells
  return {cell.row: cell.made for cell in cells if cell.row in ("original", "reference")}


@pytest.mark.parametrize("name", BASE)
def test_every_base_method_begins_with_the_same_models_in_the_world_of_the_testbed(name):
  config, bed = small(name), small("audit_tiny")
  assert shared(config) == shared(small("npo"))
  assert all(config[stage] == bed[stage] for stage in ("data", "train", "reference"))
  assert bed["model"]["positions"] == "learned" and "positions" not in config["model"]
  asked = config["measure"]["utility"]["sets"]
  assert set(bed["measure"]["utility"]["sets"]) | {"forget"} == set(asked) and "forget_alias" not in audit_tiny.KEPT
  assert config["measure"]["membership"] == bed["measure"]["membership"]
  methods = [config["method"]] if "name" in config["method"] else config["method"].values()
  for stage in methods:  # nothing but the retain sets and reading is held, everything is watched
    assert tuple(stage.get("keep", audit_tiny.KEPT)) == audit_tiny.KEPT and stage["watch"]
    assert "keep" in stage or stage.get("retain", "none") == "none"


def test_base_methods_were_found():
  assert {"npo", "whp", "adapters", "early"} <= set(BASE) and len(BASE) >= 14


def test_other_sizes_stay_with_the_smaller_world():
  tiny = importlib.import_module("configs.forget.npo").get_config("tiny")
  assert tiny.data.preset == "kgtiny" and audit_tiny.placed(tiny, "tiny") is tiny


@pytest.mark.parametrize("name", ["kgtiny", "audit_tiny"])
def test_what_is_recorded_is_what_would_be_run(name):
  recorded = json.loads((ROOT / "docs" / "results" / f"{name}_small.json").read_text())["config"]
  assert json.loads(store.dumps(small(name))) == recorded


def told(config):
  """The config as it is stored, with the arguments at their defaults too, which either side may leave out."""
  stages = {"": config["method"]} if "name" in config["method"] else config["method"]
  filled = {}
  for row, stage in stages.items():
    takes = inspect.signature(build.find("method", stage["name"])).parameters.values()
    filled[row] = {one.name: one.default for one in takes if one.default is not one.empty} | stage
  return json.loads(store.dumps(config | {"method": filled}))


RECORDED = json.loads((ROOT / "docs" / "results" / "world_small.json").read_text())["config"]


@pytest.mark.parametrize("name", BASE)
def test_what_is_recorded_of_a_base_method_is_what_would_be_run(name):
  assert told(small(name)) == told(RECORDED[name])


def test_every_recorded_base_method_is_compared():
  assert set(RECORDED) == set(BASE)


def test_two_of_the_five_persons_are_shown_again_and_three_are_held():
  config = small("npo")
  attack, measure = config["attack"]["relearn"], config["measure"]["relearn"]
  parted = {field: attack.get(field) for field in ("share", "seed", "by", "on")}
  assert parted == {field: measure.get(field) for field in parted}  # or the measure looks at other halves
  data = facts.data(**{k: v for k, v in config["data"].items() if k != "name"} | {"contexts": 0, "apart": False})
  halves = relearn.split(data, attack["share"])
  persons = {name: set(data.arrays["person"][halves.sets[name]].tolist()) for name in relearn.HALVES}
  assert [len(persons[name]) for name in relearn.HALVES] == [2, 3]
  assert not persons["relearn"] & persons["relearn_held"]
