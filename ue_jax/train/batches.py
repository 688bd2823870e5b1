"""Which samples step t sees: a pure function of (seed, t), so nothing has to be remembered to go on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Request
from ue_jax.data import packed as packing
from ue_jax.data import stream


@functools.lru_cache(maxsize=8)
def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
  """The order of epoch `epoch`: a permutation of 0..n-1, int32, read-only."""
  generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
  order = generator.permutation(n).astype(np.int32)
  order.setflags(write=False)
  return order


def shuffled(seed: int, n: int, size: int, t: int) -> np.ndarray:
  """Positions of batch `t`, int32 `[size]`, each in 0..n-1: the epochs' permutations laid end to end (`stream.cut`).

  All batches are full; `size` may exceed `n`.
  """
  return stream.cut(lambda epoch: permutation(seed, epoch, n), n, size, t)


def epochs(data_set: str, size: int, keys: Sequence[str]) -> Callable[[int, Any, int], dict]:
  """The `batch` function of a Procedure: shuffled epochs over the set `data_set`.

  It takes `(seed, problem, t)` with a Data or a Request as problem and returns `{key: array[rows]}` for `keys` with
  `index`, and with `mask`: the data's own for tokens, else ones float32 `[size]`.

  Raises:
    Invalid: when called, for a set or an array that does not exist.
  """
  require(not isinstance(size, (int, float)) or size >= 1, "train.batch_size", size, "give a whole number >= 1")

  def batch(seed, problem, t):
    """The rows of step `t`."""
    data = data_of(problem)
    rows = rows_of(data, data_set)
    rows = rows[shuffled(seed, len(rows), size, t)]
    out = {key: array_of(data, key)[rows] for key in dict.fromkeys((*keys, "index"))}
    if "mask" not in out:
      out["mask"] = np.ones(size, np.float32)
    return out

  return batch


def packed(data_set: str, size: int, length: int) -> Callable[[int, Any, int], dict]:
  """The `batch` function of token sequences packed into rows of `length`: shuffled epochs over the rows.

  It takes `(seed, problem, t)` and returns `ids`, `mask` and `segment` `[size, length]` as `data.packed.pack` makes
  them, and `row` int32 `[size]`, the number of the row. Which sequences share a row is the same in all epochs.

  Raises:
    Invalid: when called, for a set that does not exist, or rows shorter than its longest sequence.
  """
  seen: dict[str, Any] = {}

  def batch(seed, problem, t):
    """The rows of step `t`."""
    data = data_of(problem)
    if seen.get("data") is not data:
      rows = rows_of(data, data_set)
      made = packing.pack(array_of(data, "ids")[rows], array_of(data, "mask")[rows], length)
      seen.update(data=data, made={key: made[key] for key in ("ids", "mask", "segment")})
    at = shuffled(seed, len(seen["made"]["ids"]), size, t)
    return {key: x[at] for key, x in seen["made"].items()} | {"row": at}

  return batch


def trimmed(batch: Callable[[int, Any, int], dict], sets: Sequence[str] = ()) -> Callable[[int, Any, int], dict]:
  """The batch function of token sequences without the columns on the right in which no sequence has a target.

  A causal model never sees them and no loss counts them: the numbers stay, the time of the padding is saved. All
  batches have one width, that of the longest sequence of the `sets` (of the Data, where none is named).
  """
  seen: dict[str, Any] = {}  # the width of the data looked at last: they are the same one step after step

  def cut(seed, problem, t):
    """The rows of step `t`, trimmed."""
    data = data_of(problem)
    if seen.get("data") is not data:
      seen.update(data=data, width=width(data, sets))
    out = batch(seed, problem, t)
    return {**out, "ids": out["ids"][:, : seen["width"]], "mask": out["mask"][:, : seen["width"]]}

  return cut


def width(data: Data, sets: Sequence[str] = ()) -> int:
  """How many columns hold all targets of the sequences of the `sets`, or of all of them; at least 1."""
  mask = array_of(data, "mask")
  places = [np.any(part > 0, axis=0) for part in ([mask[rows_of(data, name)] for name in sets] or [mask])]
  return 1 + max(int(np.max(np.flatnonzero(place), initial=0)) for place in places)


def several(**parts: Callable[[int, Any, int], dict]) -> Callable[[int, Any, int], dict]:
  """`several(forget=epochs(...), retain=epochs(...))`: a batch function of nested batches, each with its own order."""

  def batch(seed, problem, t):
    """The batches of all parts for step `t`."""
    return {name: part(seed + 7919 * i, problem, t) for i, (name, part) in enumerate(parts.items())}

  return batch


def data_of(problem: Any) -> Data:
  """The Data of a problem, which is a Data or a Request."""
  return problem.data if isinstance(problem, Request) else problem


def rows_of(data: Data, data_set: str) -> np.ndarray:
  """The positions of a set; Invalid if there is none of that name or it is empty."""
  if data_set not in data.sets:
    raise Invalid("set", data_set, f"choose one of {sorted(data.sets)}")
  rows = np.asarray(data.sets[data_set])
  require(len(rows) > 0, "set", data_set, "put at least one sample into it")
  return rows


def array_of(data: Data, key: str) -> np.ndarray:
  """An array of the data; Invalid if there is none of that name."""
  if key not in data.arrays:
    raise Invalid("array", key, f"choose one of {sorted(data.arrays)}")
  return data.arrays[key]
