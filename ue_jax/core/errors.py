"""The one error that a user is meant to read: which field, which value, what to do."""

import numpy as np


class Invalid(ValueError):
  """Something that came from outside is not usable.

  Raised where a config field, a file, a model or an array enters the library.
  `experiments.run` prints it as one line and exits with code 2.

  Args:
    field: the name the user knows it by (`protect.eps`, a file's path).
    value: what was given.
    fix: what to write instead, in the imperative.
  """

  def __init__(self, field: str, value, fix: str):
    self.field, self.value, self.fix = field, value, fix
    super().__init__(f"{field} = {_short(value)}: {fix}")


def require(condition: bool, field: str, value, fix: str) -> None:
  """Raises `Invalid(field, value, fix)` unless `condition` holds."""
  if not condition:
    raise Invalid(field, value, fix)


def told(value) -> bool:
  """Whether a setting is a plain number, whose range can be checked; a traced one is not."""
  return isinstance(value, (int, float, np.number))


def _short(value, limit: int = 80) -> str:
  text = " ".join(repr(value).split())
  return text if len(text) <= limit else text[: limit - 3] + "..."
