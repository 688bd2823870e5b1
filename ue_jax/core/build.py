"""No registry: the file system is the registry, the signature is the schema."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ue_jax
from ue_jax.core.errors import Invalid

KINDS = ("data", "protect", "defend", "train", "select", "method", "attack", "cluster", "measure", "model", "plan")


def modules() -> Iterator[str]:
  """Names of all modules of the package, without the leading `ue_jax.`."""
  for found in pkgutil.walk_packages(ue_jax.__path__, prefix="ue_jax."):
    if not found.ispkg:
      yield found.name.removeprefix("ue_jax.")


def factories(kind: str) -> list[str]:
  """Names of the modules that offer a factory called `kind` (imports every module)."""
  return [name for name in modules() if callable(vars(importlib.import_module(f"ue_jax.{name}")).get(kind))]


def find(kind: str, name: str) -> Callable[..., Any]:
  """The factory `kind` of the module `ue_jax.<name>`.

  Raises:
    Invalid: if there is no such module or it has no such factory; the message lists what exists.
  """
  field = f"{kind}.name"
  parts = str(name).split(".")
  if not all(part.isidentifier() for part in parts) or not _is_module(f"ue_jax.{name}"):
    raise Invalid(field, name, f"choose one of {factories(kind)}")
  factory = getattr(importlib.import_module(f"ue_jax.{name}"), kind, None)
  if not callable(factory):
    raise Invalid(field, name, f"it offers no '{kind}'; choose one of {factories(kind)}")
  return factory


def build(kind: str, name: str, /, **kwargs: Any) -> Any:
  """Calls the factory `kind` of `ue_jax.<name>` with `kwargs`: config fields are keyword arguments.

  Example: `build("protect", "protect.cuda", blur=0.3)`.

  Raises:
    Invalid: for an unknown module, kind or argument, or a missing one; the message names the nearest.
  """
  factory = find(kind, name)
  signature = inspect.signature(factory)
  open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
  for key in kwargs:
    if key not in signature.parameters and not open_ended:
      raise Invalid(f"{kind}.{key}", kwargs[key], f"{name} takes {list(signature.parameters)}")
  for key, parameter in signature.parameters.items():
    gathers = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    optional = parameter.default is not parameter.empty or gathers
    if not optional and key not in kwargs:
      raise Invalid(f"{kind}.{key}", "(missing)", f"{name} needs it")
  return factory(**kwargs)


def remembered(factory: Callable[..., Any]) -> Callable[..., Any]:
  """The factory that gives one and the same result for equal settings: what was compiled for it serves again.

  Settings may be nested dicts. What cannot be hashed (arrays, a subject, a traced number) is made anew every time.
  """
  held = functools.lru_cache(maxsize=32, typed=True)(factory)

  @functools.wraps(factory)
  def make(*args: Any, **kwargs: Any) -> Any:
    kwargs = {name: _Nested(x) if type(x) is dict else x for name, x in kwargs.items()}
    try:
      hash((args, *kwargs.values()))
    except TypeError:
      return factory(*args, **kwargs)
    return held(*args, **kwargs)

  return make


class _Nested(dict):
  """Nested settings, which nobody changes: equal ones, of equal types, are one key."""

  def _key(self) -> tuple:
    return tuple((name, type(x), _Nested(x)._key() if isinstance(x, dict) else x) for name, x in sorted(self.items()))

  def __hash__(self) -> int:
    return hash(self._key())

  def __eq__(self, other: object) -> bool:
    return isinstance(other, _Nested) and self._key() == other._key()


def with_options(own: Callable, of: Callable, without: Sequence[str] = ()) -> inspect.Signature:
  """The signature of `own` with the keyword arguments of `of` that have defaults in the place of its `**options`.

  For a factory that hands its options on to another, all but those named in `without`: what a config may say is read
  from signatures.
  """
  kept = [p for p in inspect.signature(own).parameters.values() if p.kind is not p.VAR_KEYWORD]
  names = {p.name for p in kept} | set(without)
  more = inspect.signature(of).parameters.values()
  return inspect.Signature([*kept, *(p for p in more if p.name not in names and p.default is not p.empty)])


def _is_module(path: str) -> bool:
  """Whether there is a module of this dotted name that is no package; nothing but its packages is imported."""
  try:
    spec = importlib.util.find_spec(path)
  except ModuleNotFoundError:
    return False
  return spec is not None and spec.submodule_search_locations is None
