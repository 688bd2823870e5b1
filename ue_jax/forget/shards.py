"""Which shard and which slice a sample belongs to, and what each shard learns from at each step.

Both follow from the identity of the sample alone, so taking samples out moves no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.data import stream
from ue_jax.train import batches

Rows = list[list[np.ndarray]]  # [shards][slices] -> positions


def places(index: np.ndarray, shards: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
  """Shard in 0..shards - 1 and slice in 0..slices - 1 of samples, each alike: int64 `[n]` both.

  Args:
    index: identities, int `[n]`, >= 0.
    shards, slices: how many there are.
  """
  index = np.asarray(index, np.int64)
  pick = stream.integers(0, "shards/places", shards * slices, int(index.max(initial=0)) + 1)[index]
  return pick % shards, pick // shards


def dealt(data: Data, name: str, shards: int, slices: int) -> Rows:
  """The positions of the set `name` by shard and slice; some may be empty."""
  rows = np.sort(np.asarray(data.sets[name]))
  shard, part = places(data.arrays["index"][rows], shards, slices)
  return [[rows[(shard == s) & (part == r)] for r in range(slices)] for s in range(shards)]


def draw(
  data: Data, rows: Rows, seed: int, t: int, slice_steps: int, size: int, label: str
) -> dict[str, np.ndarray]:
  """What every shard sees at step `t`: `image` `[shards, b, ...]`, `label` and `mask` `[shards, b]`.

  In stage r = t // slice_steps a shard draws from its slices 0 ... r, in epochs of its own. A shard that has nothing
  sees padding.
  """
  stage, now = divmod(t, slice_steps)
  out = [_one(np.concatenate(parts[: stage + 1]), seed + 7919 * (1 + s) + 104729 * stage, now, size)
         for s, parts in enumerate(rows)]
  at, mask = (np.stack(x) for x in zip(*out))
  return {"image": data.arrays["image"][at], "label": data.arrays[label][at].astype(np.int32), "mask": mask}


def _one(rows: np.ndarray, seed: int, t: int, size: int) -> tuple[np.ndarray, np.ndarray]:
  if not len(rows):
    return np.zeros(size, np.int64), np.zeros(size, np.float32)
  return rows[batches.shuffled(seed, len(rows), size, t)], np.ones(size, np.float32)


def remembering(make: Callable[[Any], Rows]) -> Callable[[Any], Rows]:
  """`make(problem)` that looks again only if it is asked about another problem."""
  held: dict[str, Any] = {}

  def find(problem):
    """The rows."""
    if held.get("problem") is not problem:
      held.update(problem=problem, rows=make(problem))
    return held["rows"]

  return find
