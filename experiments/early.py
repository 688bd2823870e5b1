"""What would go wrong late is named early: before any work, or as soon as there is data."""

from __future__ import annotations

import importlib
import inspect
import pathlib
from typing import Any

import jax
import numpy as np

from experiments.check import argument, make, takes
from experiments.plan import Plan, Stage
from ue_jax.core import keys
from ue_jax.core.build import find
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.models import weights as files
from ue_jax.models.model import Model
from ue_jax.train import batches

ASKED = {  # measures of answers -> the fields that name their sets
  "audit.choice": ("sets",), "audit.rouge": ("sets",), "audit.model_utility": ("plain", "normalised"),
  "audit.muse": ("verbatim", "knowledge", "members", "nonmembers"),
}  # fmt: skip


def factories(plan: Plan) -> None:
  """Builds every factory, so that a wrong value is named before hours of work.

  Networks and surrogates are not there yet: stand-ins take their places, which no factory looks into.

  Raises:
    Invalid: naming field, value and fix.
  """
  nothing = Model(None, None)
  for stage in plan.stages.values():
    if stage.kind == "pretrained":
      weights(stage)
    elif stage.kind not in ("data", "mix", "score"):
      at_hand = {"model": nothing, "surrogate": Subject(nothing, {})}
      at_hand |= {"decode": str} if stage.parts.get("words") else {}  # it shows who will read texts, and needs what for
      if "train" in stage.parts:
        at_hand["train"] = make("train", stage.parts["train"], model=nothing)
      wanted = {name: x for name, x in at_hand.items() if takes(stage.kind, stage.config, name)}
      make(stage.kind, stage.config, **wanted)


def pictures(results: Any) -> None:
  """Raises Invalid if pictures are too few to cluster or mix: once there is data, before a surrogate is trained.

  Args:
    results: the `pipeline.Results` of a run.
  """
  for stage in results.plan.stages.values():
    if stage.kind == "mix":
      both_kinds(stage, results(stage.needs["clean"]))
    if stage.kind != "protect" or results.path(stage.hash).exists():
      continue
    k, kind = argument("protect", stage.config, "k"), argument("protect", stage.config, "kind")
    if k and kind in (None, "cluster"):
      n = len(results(stage.needs["data"]).sets["train"])
      where = results.plan.stages[stage.needs["data"]].config.get("path", "train")
      require(n >= 2, "data", where, f"give at least 2 pictures that can be read, it has {n}: clusters need them")
      require(k <= n, "protect.k", k, f"use 2 to {n}, the number of pictures")


def asked(results: Any) -> None:
  """Raises Invalid if answers are to be judged of a set that there is not: once there is data, before any training.

  Args:
    results: the `pipeline.Results` of a run.
  """
  for stage in results.plan.stages.values():
    needs = stage.needs.get("data", "")
    if stage.kind != "measure" or needs != results.plan.clean:  # a selection may make sets of its own
      continue
    for field in ASKED.get(stage.config["name"], ()):
      named, sets = argument("measure", stage.config, field), results(needs).sets
      for name in (named,) * bool(named) if isinstance(named, str) else named:
        require(name in sets, f"measure.{field}", name, f"choose from {sorted(sets)}, or leave it out")


def apart(data: Data) -> Data:
  """The Data, if what is to be forgotten is something, and something else than what is retained.

  Raises:
    Invalid: for an empty set `forget`, or one with the samples of `retain`, be they the same rows or read twice.
  """
  if not {"forget", "retain"} <= set(data.sets):
    return data
  forget, retain = (np.asarray(data.sets[name]) for name in ("forget", "retain"))
  require(len(forget) > 0, "data.sets.forget", "(empty)", "name at least one sample to forget")
  content = data.arrays["ids" if "ids" in data.arrays else "image"] if {"ids", "image"} & set(data.arrays) else None
  same = len(forget) == len(retain) and (
    np.array_equal(np.sort(forget), np.sort(retain))
    or (content is not None and np.array_equal(content[forget], content[retain]))
  )
  require(not same, "data.sets.retain", f"the {len(retain)} samples of forget", "keep other samples than those")
  return data


def answers(data: Data) -> Data:
  """The Data, if every token sequence of its sets has a target: one without would be learned and known by definition.

  Rows that are in no set are neither trained on nor measured.

  Raises:
    Invalid: naming the first set and row without one. Position 0 cannot be a target: nothing stands before it.
  """
  if not {"ids", "mask"} <= set(data.arrays) or "image" in data.arrays:
    return data
  empty = ~np.any(np.asarray(data.arrays["mask"])[:, 1:] > 0, axis=1)
  fix = "mark the tokens of its answer in 'mask', behind position 0, or leave the row out of the set"
  for name, rows in data.sets.items():
    found = np.asarray(rows)[empty[np.asarray(rows)]]
    said = f"row {found[:1].tolist()} and {len(found) - 1} more: no target token"
    require(not len(found), f"data.sets.{name}", said, fix)
  return data


def both_kinds(stage: Stage, clean: Data) -> None:
  """Raises Invalid unless a mixture has at least one clean and one protected row."""
  within, ratio = argument("mix", stage.config, "within"), stage.config["ratio"]
  require(within in clean.sets, "mix.within", within, f"choose one of {', '.join(sorted(clean.sets))}")
  n = len(clean.sets[within])
  require(0 < round(ratio * n) < n, "mix.ratio", ratio, f"of the {n} rows of '{within}' it takes none or all")


def words(subject: Subject, data: Data) -> None:
  """Raises Invalid for ids beyond the words of a language model, or texts beyond what it was made for.

  JAX would read something else in the place of such ids, silently; such a text is answered with nonsense.
  """
  if "ids" in data.arrays and "embed" in subject.params:
    most, longest = subject.model.context, batches.width(data) if "mask" in data.arrays else 0
    fix = f"the model reads up to {most} tokens: shorten the texts (data.length, if they are cut into pieces)"
    require(most is None or longest <= most, "data.arrays[ids]", f"{longest} tokens in a row", fix)
    known, largest = len(subject.params["embed"]["embedding"]), int(data.arrays["ids"].max())
    fix = f"the model knows {known} words; make ids with the tokenizer that belongs to it"
    require(largest < known, "data.arrays[ids]", largest, fix)


def network(stage: Stage, subject: Subject, data: Data) -> None:
  """Raises Invalid, naming the file, if the weights of `config.model` are those of another network than it describes.

  Looked at once there are pictures: layers too many would be left out silently.
  """
  if "place" in stage.parts and "image" in data.arrays:
    wanted = jax.eval_shape(subject.model.init, keys.key(0), data.arrays["image"][:1])
    files.check((subject.params, subject.state), wanted, stage.config["path"])


def weights(stage: Stage) -> None:
  """Raises Invalid unless pretrained weights, a file or a folder with safetensors, are there.

  A model that its own folder describes is built.
  """
  name, path = stage.config["name"], stage.config.get("path", "")
  if "path" in inspect.signature(find("model", name)).parameters:
    make("model", stage.config)
    return
  load = getattr(importlib.import_module(f"ue_jax.{name}"), "load", None)
  require(callable(load), "surrogate.name", name, "choose a model that can load weights")
  if path or "path" in inspect.signature(load).parameters:
    at = pathlib.Path(path)
    there = at.is_file() or (bool(path) and any(at.glob("*.safetensors")))
    fix = "give the file of its weights, or the folder that holds them in safetensors"
    require(there, f"{stage.parts.get('place', 'surrogate')}.path", path, fix)
