"""What every config shares: the three sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SIZES = ("tiny", "small", "full")


def sizes(arg: str = "", *more: str) -> tuple[str, Callable[..., Any]]:
  """Reads a config's argument.

  Args:
    arg: what stands after the colon of `--config FILE:size`; empty means `full`.
    *more: further names that this config knows (`folder`).

  Returns:
    The size, and a function that picks by it: `pick(tiny=2, small=10, full=100)`. A size not named falls back to
    the next smaller one that is; a further name falls back to `small`.

  Raises:
    ValueError: for a size that the config does not have; the message lists those it has.
  """
  size = arg or "full"
  if size not in (*SIZES, *more):
    raise ValueError(f"config size = {size!r}: choose one of {', '.join((*SIZES, *more))}")

  def pick(**values: Any) -> Any:
    if size in values:
      return values[size]
    rank = SIZES.index(size) if size in SIZES else SIZES.index("small")
    smaller = [values[name] for name in reversed(SIZES[: rank + 1]) if name in values]
    if not smaller:
      raise ValueError(f"config size = {size!r}: this config gives no value for it, only for {sorted(values)}")
    return smaller[0]

  return size, pick
