"""What comes from outside is looked at where it enters: rows of finite numbers, and labels."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ue_jax.cluster.k_means import rows_of
from ue_jax.core.errors import Invalid, require
from ue_jax.parallel import mesh


def rows(x: Any, field: str = "cluster.x") -> jax.Array:
  """x as finite float32 `[n, d]`, neither of them 0; looks at no traced value.

  Raises:
    Invalid: naming the field, for what is ragged, text, empty, not a table, or holds NaN or infinity.
  """
  try:
    x = rows_of(x)
  except Invalid as error:
    raise Invalid(field, error.value, error.fix) from None
  require(x.ndim == 2 and x.size > 0, field, x.shape, "give rows [n, d]")
  finite(x, field)
  return x


def finite(x: Any, field: str = "cluster.x") -> None:
  """Raises Invalid if an array holds NaN or infinity; a traced one is left alone."""
  if isinstance(x, jax.core.Tracer):
    return
  if isinstance(x, jax.Array):
    with jax.ensure_compile_time_eval():  # it may be known while what is around it is traced
      fits = bool((abs(mesh.at_hand(x)) < np.inf).all())
  else:
    fits = bool(np.isfinite(x).all())
  require(fits, field, "NaN or infinity", "remove or repair those samples")


def labels(values: Any, field: str = "labels") -> np.ndarray:
  """Labels as a flat host array, whole numbers or names.

  Raises:
    Invalid: for what is ragged or holds NaN.
  """
  try:
    found = np.asarray(values).ravel()
  except ValueError as error:
    raise Invalid(field, type(values).__name__, f"give one label a sample: {error}") from None
  fits = found.dtype.kind != "f" or not np.isnan(found).any()
  require(fits, field, "NaN", "give every sample a label, -1 for noise")
  return found
