"""What a config says: its stages read, and checked against the factories that they name."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ue_jax.core.build import find, remembered
from ue_jax.core.errors import Invalid, require

# arguments that the pipeline can supply
GIVEN = ("model", "train", "surrogate", "label", "classes", "vocabulary", "clean", "protected")
HELD = ("data", "mix")  # whose factories give Data itself
NAMES = {"pretrained": "model", "score": "cluster"}  # stage kinds which are not factories -> the factory they lean on


def clear(value: Any, empty: bool = False) -> Any:
  """Nested plain dicts without unset placeholders (None) and without empty stages.

  Args:
    empty: keep empty ones: under `defend` they stand for no defence, under `thieves` and `requests` for the usual one.
  """
  if not isinstance(value, Mapping):
    return value
  inner = {key: clear(item, key in ("defend", "thieves", "requests")) for key, item in value.items()}
  return {key: item for key, item in inner.items() if item is not None and (empty or item != {})}


def many(config: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
  """The stages under `kind`, by name: a single stage goes by the last word of its module."""
  found = config.get(kind, {})
  require(isinstance(found, Mapping), f"config.{kind}", found, "give dict(name='...'), or a dict of named ones")
  return {short(found): found} if isinstance(found.get("name"), str) else dict(found)


def short(stage: Mapping[str, Any]) -> str:
  """The last word of a stage's module: `npo` of `forget.npo`."""
  return str(stage.get("name", "")).rpartition(".")[2]


def seeds(config: Mapping[str, Any]) -> tuple[int, ...]:
  """The seeds of the trainings."""
  return whole(config, "seeds", config.get("seed", 0))


def whole(config: Mapping[str, Any], field: str, default: int) -> tuple[int, ...]:
  """The whole numbers in a field that holds one or several."""
  found = config.get(field, default)
  found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
  good = len(found) > 0 and all(isinstance(s, int) and s >= 0 for s in found)
  require(good, f"config.{field}", found, "give whole numbers, as (0, 1, 2)")
  return found


def shares(config: Mapping[str, Any]) -> tuple[float, ...]:
  """The ratios of `mix` that leave some rows clean; none without `mix`.

  Raises:
    Invalid: if it is no dict, or a ratio is not above 0 and up to 1.
  """
  mix = config.get("mix", {"ratio": 1.0})
  require(isinstance(mix, Mapping), "config.mix", mix, "give dict(ratio=(0.2, 0.5)): shares that are protected")
  found = mix.get("ratio", "(missing)")
  ratios = tuple(found) if isinstance(found, (tuple, list)) else (found,)
  number = lambda r: isinstance(r, (int, float)) and not isinstance(r, bool)
  good = len(ratios) > 0 and all(number(r) and 0 < r <= 1 for r in ratios)
  require(good, "config.mix.ratio", found, "give shares that are protected, above 0 and up to 1, as (0.2, 0.5)")
  return tuple(r for r in ratios if r < 1)


def place(config: Mapping[str, Any], stage: Mapping[str, Any], name: str = "config") -> str:
  """The dotted name of a stage in the config that holds it; empty if it is not from there."""
  inner = (place(value, stage, f"{name}.{key}") for key, value in config.items() if isinstance(value, Mapping))
  return name if config is stage else next(filter(None, inner), "")


@functools.cache
def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
  return inspect.signature(factory).parameters


def takes(kind: str, stage: Mapping[str, Any], argument: str) -> bool:
  """Whether the stage's factory has a keyword argument of this name that the config leaves open."""
  return argument not in stage and argument in _parameters(find(kind, stage["name"]))


def argument(kind: str, stage: Mapping[str, Any], name: str) -> Any:
  """The value of a keyword argument of the stage's factory, from the config or its default; None if it has none."""
  found = _parameters(find(kind, stage["name"])).get(name)
  return stage.get(name, None if found is None or found.default is found.empty else found.default)


def check(kind: str, stage: Mapping[str, Any], field: str) -> None:
  """Raises Invalid for a stage without a name, with an unknown one, or with an argument the factory does not take."""
  named = isinstance(stage, Mapping) and isinstance(stage.get("name"), str)
  require(named, field, stage, "give dict(name='room.module', ...)")
  if kind == "score":
    return
  parameters = _parameters(find(NAMES.get(kind, kind), stage["name"]))
  given = {"name", *(("path",) if kind == "pretrained" else ())}
  if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    takes_all = f"{stage['name']} takes {', '.join(parameters)}"
    for key in stage:
      if key not in parameters and key not in given:
        raise Invalid(f"{field}.{key}", stage[key], near(key, parameters) + takes_all)
  for key, p in parameters.items():
    _check_type(f"{field}.{key}", stage.get(key, p.default), p.default)
    needed = p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and key not in GIVEN
    require(not needed or key in stage, f"{field}.{key}", "(missing)", f"{stage['name']} needs it")
  if kind == "data" and isinstance(stage.get("parts"), Mapping):
    for name, part in stage["parts"].items():
      check(kind, part, f"{field}.parts.{name}")


def _check_type(field: str, value: Any, default: Any) -> None:
  """Raises Invalid for a text where the factory has a number, and the reverse."""
  number = isinstance(default, (int, float))
  require(not (number and isinstance(value, str)), field, value, f"give a number, such as {default}")
  require(not (isinstance(default, str) and isinstance(value, (int, float))), field, value, "give a text")


def near(word: str, words: Iterable[str]) -> str:
  """The beginning of an advice: the most similar of the words, if one is."""
  found = difflib.get_close_matches(word, list(words), 1)
  return f"did you mean {found[0]}? " if found else ""


def make(kind: str, config: Mapping[str, Any], **more: Any) -> Any:
  """Calls the factory of a stage with its config as keyword arguments; `check` has looked at their names.

  Equal settings give one and the same Procedure: what was traced and compiled for the first of eight trainings serves
  the others.
  """
  arguments = {**config, **more}
  factory = find(kind, arguments.pop("name"))
  return (factory if kind in HELD else _remembered(factory))(**arguments)


_remembered = functools.lru_cache(maxsize=32)(remembered)
