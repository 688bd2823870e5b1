"""Several requests to forget in one experiment: the same trained model is asked for one thing, and for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.check import check
from ue_jax.core.errors import require

PARTS = ("select", "method")  # what a request may change


def requests(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
  """Name -> the config as it is for that request: `{"": config}` without `requests`.

  Raises:
    Invalid: for a request that is no dict of `select` and `method`, or whose methods are not what a factory takes.
  """
  found = config.get("requests")
  if not found:
    return {"": config}
  fix = "give dict(tenth=dict(select=dict(name='data.splits')))"
  require(isinstance(found, Mapping), "config.requests", found, fix)
  out = {}
  for name, change in found.items():
    good = isinstance(change, Mapping) and set(change) <= set(PARTS)
    require(good, f"config.requests.{name}", change, "give dict(select=dict(...), method=dict(...)), or one of the two")
    select = {"select": change["select"]} if "select" in change else {}
    out[name] = {**config, **select, "method": _methods(config["method"], change.get("method", {}), name)}
  return out


def _methods(usual: Mapping[str, Any], changes: Mapping[str, Any], request: str) -> dict[str, Any]:
  """The methods of the experiment, with those that a request changes: whole ones have a `name`, others are fields."""
  fix = "give several methods by name, as dict(npo=dict(name='forget.npo'))"
  require(not isinstance(usual.get("name"), str), "config.method", usual, fix)
  out = dict(usual)
  for name, change in changes.items():
    field = f"config.requests.{request}.method.{name}"
    require(isinstance(change, Mapping), field, change, "give the fields that differ, or a method with a name")
    out[name] = change if "name" in change else {**usual.get(name, {}), **change}
    check("method", out[name], field)
  return out


def parts(plan: Any, scores: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any, list[Mapping[str, Any]]]]:
  """Every request of an experiment as if it were alone: its name, and its share of the `plan.Plan` and the scores."""
  for name in dict.fromkeys(cell.group for cell in plan.cells):
    cells = tuple(cell for cell in plan.cells if cell.group == name)
    yield name, plan._replace(cells=cells), [s for s in scores if s["group"] == name]
