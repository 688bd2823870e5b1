"""Several short token sequences in one row: nothing is computed for padding.

Source: Krell et al., "Efficient Sequence Packing without Cross-contamination: Accelerating Large Language Models
without Impacting Performance", 2021: the longest sequence that is left goes into the fullest row that has room for it
(best fit decreasing). What keeps sequences apart is `segment`: a model that is told of it (`models.attention.Packed`)
attends within a segment only and counts positions from its beginning: every sequence has the loss that it has alone.
"""

from __future__ import annotations

import numpy as np

from ue_jax.core.errors import require


def pack(ids: np.ndarray, mask: np.ndarray, length: int) -> dict[str, np.ndarray]:
  """The sequences in rows of `length`, as few as best fit decreasing finds, in an order that depends on nothing else.

  Args:
    ids: int `[n, t]`.
    mask: float `[n, t]`, 1 where there is a target. A sequence ends with its last target: no loss sees what is behind.
    length: of the rows.

  Returns:
    `ids` int32, `mask` float32 and `segment` int32 `[rows, length]`; the sequences of a row are its segments 1, 2, ...,
    0 is padding. The first token of a segment is never a target. `row`, `start`: int32 `[n]`, where each sequence is.

  Raises:
    Invalid: for rows shorter than the longest sequence, or no sequence.
  """
  require(len(ids) > 0, "train.pack", length, "give at least one sequence")
  widths = _widths(mask)
  longest = int(widths.max())
  require(length >= longest, "train.pack", length, f"give at least {longest}, the length of the longest sequence")
  row, start, order = places(widths, length)
  shape = (int(row.max()) + 1, length)
  out = {"ids": np.zeros(shape, np.int32), "mask": np.zeros(shape, np.float32), "segment": np.zeros(shape, np.int32)}
  for i in order.tolist():
    r, at, w = row[i], start[i], widths[i]
    out["ids"][r, at : at + w], out["mask"][r, at : at + w] = ids[i, :w], mask[i, :w]
    out["segment"][r, at : at + w] = 1 + (out["segment"][r, at - 1] if at else 0)
    out["mask"][r, at] = 0
  return out | {"row": row, "start": start}


def places(widths: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The row and the first column of each of `n` sequences, and the order in which they were placed; int32 `[n]` each.

  Args:
    widths: int `[n]`, from 1 to `length`.
    length: of the rows.
  """
  room: list[list[int]] = [[] for _ in range(length + 1)]  # rows by how many columns are left in them
  row, start = np.zeros(len(widths), np.int32), np.zeros(len(widths), np.int32)
  order, rows = np.argsort(-widths, kind="stable").astype(np.int32), 0
  for i in order.tolist():
    w = int(widths[i])
    left = next((c for c in range(w, length) if room[c]), length)
    if left == length:
      row[i], rows = rows, rows + 1
    else:
      row[i] = room[left].pop()
    start[i] = length - left
    room[left - w].append(int(row[i]))
  return row, start, order


def _widths(mask: np.ndarray) -> np.ndarray:
  """Columns up to the last target of each sequence, int64 `[n]`; 1 for a sequence without any."""
  there = mask > 0
  return np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1), 1)
