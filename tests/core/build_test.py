"""Building by path: modules are the registry, signatures the schema."""

import inspect

import pytest

from ue_jax.core import build as builder
from ue_jax.core.errors import Invalid


def test_build_calls_the_factory_of_the_module():
  model = builder.build("model", "models.mlp", classes=3)
  assert callable(model.init) and callable(model.apply)


def test_modules_are_found_on_disk():
  assert {"core.nouns", "train.loop", "parallel.spread"} <= set(builder.modules())


def test_factories_lists_those_that_offer_the_kind():
  found = builder.factories("train")
  assert {"train.supervised", "train.language"} <= set(found) and "train.loop" not in found


@pytest.mark.parametrize("name", ["models.nothing", "os", "../models.mlp", "models.mlp.model", ""])
def test_an_unknown_module_is_refused_and_the_known_ones_listed(name):
  with pytest.raises(Invalid, match="models.mlp"):
    builder.find("model", name)


def test_a_module_without_that_factory_is_refused():
  with pytest.raises(Invalid, match="offers no 'train'"):
    builder.find("train", "models.mlp")


def test_an_unknown_argument_is_named_with_the_known_ones():
  with pytest.raises(Invalid, match="model.widht.*widths"):
    builder.build("model", "models.mlp", widht=3)


def test_a_missing_argument_is_named():
  with pytest.raises(Invalid, match="train.model.*missing"):
    builder.build("train", "train.supervised", steps=3)


def test_a_factory_may_have_arguments_called_kind_and_name():
  assert callable(builder.build("protect", "protect.noise", kind="clean").step)


def test_equal_settings_give_one_and_the_same_and_what_cannot_be_hashed_is_made_anew():
  made = []

  @builder.remembered
  def factory(steps=1, rate=0.1, names=()):
    """What it makes."""
    made.append((steps, rate, names))
    return object()

  assert factory(steps=2) is factory(steps=2) and factory(steps=2) is not factory(steps=3)
  assert factory(rate=1) is not factory(rate=1.0), "a whole number is not a float"
  assert factory(names=["a"]) is not factory(names=["a"])
  assert factory(names={"a": {"b": 1}}) is factory(names={"a": {"b": 1}}) is not factory(names={"a": {"b": 1.0}})
  assert factory(names={"a": ["b"]}) is not factory(names={"a": ["b"]})
  assert len(made) == 10 and inspect.signature(factory).parameters["rate"].default == 0.1
