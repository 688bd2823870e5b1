"""What every protection does with what is odd: grey pictures of odd sizes, no budget, all of it, missing labels."""

import functools
import importlib
import inspect

import jax
import numpy as np
import pytest

from ue_jax.core import build
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.models import mlp
from ue_jax.train import loop

N, CLASSES, SHAPE = 24, 3, (9, 11, 1)
METHODS = build.factories("protect")
BUDGETED = [name for name in METHODS if "eps" in inspect.signature(build.find("protect", name)).parameters]
SMALL = {
  "steps": 2, "batch_size": 8, "k": 3, "restarts": 1, "parts": 1, "inner": 1, "noise_steps": 1, "network_steps": 1,
  "samples": 1, "attack_steps": 1,
}  # fmt: skip
BLIND = {"protect.unlearnable_clusters", "protect.noise"}  # need no label (noise: in its kind `sample`)
# no `painter`: the noise of `rem` is read off what it published, `t2ue` paints by captions (`text_painter`)
NO_FOLDERS = {"protect.rem", "protect.t2ue"}
LARGEST = {"protect.ar": 255.0}  # its budget is a norm, not a height
every = pytest.mark.parametrize("name", METHODS)
budgeted = pytest.mark.parametrize("name", BUDGETED)


@pytest.fixture(scope="module")
def data():
  draw = np.random.default_rng(0)
  image = draw.integers(0, 256, (N, *SHAPE)).astype(np.uint8)
  label, index = np.arange(N, dtype=np.int32) % CLASSES, np.arange(N, dtype=np.int32)
  sets = {"train": index[:15], "test": index[18:], "known": index[15:18]}
  return Data({"image": image, "label": label, "index": index}, sets, {"labels": {"label": ["a", "b", "c"]}})


@functools.cache
def network(classes=CLASSES):
  model = mlp.model(classes=classes, widths=(8,))
  return Subject(model, *model.init(jax.random.key(7), np.zeros((1, *SHAPE), np.uint8)))


def make(name, classes=CLASSES, **given):
  takes = inspect.signature(build.find("protect", name)).parameters
  found = {key: value for key, value in SMALL.items() if key in takes}
  found |= {"model": network(classes).model} if "model" in takes else {}
  found |= {"surrogate": network(classes)} if "surrogate" in takes else {}
  return build.build("protect", name, **{**found, **given})


def protected(data, name, **given):
  return loop.fit(make(name, **given), data, seed=0)


def crafted(data, name, **given):
  """The state after the last step, and the protected Data."""
  procedure = make(name, **given)
  state, step = procedure.init(jax.random.key(0), data), jax.jit(procedure.step)
  for t in range(procedure.steps):
    state = step(state, procedure.batch(0, data, t))[0]
  return state, procedure.finish(state, data)


@every
def test_grey_pictures_of_an_odd_size_are_protected_and_painted_alike(name, data):
  state, after = crafted(data, name)
  after = after.arrays["image"]
  assert after.shape[1:] == SHAPE and after.dtype == np.uint8
  rows = data.sets["train"]
  assert (after[rows] != data.arrays["image"][rows]).any((1, 2, 3)).mean() > 0.5, "nothing is done to them"
  module = importlib.import_module(f"ue_jax.{name}")
  if not hasattr(module, "painter"):
    assert name in NO_FOLDERS, "a person cannot protect a folder with it"
    return
  paint = module.painter(state, data)
  for row in rows[:3]:
    np.testing.assert_array_equal(paint(data.arrays["image"][row], row), after[row])
  large = paint(np.full((40, 31, 1), 128, np.uint8), rows[0])
  assert large.shape == (40, 31, 1) and large.dtype == np.uint8


@budgeted
def test_without_a_budget_no_byte_changes(name, data):
  after = protected(data, name, eps=0.0).arrays["image"]
  np.testing.assert_array_equal(after[:N], data.arrays["image"])


@budgeted
def test_no_budget_below_nothing_or_without_end_is_taken(name):
  for bad in (-0.1, float("nan"), float("inf")):
    with pytest.raises(Invalid, match=r"protect\.eps"):
      make(name, eps=bad)


@pytest.mark.parametrize("name", [name for name in BUDGETED if name not in LARGEST])
def test_the_whole_range_is_a_budget_and_more_is_none(name, data):
  after = protected(data, name, eps=1.0).arrays["image"]
  assert (after[: len(data.sets["train"])] != data.arrays["image"][: len(data.sets["train"])]).any()
  with pytest.raises(Invalid, match=r"protect\.eps"):
    make(name, eps=1.5)


@pytest.mark.parametrize("name", sorted(set(METHODS) - BLIND))
def test_a_labelling_that_is_missing_is_named(name, data):
  with pytest.raises(Invalid, match="no such labelling"):
    protected(data, name, label="no such labelling")
  arrays = {key: value for key, value in data.arrays.items() if key != "label"}
  with pytest.raises(Invalid, match="label"):
    protected(Data(arrays, data.sets, {"labels": {}}), name)


@pytest.mark.parametrize("name", sorted(BLIND))
def test_what_needs_no_label_never_asks_for_one(name, data):
  arrays = {key: value for key, value in data.arrays.items() if key != "label"}
  after = protected(Data(arrays, data.sets, {"labels": {}}), name).arrays["image"]
  np.testing.assert_array_equal(after, protected(data, name).arrays["image"])


@every
def test_one_class_is_protected_or_refused_by_name(name, data):
  arrays = {**data.arrays, "label": np.zeros(N, np.int32)}
  alone = Data(arrays, data.sets, {"labels": {"label": ["only"]}})
  try:
    after = protected(alone, name, classes=1)
  except Invalid as refused:
    assert any(word in str(refused) for word in ("class", "two texts"))
    assert name not in (*BLIND, "protect.cuda"), "these need no two classes"
  else:
    assert (after.arrays["image"][:15] != data.arrays["image"][:15]).any()


@every
def test_a_set_without_rows_is_named(name, data):
  with pytest.raises(Invalid, match="train"):
    protected(Data(data.arrays, {k: v for k, v in data.sets.items() if k != "train"}, data.info), name)
