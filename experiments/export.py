"""Writes the models that a run made as folders that `transformers` loads unchanged, one a row of its tables.

A released decoder goes out with its tokenizer; one that was made here, whose words are those of the data, with
`vocabulary.json`, the list of them. What is there already is never overwritten: the same model counts as done.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import ue_jax
from experiments import store
from experiments.check import seeds
from experiments.plan import Cell, Plan
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Subject
from ue_jax.models import decoder_config, decoder_weights

MADE = ("train", "method")  # kinds of stages whose models go out; attacks and released weights do not
MODELS = ("models.decoder", "models.transformer")
ABOUT = "ue_jax.json"  # in every folder: which stage of which run it is


def check(config: Mapping[str, Any], plan: Plan, place: pathlib.Path) -> dict[str, Cell]:
  """What is to be exported, name of a folder -> its cell, judged before anything is made.

  Raises:
    Invalid: for an experiment that makes no model, a model that no released type has, one without a tokenizer, or a
      folder in which something else is.
  """
  found = folders(config, plan)
  fix = "leave it out: this experiment trains no model"
  require(len(found) > 0, "export", str(place), fix)
  model = config["model"]
  fix = f"leave it out: only {' and '.join(MODELS)} can be read by transformers, not {model['name']}"
  require(model["name"] in MODELS, "export", str(place), fix)
  if model["name"] == "models.decoder":
    importlib.import_module("ue_jax.models.decoder").describe(model["path"])
  else:
    decoder_config.describe({"vocabulary": 1, **model})
  require(not place.is_file(), "export", str(place), "it is a file; give a folder")
  for name, cell in found.items():
    done(place / name, cell)
  return found


def folders(config: Mapping[str, Any], plan: Plan) -> dict[str, Cell]:
  """Name of a folder -> the cell whose model goes there: its row, its request, and of several seeds which."""
  out = {}
  for cell in plan.cells:
    if plan.stages[cell.made].kind in MADE and plan.kind in ("forget", "train"):
      parts = (cell.row, cell.group, f"seed{cell.seed}" if len(seeds(config)) > 1 else "")
      out[re.sub(r"[^\w.-]+", "_", "-".join(filter(None, parts)))] = cell
  return out


def done(folder: pathlib.Path, cell: Cell) -> bool:
  """Whether the folder holds the model of the cell already.

  Raises:
    Invalid: if it holds something else.
  """
  if not folder.exists():
    return False
  try:
    same = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["stage"] == cell.made
  except (OSError, ValueError, KeyError, TypeError):
    same = False
  require(same, "export", str(folder), "something else is in that folder; choose another, or move it away")
  return True


def write(config: Mapping[str, Any], results: Any, place: pathlib.Path, name: str, cell: Cell) -> pathlib.Path:
  """Writes the model of one cell into its folder, whole or not at all, and returns the folder.

  Args:
    config: of the experiment.
    results: the `pipeline.Results` of a run.
    place: where the folders are.
    name: of the folder.
    cell: see `folders`.

  Raises:
    Invalid: naming the tensor, if a method changed the network to one that no released type has.
  """
  folder, draft = place / name, place / f".{name}.part"
  if done(folder, cell):
    return folder
  shutil.rmtree(draft, ignore_errors=True)
  draft.mkdir(parents=True)
  subject, data, model = results(cell.made), results(cell.data), config["model"]
  if model["name"] == "models.decoder":
    importlib.import_module("ue_jax.models.decoder").export(draft, model["path"], subject.params)
  else:
    _own(draft, subject, getattr(data, "data", data), model)
  about = {"stage": cell.made, "row": cell.row, "seed": cell.seed, "ue_jax": ue_jax.__version__}
  store.write_text(draft / ABOUT, store.dumps(about, indent=1) + "\n")
  draft.rename(folder)
  return folder


def _own(folder: pathlib.Path, subject: Subject, data: Data, model: Mapping[str, Any]) -> None:
  """A decoder that was made here, and its words."""
  if "embed" not in subject.params:
    raise Invalid("export", sorted(subject.params), "this method gives another network than it was given")
  words = len(subject.params["embed"]["embedding"])
  decoder_weights.export(folder, subject.params, decoder_config.describe({**model, "vocabulary": words}))
  named = data.info.get("vocabulary")
  if isinstance(named, (list, tuple)):
    store.write_text(folder / "vocabulary.json", store.dumps(list(named)) + "\n")
