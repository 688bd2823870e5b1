"""Named sets: train and test, what to forget and what to retain. Rows never move, only positions are named.

By hand: `split` makes sets of any size, `hold_out` takes a validation set out of `train`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import stream


def balanced(labels: np.ndarray, seed: int = 0) -> np.ndarray:
  """A random order of the rows in which every prefix has each class equally often (within one row).

  Args:
    labels: integers `[n]`.
    seed: names the order.
  Returns:
    int32 `[n]` positions. A class that is used up is left out of later rounds.
  """
  labels = np.asarray(labels)
  order = stream.permutation(seed, "splits/balanced", len(labels))
  shuffled = labels[order]
  turn = np.zeros(len(labels), np.int64)  # how many of the same class come earlier
  for value in np.unique(shuffled):
    mine = shuffled == value
    turn[mine] = np.arange(mine.sum())
  return order[np.argsort(turn, kind="stable")]


def split(data: Data, sizes: Mapping[str, int], seed: int = 0, label: str = "label") -> Data:
  """Adds disjoint random sets of the given sizes, each balanced over the classes of `label`.

  Args:
    data: its existing sets stay unless they have the same name.
    sizes: set name -> number of rows (at least 1).
    seed: names the split.
    label: the labelling to balance; "" for none.
  Raises:
    Invalid: for an empty set, more rows than there are, or an unknown labelling.
  """
  n = data.n
  for name, size in sizes.items():
    require(size > 0, f"data.{name}", size, "give the set at least one row")
  require(sum(sizes.values()) <= n, "data.sizes", dict(sizes), f"ask for at most {n} rows in all")
  order = balanced(_labels(data, label) if label else np.zeros(n, np.int32), seed)
  ends = np.cumsum(list(sizes.values()))
  parts = np.split(order[: ends[-1]], ends[:-1])
  return _with(data, {name: np.sort(part) for name, part in zip(sizes, parts)})


def hold_out(data: Data, share: float, seed: int = 0, *, within: str = "train", name: str = "holdout") -> Data:
  """Takes a random share of the set `within` out of it and names it `name`.

  Raises:
    Invalid: if either part would be empty.
  """
  out = _random(_rows(data, within), share, seed, "holdout.share")
  rest = np.setdiff1d(_rows(data, within), out)
  require(len(rest) > 0, "holdout.share", share, f"leave at least one row in '{within}'")
  return _with(data, {within: rest, name: out})


def known(data: Data, rows: int, seed: int = 0, *, within: str = "train", label: str = "label") -> Data:
  """Takes `rows` random rows out of the set `within` and names them `known`; unchanged for 0.

  They are pictures with labels that somebody can trust, clean whatever is done to `train`. Balanced over the classes of
  `label`.

  Raises:
    Invalid: for a negative number, or if nothing would be left of `within`.
  """
  inside, labels = _rows(data, within), _labels(data, label)
  good = isinstance(rows, int) and 0 <= rows < len(inside)
  require(good, "data.known", rows, f"give a number of rows from 0 on, fewer than the {len(inside)} of '{within}'")
  if rows == 0:
    return data
  order = balanced(labels[inside], seed)
  return _with(data, {within: np.sort(inside[order[rows:]]), "known": np.sort(inside[order[:rows]])})


def forget_classes(
  data: Data, classes: Sequence[int], *, label: str = "label", within: str = "train", field: str = "select.classes"
) -> Data:
  """Sets `forget` (rows of `within` whose `label` is one of `classes`) and `retain` (its other rows).

  A set `test` is parted alike, as `forget_test` and `retain_test`: the classes' pictures that were never trained on.
  `field` names the setting in errors.
  """
  rows, labels = _rows(data, within), _labels(data, label)
  missing = sorted(set(classes) - set(labels[rows].tolist()))
  require(not missing, field, list(classes), f"'{within}' has no rows of class {missing}")
  asked = lambda rows: rows[np.isin(labels[rows], list(classes))]
  data = _forget(data, rows, asked(rows), field, list(classes))
  test = data.sets.get("test", rows[:0])
  parts = {"forget_test": asked(test), "retain_test": np.setdiff1d(test, asked(test))}
  return _with(data, {name: part for name, part in parts.items() if len(part)})


def forget_share(
  data: Data, share: float, seed: int = 0, *, classes: Sequence[int] = (), label: str = "label", within: str = "train",
  field: str = "select.share",
) -> Data:  # fmt: skip
  """Sets `forget` (a random share of `within`) and `retain` (its other rows); `field` names the share in errors.

  With `classes`: that share of each of these classes of `label`, and nothing of the others. The test set stays whole.
  """
  rows = _rows(data, within)
  if not len(classes):
    return _forget(data, rows, _random(rows, share, seed, field), field, share)
  fix = "give a share below 1; for whole classes leave the share out, so that the test set is parted, too"
  require(share != 1, field, share, fix)
  found = of_classes(rows, _labels(data, label)[rows], share, classes, seed, name="splits/share", field=field)
  return _forget(data, rows, found, field, share)


def of_classes(
  rows: np.ndarray, labels: np.ndarray, share: float, classes: Sequence[int], seed: int = 0, *,
  name: str = "splits/share", field: str = "share", classes_field: str = "",
) -> np.ndarray:  # fmt: skip
  """A random share of each of some classes: round(share * rows of the class) of its rows.

  Args:
    rows: positions `[n]`.
    labels: integers `[n]`, their classes.
    share: above 0, at most 1.
    classes: at least one; naming one twice is naming it.
    seed: names the choice.
    name: of the random stream, one a class.
    field: names the share in errors.
    classes_field: names the classes; empty: `field` with `classes` in the place of `share`.
  Returns:
    int32 `[m]`, ascending.
  Raises:
    Invalid: for a class without rows, or a share that is no row of one of them.
  """
  classes_field = classes_field or field.replace("share", "classes")
  missing = sorted(set(classes) - set(labels.tolist()))
  fix = f"name classes with rows; {missing} have none"
  require(len(classes) > 0 and not missing, classes_field, list(classes), fix)
  parts = [_random(rows[labels == c], share, seed, field, f"{name}/{c}") for c in sorted(set(classes))]
  return np.sort(np.concatenate(parts))


def forget_unseen(data: Data, rows: int, seed: int = 0, *, within: str = "train", unseen: str = "test") -> Data:
  """Moves `rows` random rows of `unseen` into `within`: they are the set `forget`, and what was there is `retain`.

  Released weights have learned `within` and never saw `unseen`. Trained further on both they know `forget`; trained
  further on `retain` alone they never saw it, which is training again for the price of training on.

  Raises:
    Invalid: for a number of rows below 1, or if nothing would be left of `unseen`.
  """
  inside, outside = _rows(data, within), _rows(data, unseen)
  good = isinstance(rows, int) and 0 < rows < len(outside)
  fix = f"give a number of rows from 1 on, fewer than the {len(outside)} of '{unseen}'"
  require(good, "data.forget_unseen", rows, fix)
  moved = np.sort(outside[stream.permutation(seed, "splits/unseen", len(outside))[:rows]])
  sets = {within: np.concatenate([inside, moved]), unseen: np.setdiff1d(outside, moved)}
  return _with(data, {**sets, "forget": moved, "retain": inside})


def forget_index(data: Data, index: Sequence[int], *, within: str = "train") -> Data:
  """Sets `forget` (the rows of `within` with these identities) and `retain` (its other rows)."""
  rows = _rows(data, within)
  values, counts = np.unique(np.asarray(index, np.int64), return_counts=True)
  twice = values[counts > 1].tolist()
  require(not twice, "select.index", list(index), f"name each identity once; {twice[:5]} are named more often")
  known = data.arrays["index"][rows]
  missing = np.setdiff1d(np.asarray(index, np.int64), known)
  require(not len(missing), "select.index", list(index), f"'{within}' has no rows with index {missing[:5].tolist()}")
  return _forget(data, rows, rows[np.isin(known, np.asarray(index, np.int64))], "select.index", list(index))


def forget_set(data: Data, name: str, *, within: str = "train") -> Data:
  """Sets `forget` (the rows of `within` that are in the set `name`, as `noisy`) and `retain` (its other rows)."""
  rows = _rows(data, within)
  return _forget(data, rows, rows[np.isin(rows, _rows(data, name))], "select.rows", name)


def forget(data: Data, share: float = 0.0, classes: Sequence[int] = (), seed: int = 0, unseen: int = 0) -> Data:
  """The data as `forget_share`, `forget_classes` or `forget_unseen` gives it; unchanged for 0, no class and 0.

  For factories of data with these arguments. A share and classes: that share of each of these classes.

  Raises:
    Invalid: for unseen rows beside one of the others, or if `forget` or `retain` would be empty.
  """
  require(not (unseen and (share or len(classes))), "data.forget_unseen", unseen, "set it to 0, or the others to none")
  if unseen:
    return forget_unseen(data, unseen, seed)
  if share:
    return forget_share(data, share, seed, classes=classes, field="data.forget_share")
  return forget_classes(data, classes, field="data.forget_classes") if len(classes) else data


def select(
  how: str = "share", share: float = 0.1, classes: Sequence[int] = (), index: Sequence[int] = (), rows: str = "noisy",
  label: str = "label", within: str = "train", seed: int = 0,
) -> Procedure:  # fmt: skip
  """Request -> Request: names the sets `forget` and `retain` inside the set `within`.

  Args:
    how: `share` (a random share; with `classes` of each of these), `class` (whole classes of `label`), `index`
      (identities) or `set` (another set of the data).
    share, classes, index, rows: what `how` reads; the set `noisy` holds the rows with a wrong label.
    label: the labelling of `classes`; a finer one than is trained on asks for sub-classes.
    seed: names the random share.
  Raises:
    Invalid: for an unknown `how`, or if either set would be empty.
  """
  ways = {
    "share": lambda data: forget_share(data, share, seed, classes=classes, label=label, within=within),
    "class": lambda data: forget_classes(data, classes, label=label, within=within),
    "index": lambda data: forget_index(data, index, within=within),
    "set": lambda data: forget_set(data, rows, within=within),
  }
  require(how in ways, "select.how", how, f"choose one of {sorted(ways)}")

  def choose(key, request: Request) -> Request:
    del key  # the choice is named by `seed`, so that every method is asked the same
    return request._replace(data=ways[how](request.data))

  return once(choose)


def _with(data: Data, sets: Mapping[str, np.ndarray]) -> Data:
  return Data(data.arrays, {**data.sets, **{name: rows.astype(np.int32) for name, rows in sets.items()}}, data.info)


def _rows(data: Data, name: str) -> np.ndarray:
  if name not in data.sets:
    raise Invalid("set", name, f"choose one of {sorted(data.sets)}")
  return np.asarray(data.sets[name])


def _labels(data: Data, label: str) -> np.ndarray:
  if label not in data.arrays:
    raise Invalid("label", label, f"choose one of {sorted(data.info.get('labels', data.arrays))}")
  return np.asarray(data.arrays[label])


def _random(rows: np.ndarray, share: float, seed: int, field: str, name: str = "splits/share") -> np.ndarray:
  count = round(float(share) * len(rows)) if 0 <= share <= 1 else -1
  require(count > 0, field, share, f"give a share of {len(rows)} rows, above 0 and at most 1, that is at least one row")
  return np.sort(rows[stream.permutation(seed, name, len(rows))[:count]]).astype(np.int32)


def _forget(data: Data, rows: np.ndarray, forget: np.ndarray, field: str, value) -> Data:
  retain = np.setdiff1d(rows, forget)
  require(len(forget) > 0, field, value, "name at least one row to forget")
  require(len(retain) > 0, field, value, "leave at least one row to retain")
  return _with(data, {"forget": forget, "retain": retain})
