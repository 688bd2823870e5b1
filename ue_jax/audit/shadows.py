"""Shadow models: the statistics that LiRA and U-LiRA share, and the networks they need, trained as one program.

Carlini et al., "Membership Inference Attacks From First Principles", 2022 (LiRA): phi = log(p_y / (1 - p_y)) of one
sample is close to normal over models trained with it, and over models trained without it. Which of the two an observed
phi fits better says whether the sample was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ue_jax.audit import outputs
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import Procedure
from ue_jax.parallel import many

POOLED = 64  # models a side below which all samples share one spread; as published 64 on both sides together
FLOOR = 1e-6  # of a standard deviation


def log_ratio(observed: np.ndarray, phi: np.ndarray, inside: np.ndarray, pooled: bool | None = None) -> np.ndarray:
  """log N(observed; with) - log N(observed; without) of every sample: above 0 it looks trained on, float64 `[..., m]`.

  Args:
    observed: float `[..., m]`, phi of m samples under the models asked about.
    phi: float `[models, m]`, under the shadow models.
    inside: bool `[models, m]`, which of them were trained on which sample; at least two with and two without each.
    pooled: one spread for all samples a side; None: if some sample has fewer than 64 models a side.

  Raises:
    Invalid: for a sample with fewer than two models a side, or values that are not finite.
  """
  inside = np.asarray(inside, bool)
  least = int(min(inside.sum(0).min(), (~inside).sum(0).min()))
  require(least >= 2, "measure.shadows", least, "give more shadow models: a sample has fewer than two on a side")
  require(bool(np.isfinite(phi).all() and np.isfinite(observed).all()), "measure.subject", "phi not finite", "check it")
  pooled = least < POOLED if pooled is None else pooled
  ways = [_normal(np.asarray(observed, np.float64), phi, where, pooled) for where in (inside, ~inside)]
  return ways[0] - ways[1]


def _normal(observed: np.ndarray, phi: np.ndarray, where: np.ndarray, pooled: bool) -> np.ndarray:
  """log N of the normal fitted to the values `where` of each column, without the constant."""
  count = where.sum(0)
  mean = np.where(where, phi, 0.0).sum(0) / count
  squares = np.where(where, np.square(phi - mean), 0.0).sum(0)
  variance = squares.sum() / (count - 1).sum() if pooled else squares / (count - 1)
  sd = np.maximum(np.sqrt(variance), FLOOR)
  return -np.square((observed - mean) / sd) / 2 - np.log(sd)


def rates(inside: np.ndarray, outside: np.ndarray, at: Sequence[float] = (0.001, 0.01)) -> list[float]:
  """The true positive rate at each false positive rate: the share of `inside` above what so few of `outside` exceed.

  Args:
    inside: float `[a]`, scores of samples trained on (larger: more like it).
    outside: float `[b]`, of others. A rate finer than 1 / b allows no false positive at all.
    at: false positive rates.
  """
  ordered = np.sort(outside)[::-1]
  cuts = [ordered[min(int(np.floor(rate * len(ordered) + 1e-9)), len(ordered) - 1)] for rate in at]
  return [float(np.mean(inside > cut)) for cut in cuts]


def halves(n: int, models: int, seed: int = 0) -> np.ndarray:
  """Which of n samples each model is given, bool `[models, n]`: a random half, rounded down.

  Every sample is given to half of the models (of an odd number to fewer, at times): two and two models are each other's
  complement.

  Args:
    n: samples, at least 2.
    models: an even number, at least 4.
    seed: names the choice.

  Raises:
    Invalid: for fewer samples or models, or an odd number of models.
  """
  require(n >= 2, "measure.sets", n, "give at least two samples")
  require(models >= 4 and models % 2 == 0, "measure.shadows", models, "give an even number of models, at least 4")
  rng = np.random.default_rng(seed)
  out = np.zeros((models, n), bool)
  for i in range(0, models, 2):
    order = rng.permutation(n)
    out[i, order[: n // 2]] = True
    out[i + 1, order[n // 2 : n // 2 * 2]] = True  # of an odd number one sample is in neither: batches keep their shape
  return out


def seed_of(key: jax.Array, seed: int | None = None) -> int:
  """`seed`, or for None the one that a key gives: a whole number that no run counts its own trainings by.

  So every run has shadow models of its own, the same for all of its rows, and none of them begins where a model that
  they judge began.

  Args:
    key: typed random key.
    seed: what was asked for; below 0 is refused.

  Raises:
    Invalid: for a seed that is no whole number from 0.
  """
  require(seed is None or (isinstance(seed, int) and seed >= 0), "measure.seed", seed, "give a whole number >= 0")
  return int(jax.random.randint(key, (), 1000, 2**20)) if seed is None else seed


def train_many(train: Procedure, data: Data, rows: Sequence[np.ndarray], seed: int = 0) -> list[Any]:
  """One Subject a list of rows, each trained on those alone, all as one program.

  Args:
    train: Data -> Subject, on the set `train`.
    data: that has the rows.
    rows: int positions, as many for every model.
    seed: models get seed * 1000 + 0, 1, ...
  """
  problems = [Data(data.arrays, {**data.sets, "train": np.asarray(one, np.int32)}, data.info) for one in rows]
  return many.fit(train, problems, [seed * 1000 + i for i in range(len(rows))])


def confidences(subjects: Sequence[Any], data: Data, name: str, label: str = "label", chunk: int = 512) -> np.ndarray:
  """phi of every sample of the set `name` under every subject, float64 `[subjects, m]`."""
  return np.stack([outputs.outputs(one, data, (name,), label, chunk)[name].confidence() for one in subjects])
