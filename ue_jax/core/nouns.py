"""The five nouns: everything that passes from one stage of an experiment to the next.

All are NamedTuples. `Data` and `Scores` hold host (numpy) arrays, because they are written to
disk between stages; `Subject.params` and `.state` are pytrees of JAX arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ue_jax.core.errors import Invalid, require


class Data(NamedTuple):
  """Samples and the named sets they belong to.

  Attributes:
    arrays: name -> array with a leading sample axis `[n, ...]`. Always holds `index` int32 `[n]`,
      the sample's identity: it survives every selection, so noise, privacy scores and forget sets
      can be traced back. Pictures are `image` uint8 `[n, height, width, channels]` (what is
      published is bytes, so the rounding of protected pictures cannot be forgotten); labellings
      are int32 `[n]`; token sequences are `ids` int32 `[n, length]` with `mask` float32 of the
      same shape, 1 where the token at that position is a target.
    sets: name -> int32 positions into the leading axis (`train`, `test`, `forget`, `retain`,
      `holdout`, ...). Positions, not indices: a set may overlap another.
    info: plain JSON values about the whole (class names, vocabulary, source).
  """

  arrays: Mapping[str, np.ndarray]
  sets: Mapping[str, np.ndarray]
  info: Mapping[str, Any] = {}

  @property
  def n(self) -> int:
    """The number of samples (`len` of a NamedTuple counts its fields)."""
    return len(self.arrays["index"])


class Subject(NamedTuple):
  """Who is trained, changed, attacked and measured.

  Attributes:
    model: a `ue_jax.models.model.Model` (a pair `init`, `apply`).
    params: pytree of trainable arrays.
    state: pytree of what the model carries beside them (batch statistics); `{}` if nothing.
    history: curves seen on the way, name -> float array `[points]`; `step` gives the abscissa.
  """

  model: Any
  params: Any
  state: Any = {}
  history: Mapping[str, np.ndarray] = {}


class Request(NamedTuple):
  """What is asked of a subject: of a `method`, an `attack` or a `measure`.

  Attributes:
    subject: the model as it is now.
    data: with the sets that the stage reads (`forget`, `retain`, `test`, ...).
    reference: the control, when there is one (the model retrained without the forget set).
    original: the subject before any method changed it, when there is one.
    clean: the data before any protection, when there was one.
    schedule: for streams of requests: names of sets, in the order in which they are asked.
  """

  subject: Subject
  data: Data
  reference: Subject | None = None
  original: Subject | None = None
  clean: Data | None = None
  schedule: tuple[str, ...] = ()


class Clustering(NamedTuple):
  """A partition of the samples.

  Attributes:
    labels: int32 `[n]`, the cluster of each sample.
    centers: float32 `[k, d]`, or None for methods that only choose medoids.
    medoids: int32 `[k]` positions of representatives, or None.
    cost: float32 scalar, the objective of the method at the end.
    steps: int32 scalar, iterations taken.
    converged: bool scalar.
  """

  labels: Any
  centers: Any = None
  medoids: Any = None
  cost: Any = None
  steps: Any = None
  converged: Any = None


class Score(NamedTuple):
  """One measured number, with how to read it.

  Attributes:
    value: the measurement.
    n: how many samples or tokens it was taken over.
    better: `low`, `high`, or `near` (close to the target is best, on either side).
    target: the value that an ideal result has, never empty: a score without a target is not a score.
    low, high: the range the value can take.
  """

  value: float
  n: int
  better: str
  target: float
  low: float = 0.0
  high: float = 1.0


Scores = Mapping[str, Score]


def check_data(data: Data, field: str = "data") -> Data:
  """Returns `data` if it is consistent, else raises `Invalid` naming what is not.

  Checks: `index` present, equal lengths, no NaN or infinity, sets in range and not empty, pictures
  uint8 with 1 or 3 channels.
  """
  require("index" in data.arrays, f"{field}.arrays", sorted(data.arrays), "add an int32 array 'index'")
  n = data.n
  for name, array in data.arrays.items():
    if len(array) != n:
      raise Invalid(f"{field}.arrays[{name}]", array.shape, f"give it {n} rows like 'index'")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
      where = np.argwhere(~np.isfinite(array))[0].tolist()
      raise Invalid(f"{field}.arrays[{name}]", f"NaN or infinity at {where}", "remove or repair those samples")
  image = data.arrays.get("image")
  if image is not None:
    shape = (image.dtype.name, image.shape)
    require(
      image.dtype == np.uint8 and image.ndim == 4 and image.shape[-1] in (1, 3),
      f"{field}.arrays[image]", shape, "give uint8 pictures [n, height, width, 1 or 3]",
    )
  for name, rows in data.sets.items():
    inside = len(rows) > 0 and rows.min() >= 0 and rows.max() < n
    require(inside, f"{field}.sets[{name}]", f"{len(rows)} positions", f"name at least one row, all within 0..{n - 1}")
  return data


def subset(data: Data, name: str) -> dict[str, np.ndarray]:
  """The arrays of the set `name`: name -> `[m, ...]`.

  Raises:
    Invalid: if the set does not exist; the message lists those that do.
  """
  if name not in data.sets:
    raise Invalid("set", name, f"choose one of {sorted(data.sets)}")
  rows = np.asarray(data.sets[name])
  return {key: array[rows] for key, array in data.arrays.items()}
