"""What a plan adds where `config.model` names a released model: its weights to begin with, its tokenizer for texts.

A released model is a network with a `path`: one that describes itself there and takes it (`models.decoder`), or any
that can `load` weights (`models.resnet`), whose other fields must describe the network of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.check import check, place, short, takes
from ue_jax.core.errors import require


def has_weights(config: Mapping[str, Any]) -> bool:
  """Whether the model of an experiment comes with weights: it then has a `path`."""
  return isinstance(config.get("model"), Mapping) and "path" in config["model"]


def words(config: Mapping[str, Any]) -> dict[str, Any]:
  """The released model, if the data makes ids of texts: it has to be done with the tokenizer of that model.

  Raises:
    Invalid: for a data stage or a model that is not known.
  """
  check("data", config["data"], "config.data")
  if not has_weights(config) or not takes("data", config["data"], "encode"):
    return {}
  check("pretrained", config["model"], "config.model")
  return {"words": config["model"]}


def weights(config: Mapping[str, Any], add: Callable[..., str], role: str = "config") -> str | None:
  """Adds the weights that the model comes with and returns their hash; None if it comes with none.

  Args:
    config: of the experiment, or of its surrogate.
    add: of `plan.plan`.
    role: how messages call the config.

  Raises:
    Invalid: if the training of the config cannot begin with given weights.
  """
  if not has_weights(config):
    return None
  check("pretrained", config["model"], f"{role}.model")
  if "train" in config:
    check("train", config["train"], f"{role}.train")
    fix = f"choose one that can go on from the weights in {role}.model.path, as train.language"
    require(takes("train", config["train"], "start"), f"{role}.train.name", config["train"]["name"], fix)
  return add("pretrained", config["model"], parts={"place": f"{role}.model"}, title=short(config["model"]))


def network(model: Mapping[str, Any]) -> dict[str, Any]:
  """The arguments of the factory of a network that may come with weights: without `path`, unless it reads that."""
  bare = {name: value for name, value in model.items() if name != "path"}
  return dict(model) if takes("model", bare, "path") else bare


def again(
  config: Mapping[str, Any], add: Callable[..., str], stage: Mapping[str, Any], needs: Mapping[str, str]
) -> Mapping[str, str]:
  """What a method needs: one that trains anew begins where the training began.

  Raises:
    Invalid: if it trains, and the config does not say how.
  """
  check("method", stage, place(config, stage) or "config.reference")
  if not takes("method", stage, "train"):
    return needs
  require("train" in config, "config.train", "(missing)", f"say how {stage['name']} trains, as dict(name='...')")
  start = weights(config, add)
  return {**needs, "start": start} if start else needs
