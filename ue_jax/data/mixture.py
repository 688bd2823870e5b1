"""Mixtures: protected with clean rows, and which retain row goes with which forget row.

Pairs: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, draw a retain row at random for each row of
an epoch of the forget set. `pairs` does so if nothing is said, and methods of `forget` with `pairing="random"`. Theirs
is `cyclic` if nothing is said, with a retain batch of a size of its own: then every row is kept equally often, where
as many random draws as there are rows leave out a share 1/e of them, and all recorded results were made so.
`configs/forget/pairing.py` has the pairings side by side.
"""

from __future__ import annotations

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import stream


def mix(clean: Data, protected: Data, ratio: float, seed: int = 0, *, within: str = "train") -> Data:
  """The protected data with only a share `ratio` of the set `within` protected, the rest as it was.

  The choice depends on the row's `index` and the seed alone, and smaller ratios choose subsets of
  larger ones, so that a sweep over ratios is comparable.

  Args:
    clean: before protection.
    protected: after it; its first rows are those of `clean`, others (`test_protected`) are kept as they are.
    ratio: share protected, 0 to 1.
    seed: names the choice.
    within: the set that is mixed.
  Returns:
    Data with a further array `protected` int32 `[n]` (1 where protected, 0 in other rows of `clean`) and,
    where not empty, the sets `<within>_protected` and `<within>_clean`.
  Raises:
    Invalid: for a ratio out of range or data that do not belong together.
  """
  require(0 <= ratio <= 1, "mixture.ratio", ratio, "choose a share from 0 to 1")
  require(within in clean.sets, "mixture.within", within, f"choose one of {sorted(clean.sets)}")
  n, index = clean.n, protected.arrays["index"]
  same = len(index) >= n and np.array_equal(index[:n], clean.arrays["index"])
  require(same, "mixture.protected", f"{len(index)} rows", "give the clean and the protected form of the same rows")
  rows = np.asarray(clean.sets[within])
  rows = rows[np.argsort(clean.arrays["index"][rows], kind="stable")]
  rows = rows[stream.permutation(seed, "mixture/mix", len(rows))]
  cut = round(float(ratio) * len(rows))
  parts = {f"{within}_protected": np.sort(rows[:cut]), f"{within}_clean": np.sort(rows[cut:])}
  image, flag = np.array(protected.arrays["image"]), np.ones(len(index), np.int32)
  image[:n], flag[:n] = clean.arrays["image"], 0
  image[rows[:cut]], flag[rows[:cut]] = protected.arrays["image"][rows[:cut]], 1
  sets = {**protected.sets, **{name: part.astype(np.int32) for name, part in parts.items() if len(part)}}
  return Data({**protected.arrays, "image": image, "protected": flag}, sets, protected.info)


PAIRINGS = ("random", "cyclic", "one_to_one")
ANCHORS = ("forget", "retain")


def pairs(
  forget: np.ndarray, retain: np.ndarray, size: int, seed: int, t: int, *,
  how: str = "random", anchor: str = "forget", partners: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
  """The rows of step t: which to forget, which to retain. A pure function of its arguments.

  The anchor's rows are walked epoch after epoch, each in its own random order.

  Args:
    forget, retain: positions of the two sets.
    size: rows of the anchor in a batch.
    seed: names the order.
    t: step.
    how: how partners are found: `random` (uniform, with replacement), `cyclic` (the other set is walked in
      epochs too, so that all of it is seen), `one_to_one` (each anchor row always meets the same partner).
    anchor: `forget` or `retain`, the set whose epochs count.
    partners: rows of the other set for each anchor row; 1 with `one_to_one`.
  Returns:
    (forget rows, retain rows), int32 `[size]` and `[size * partners]`, or the reverse if anchored on retain.
  Raises:
    Invalid: for an unknown `how` or `anchor`, or an empty set.
  """
  require(how in PAIRINGS, "mixture.how", how, f"choose one of {list(PAIRINGS)}")
  require(anchor in ANCHORS, "mixture.anchor", anchor, f"choose one of {list(ANCHORS)}")
  require(len(forget) > 0 and len(retain) > 0, "mixture.sets", (len(forget), len(retain)), "give two sets with rows")
  require(how != "one_to_one" or partners == 1, "mixture.partners", partners, "use 1 with one_to_one")
  first, other = (forget, retain) if anchor == "forget" else (retain, forget)
  at = stream.walk(seed, "pairs/anchor", len(first), size, t)
  with_at = beside(at, len(first), len(other), size * partners, seed, t, how)
  out = np.asarray(first, np.int32)[at], np.asarray(other, np.int32)[with_at]
  return out if anchor == "forget" else out[::-1]


def beside(at: np.ndarray, first: int, other: int, size: int, seed: int, t: int, how: str) -> np.ndarray:
  """Places in a set of `other` rows that stand beside the places `at` of a set of `first` rows at step t; see `pairs`.

  Args:
    at: int `[b]`.
    size: how many; with `one_to_one` it is `b`.
    seed, t, how: as in `pairs`.
  """
  if how == "random":
    return stream.integers(seed, f"pairs/random/{t}", other, size)
  if how == "cyclic":
    return stream.walk(seed, "pairs/other", other, size, t)
  return stream.walk(seed, "pairs/fixed", other, first, 0)[at]


def table(forget: np.ndarray, retain: np.ndarray, size: int, seed: int, steps: int, **how) -> np.ndarray:
  """The pairs of steps 0..steps-1 as one table, int32 `[steps, size, 2]` (forget, retain); `how` as in `pairs`."""
  return np.stack([np.stack(pairs(forget, retain, size, seed, t, **how), axis=-1) for t in range(steps)])
