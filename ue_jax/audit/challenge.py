"""The score of the NeurIPS 2023 unlearning challenge: can models that unlearned be told from models trained again?

Triantafillou et al., "Are we making progress in unlearning? Findings from the first NeurIPS unlearning competition",
2024, with every constant as in the released evaluation. Two banks of models are compared on every sample of the forget
set by its phi (`outputs.phi`): those that unlearned, and those trained again, each from a seed of its own.

A sample's epsilon is the privacy loss that the best of two families of attacks shows, from its false positive and false
negative rates:
- one threshold, 100 of them per unit of range; the bank with the larger median lies above;
- an interval; the bank of the narrower range, of width w, lies inside: 400 right ends within 2 of its largest value,
  400 left ends each, within 2 of w further left.
An attack with exactly one rate at 0 says that there are too few models and counts for nothing; one with both at 0 is
perfect. Epsilon earns 1 point below 0.5, half below 1, a quarter below 1.5, and so on. The mean over samples is F.

Equal distributions do NOT score 1: the best of 160 000 attacks finds something in finite banks. Two draws of 512 models
from one normal give F = 0.19 (means of 600 samples, standard errors of 2 to 5 %; 16 models .18), shifted by half a
standard deviation .074, by one .017, by two .0017, by six .00013 (6000 samples), with half the width .0034. The winners
of the challenge are said to lie near 0.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ue_jax.audit import outputs, shadows
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import many

DELTA = 1e-5
CAP = 50.0  # of epsilon
PER_UNIT = 100  # thresholds
REACH = 2.0  # of the ends of an interval, on either side
BIN = 0.5  # of epsilon
PEAKED = 0.01  # ranges less than this part of the other's are caught at once
LATEST = 0.2  # of the time of training again
FLOOR = 1e-45  # inside the logarithms of phi, as released


def measure(
  train: Procedure, method: Procedure | None = None, models: int = 16, label: str = "label",
  seed: int | None = None, chunk: int = 512,
) -> Procedure:  # fmt: skip
  """Request -> Scores `challenge/forgetting` (F) and `challenge/final`, larger is better. For picture classifiers.

  `challenge/final` is F times the kept shares of both accuracies, WITHOUT the challenge's last rule: that what takes
  more than a fifth of the time of training again has nothing. A measure is told no times; `final` takes them.

  The one bank is `method` from as many seeds, each time on the original, the other are trainings on `retain` alone.
  Nothing reaches 1, see above: what `forget.retrain` has as the method is what to compare with. A method that leaves
  one original where it was has a bank without spread, and is told by that: F = 0. What was not unlearned is given
  trainings of its own instead, and its row is no bound for the others.

  Args:
    train: the procedure that trained the subject.
    method: the procedure that made the audited model of the original; None: nothing was done, and the bank is of
      trainings on `train` from as many seeds.
    models: in either bank; the challenge has 512, and fewer have fewer bins (16: 6 of its 14).
    label: the labelling.
    seed: of both banks; None: from the key, another one for every run.
    chunk: samples computed at once.

  Raises:
    Invalid: for fewer than 3 models, missing sets, tokens, or a sample of which no attack says anything.
  """
  require(isinstance(models, int) and models >= 3, "measure.models", models, "give a whole number, at least 3")

  def score_of(key, request: Request) -> Scores:
    data, drawn = request.data, shadows.seed_of(key, seed)
    for name in ("train", "forget", "retain", "test"):
      require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
    less = Data(data.arrays, {**data.sets, "train": data.sets["retain"]}, data.info)
    retrained = many.fit(train, [less] * models, _seeds(drawn, 0, models))
    start = request.original or request.subject
    asked = [data] * models if method is None else [request._replace(subject=start, original=start)] * models
    unlearned = many.fit(method or train, asked, _seeds(drawn, 1, models))
    phi, kept, test = zip(*(_of(bank, data, label, chunk) for bank in (unlearned, retrained)))
    f, n = score(*phi), len(data.sets["forget"])
    most = 1 / max(kept[1] * test[1], 1e-9)
    return {
      "challenge/forgetting": Score(f, n, "high", 1.0),
      "challenge/final": Score(final(f, kept, test), n, "high", 1.0, 0.0, most),
    }

  return once(score_of)


def _seeds(seed: int, bank: int, models: int) -> list[int]:
  return [seed * 10000 + bank * 5000 + i for i in range(models)]


def _of(bank: Sequence[Any], data: Data, label: str, chunk: int) -> tuple[np.ndarray, float, float]:
  """phi of the forget set, float64 `[models, samples]`, and the mean accuracies on what is kept and in test."""
  test = "retain_test" if "retain_test" in data.sets else "test"
  seen = [outputs.outputs(one, data, ("forget", "retain", test), label, chunk) for one in bank]
  phi = np.stack([floored_phi(one["forget"].logits, one["forget"].labels) for one in seen])
  return phi, *(float(np.mean([one[name].hits().mean() for one in seen])) for name in ("retain", test))


def final(
  forgetting: float, retain: tuple[float, float], test: tuple[float, float], time_share: float | None = None
) -> float:
  """F times the kept shares of both accuracies; may exceed F where the unlearned models are better.

  Args:
    forgetting: F, from `score`.
    retain: mean accuracy on `retain` of the models that unlearned, and of those trained again (above 0).
    test: the same on test samples.
    time_share: what the method takes of the time of training again. The challenge gave nothing to what took more than a
      fifth; None leaves that out, as `measure` does, which is told no times: they stand in a table of their own.
  """
  if time_share is not None and time_share > LATEST:
    return 0.0
  return forgetting * (retain[0] / retain[1]) * (test[0] / test[1])


def score(unlearned: np.ndarray, retrained: np.ndarray) -> float:
  """F in [0, 1], larger is better.

  Args:
    unlearned: float `[models, samples]`, phi of every forget sample under every model that unlearned.
    retrained: float `[models, samples]`, under every model trained again; as many models.

  Raises:
    Invalid: see `epsilons`.
  """
  return float(np.mean(points(epsilons(unlearned, retrained), len(unlearned))))


def points(epsilon: np.ndarray, models: int) -> np.ndarray:
  """1/2^b of the samples whose epsilon lies in bin b, 0 beyond the last, float64 like `epsilon`.

  Args:
    epsilon: float, from `epsilons`.
    models: how many in a bank; bins of width 0.5 end at ceil(log(models - 1)), what so few models can show.
  """
  bins = int(np.ceil(np.log(models - 1)) / BIN)
  at = np.floor(np.asarray(epsilon) / BIN)
  return np.where(at < bins, 0.5**at, 0.0)


def epsilons(unlearned: np.ndarray, retrained: np.ndarray, delta: float = DELTA) -> np.ndarray:
  """The privacy loss of every sample that the best attack shows, float64 `[samples]` in [0, 50].

  Args:
    unlearned, retrained: float `[models, samples]`, two banks of equal size.
    delta: of the privacy loss.

  Raises:
    Invalid: for banks of unlike shapes or fewer than 3 models, values that are not finite, a sample on which all
      models of both banks agree, or one on which no attack says anything.
  """
  a, b = (np.asarray(x, np.float64) for x in (unlearned, retrained))
  require(a.ndim == 2 and a.shape == b.shape, "unlearned", (a.shape, b.shape), "give two arrays [models, samples]")
  require(len(a) >= 3, "unlearned", len(a), "give at least 3 models a bank")
  require(bool(np.isfinite(a).all() and np.isfinite(b).all()), "unlearned", "NaN or infinity", "check the models")
  return np.array([_epsilon(np.sort(x), np.sort(y), delta) for x, y in zip(a.T, b.T)])


def floored_phi(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """phi with the floor of the release, log(p_y + 1e-45) - log(sum of the others + 1e-45): within about 104 of 0.

  `outputs.phi` has no floor and the same value elsewhere.

  Args:
    logits: float `[..., classes]`.
    labels: int, broadcast against `[...]`.
  """
  logits = np.asarray(logits, np.float64)
  p = np.exp(logits - logits.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  mine = np.arange(p.shape[-1]) == np.asarray(labels)[..., None]
  inside, outside = (np.where(one, p, 0.0).sum(-1) for one in (mine, ~mine))
  return np.log(inside + FLOOR) - np.log(outside + FLOOR)


def _epsilon(a: np.ndarray, b: np.ndarray, delta: float) -> float:
  """Of one sample; both banks in order."""
  ranges = a[-1] - a[0], b[-1] - b[0]
  require(max(ranges) > 0, "unlearned", "one value in all models", "give models that differ, or leave the sample out")
  if min(ranges) < PEAKED * max(ranges):
    return CAP
  high, low = (b, a) if np.median(b) > np.median(a) else (a, b)
  narrow, wide = (b, a) if ranges[0] >= ranges[1] else (a, b)  # for equal ranges as released: the larger median is wide
  if ranges[0] == ranges[1]:
    narrow, wide = low, high
  n = len(a)
  seen = np.zeros((n + 1, n + 1), bool)  # which counts of both errors some attack leaves: far fewer than attacks
  for attack in (_interval(narrow, wide), _threshold(high, low)):
    seen[attack] = True
  found = _privacy(*(np.argwhere(seen).T / n), delta)
  require(bool(len(found)), "unlearned", "no attack leaves both kinds of error", "give more models a bank")
  return float(np.clip(np.max(found), 0.0, CAP))


def _threshold(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How many false positives and false negatives `x >= t` has, for all thresholds t."""
  first, last = min(high[0], low[0]), max(high[-1], low[-1])
  at = np.linspace(first, last, int(np.ceil((last - first) * PER_UNIT)))
  return len(low) - np.searchsorted(low, at, side="left"), np.searchsorted(high, at, side="left")


def _interval(narrow: np.ndarray, wide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How many false positives and false negatives `left <= x <= right` has, for all intervals."""
  width = narrow[-1] - narrow[0]
  first, last = narrow[0] + width - REACH, narrow[-1] + REACH
  right = np.linspace(first, last, int(np.ceil((last - first) * PER_UNIT)))[:, None]
  left = right - width + np.linspace(-REACH, REACH, int(np.ceil(2 * REACH * PER_UNIT)))

  def inside(bank):
    upto, before = np.searchsorted(bank, right, side="right"), np.searchsorted(bank, left, side="left")
    return np.maximum(upto - before, 0).ravel()  # an interval whose left end is the larger is empty

  return inside(wide), len(narrow) - inside(narrow)


def _privacy(fpr: np.ndarray, fnr: np.ndarray, delta: float) -> np.ndarray:
  """Epsilon of every attack that counts: infinite for a perfect one, at least 0."""
  if ((fpr == 0) & (fnr == 0)).any():
    return np.array([np.inf])
  fpr, fnr = fpr[keep := (fpr > 0) & (fnr > 0)], fnr[keep]
  with np.errstate(invalid="ignore", divide="ignore"):  # a rate of 1 leaves nothing above it: the other way counts
    ways = np.stack([np.log(1 - delta - fpr) - np.log(fnr), np.log(1 - delta - fnr) - np.log(fpr)])
  return np.maximum(np.max(ways, axis=0, where=~np.isnan(ways), initial=-np.inf), 0.0)
