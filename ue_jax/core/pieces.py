"""Rows in pieces of one size, for what is computed a piece at a time: one size is one compilation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ue_jax.core.errors import require


def pieces(n: int, size: int, field: str = "chunk") -> Iterator[np.ndarray]:
  """The rows 0 to n - 1 in order, in pieces of `min(size, n)`; the last is filled up with the last row.

  What is computed of them, joined, has the n values wanted first. Of no row there is no piece.

  Args:
    n: how many rows there are.
    size: rows in a piece.
    field: what an error calls the size.

  Raises:
    Invalid: for a size below 1.
  """
  require(isinstance(size, (int, np.integer)) and size >= 1, field, size, "give a whole number >= 1")
  size = min(size, n)
  return (np.minimum(np.arange(first, first + size), n - 1) for first in range(0, n, size or 1))
