"""The config of countermeasures: every protection under every defence, on pictures where each can do something."""

import jax
import numpy as np
import pytest

from configs.protect import countermeasures
from experiments import plan
from ue_jax.core import build
from ue_jax.core.procedure import Procedure

CONFIG = countermeasures.get_config("tiny").to_dict()
DEFENCES = {name: stage for name, stage in CONFIG["defend"].items() if stage}


def make(kind, stage):
  arguments = dict(stage)
  return build.build(kind, arguments.pop("name"), **arguments)


def run(procedure: Procedure, data):
  return procedure.finish(procedure.init(jax.random.key(0), data), data)


@pytest.fixture(scope="module")
def pictures():
  pytest.importorskip("sklearn")
  data = make("data", CONFIG["data"])
  return data, run(make("protect", CONFIG["protect"]["class"]), data)


@pytest.mark.parametrize("size", ["tiny", "small", "cifar", "full"])
def test_every_protection_meets_every_defence_and_none(size):
  made = plan.plan(countermeasures.get_config(size).to_dict())
  rows = {"clean", "sample", "class", "cuda"}
  assert set(made.variants) == rows | {f"{row} + {name}" for row in rows for name in DEFENCES}
  assert made.variants["clean"] == made.clean, "no defence is the data itself"
  assert {cell.row for cell in made.cells} == set(made.variants)


@pytest.mark.parametrize("defence", DEFENCES)
def test_each_defence_changes_the_protected_pictures_of_train(pictures, defence):
  data, protected = pictures
  rows = data.sets["train"]
  after = run(make("defend", DEFENCES[defence]), protected).arrays["image"][rows]
  assert np.mean(after != protected.arrays["image"][rows]) > 0.2


def test_grey_takes_away_what_the_channels_do_not_share(pictures):
  data, protected = pictures
  rows = data.sets["train"]
  clean = data.arrays["image"][rows].astype(float)
  grey = run(make("defend", DEFENCES["gray"]), protected).arrays["image"][rows]
  left, before = (np.abs(x - clean).mean() for x in (grey, protected.arrays["image"][rows]))
  assert 0.3 * before < left < 0.9 * before
