"""The rows of a protection experiment: controls and methods, mixtures with clean rows, each after each defence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from experiments.check import argument, check, many, place, shares, takes, whole
from ue_jax.core.errors import require

DEFENDED = " + "  # stands between a protection and the defence in the name of a row
MIXED = re.compile(r" ([\d.e-]+) %$")  # ends the name of a mixture, before any defence


def parts(row: str) -> tuple[str, str, str]:
  """What the name of a row says: (protection, share in percent that a mixture keeps of it or "", defence or "")."""
  protection, _, defence = row.partition(DEFENDED)
  found = MIXED.search(protection)
  return protection[: found.start()] if found else protection, found[1] if found else "", defence


def thieves(config: Mapping[str, Any], row: str = "") -> dict[str, dict[str, Any]]:
  """Name -> the config as that thief trains by it, the usual one first: `{"": config}` without `thieves`.

  Args:
    row: whom he finds: after a defence or a mixture only the usual thief comes, unless `cross` is True.

  Raises:
    Invalid: for a thief that is no dict of `model` and `train`.
  """
  found = config.get("thieves")
  if not found:
    return {"": dict(config)}
  out = {}
  for name, change in found.items():
    good = isinstance(change, Mapping) and set(change) <= {"model", "train"}
    require(good, f"config.thieves.{name}", change, "give dict(model=dict(...), train=dict(...)), or one of the two")
    model, train = change.get("model", {}), change.get("train", {})
    model = model if "name" in model else {**config.get("model", {}), **model}
    out[name] = {**config, "model": model, "train": {**config["train"], **train}}
  usual = next((name for name, change in found.items() if not change), next(iter(out)))
  alone = any(parts(row)[1:]) and not config.get("cross")
  return {usual: out[usual], **({} if alone else out)}


def variants(config: Mapping[str, Any], data: str, add: Callable[..., str], surrogate: Callable) -> dict[str, str]:
  """Row -> hash of its Data: the controls first, then the methods, with their mixtures, each after each defence.

  Where `defend` has an empty entry (no defence), mixtures meet that one alone, unless `cross` is True.

  Args:
    data: hash of the clean Data.
    add: adds a stage to the plan and returns its hash.
    surrogate: adds the surrogate of the config, or one that is given with the row it is for, and returns its hash;
      None if there is none. Given a step as `until`, the point of its training there.
  """
  defences, seed = many(config, "defend"), config.get("seed", 0)
  rows = _mixed(config, data, add, _protected(config, data, add, surrogate))
  defended = {} if defences else rows
  plain = [(name, stage) for name, stage in defences.items() if not stage.get("name")]  # without a name it is none
  for row, protected in rows.items():
    once = plain and parts(row)[1] and not config.get("cross")
    for name, stage in plain if once else defences.items():
      title = f"{row}{DEFENDED}{name}"
      if stage.get("name"):
        defended[title] = add("defend", stage, {"data": protected}, seed=seed, title=title)
      else:
        defended[row] = protected
  return defended


def _protected(config, data, add, surrogate):
  """Row -> hash; a method that needs a network gets the surrogate, or one like that of the thieves to train itself.

  A method with a field `surrogate` or `model` gets that one instead of the experiment's.
  """
  controls, seed, rows = config.get("controls", {}), config.get("seed", 0), {}
  stages = {**controls, **many(config, "protect")}
  if "clean" not in stages:
    rows["clean"] = data
  for row, stage in stages.items():
    needs, parts = {"data": data}, {}
    check("protect", stage, place(config, stage))
    own = {role: stage[role] for role in ("surrogate", "model") if role in stage}
    stage = {name: value for name, value in stage.items() if name not in own}
    if takes("protect", stage, "surrogate") and (found := surrogate(own.get("surrogate"), row)):
      needs["surrogate"] = found
      for step in _checkpoints(config, stage):
        needs[f"surrogate at {step}"] = surrogate(own.get("surrogate"), row, step)
    if takes("protect", stage, "model"):
      place_of = f"config.protect.{row}.model" if "model" in own else "config.model"
      model = {**config, **own}.get("model")
      require(model is not None, place_of, "(missing)", f"say which model {stage['name']} is made against")
      check("model", model, place_of)
      parts = {"model": model, "label": argument("protect", stage, "label")}
    keys = (seed,) if row in controls else whole(config, "keys", seed)
    for key in keys:
      name = f"{row} key {key}" if len(keys) > 1 else row
      rows[name] = add("protect", stage, needs, parts, key, name)
  return rows


def _checkpoints(config, stage) -> tuple[int, ...]:
  """The steps of the surrogate's training whose networks a protection asks for beside its last one."""
  steps, field = stage.get("checkpoints", ()), f"{place(config, stage) or 'protect'}.checkpoints"
  steps = tuple(steps) if isinstance(steps, (tuple, list)) else (steps,)
  good = all(isinstance(step, int) and step > 0 for step in steps) and len(set(steps)) == len(steps)
  require(good, field, steps, "give steps of the surrogate's training, as (100, 200)")
  return steps


def _mixed(config, data, add, rows):
  """The rows, after every protection its mixtures with clean rows, and after `clean` what of it they leave clean."""
  seed, out = config.get("seed", 0), {}
  for row, protected in rows.items():
    out[row] = protected
    for ratio in shares(config) if row == "clean" or row not in config.get("controls", {}) else ():
      stage = {"name": "data.mixture", **config["mix"], "ratio": ratio}
      title = f"{row} {100 * (1 - ratio if row == 'clean' else ratio):g} %"
      parts = {"alone": True} if row == "clean" else {}
      out[title] = add("mix", stage, {"clean": data, "protected": protected}, parts, seed, title)
  return out
