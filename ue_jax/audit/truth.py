"""Right against wrong answers: truth ratio, normalised probability, and forget quality.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, section 2.2. With nll a mean over tokens:

  R = exp(-mean over wrong answers of nll) / (exp(-nll of the right one) + 1e-10)

`truth_ratio`: on what is to be forgotten the mean of min(R, 1/R), 1 where right and wrong look alike; elsewhere the
mean of max(0, 1 - R), 1 where the right answer is far likelier. `normalised_p`: P(right) / (P(right) + sum P(wrong)).
`right_share`, if asked for (`newer`): the mean of 1 / (1 + R), what later evaluations put in the place of the truth
ratio; it means the same on every set: 1/2 where right and wrong look alike, 1 where the right answer is far likelier.
`quality`: the p-value of a two-sided Kolmogorov-Smirnov test between the R of the subject and those of the reference,
on what is to be forgotten. A ruined model can have a high p-value: never read it without utility beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

TINY = 1e-10
WORDED, FIRST_WRONG = 1, 2  # `variant` of data with rows for other answers: the right one in other words, wrong ones


class Nlls(NamedTuple):
  """Mean nll of the tokens of answers, float64: `right` `[m]` and `wrong` `[m, k]` with NaN where there is none."""

  right: np.ndarray
  wrong: np.ndarray


def measure(sets: Sequence[str] = ("forget", "retain"), chunk: int = 256, newer: bool = False) -> Procedure:
  """Request -> Scores `<set>/truth_ratio`, `<set>/normalised_p` and, with a reference, `<set>/quality` of `forget*`.

  All in [0, 1]. With a reference the first two are best near the reference's; without, the truth ratio is best high
  (1), and the normalised probability low on `forget*` (that of a guess among the answers), high (1) elsewhere. Quality
  is best high (1). With `newer` also `<set>/right_share`, best as the normalised probability, where a guess has 1/2.

  Args:
    sets: which sets. The wrong answers are in the array `wrong` (`data.facts` with `alternatives`) or in the rows of
      `<set>_perturbed` (`data.tofu`); there the right answer counts in other words, if it has them.
    chunk: samples computed at once.
    newer: whether to add `right_share`.

  Raises:
    Invalid: for an unknown set, or one without wrong answers.
  """

  def score(key, request: Request) -> Scores:
    del key
    out = {}
    for name in sets:
      mine, forgotten = nlls(request.subject, request.data, name, chunk), name.startswith("forget")
      ideal = nlls(request.reference, request.data, name, chunk) if request.reference else None
      found, n = _summary(mine, forgotten, newer), len(mine.right)
      low = lambda guess: ("low", guess) if forgotten else ("high", 1.0)  # noqa: B023
      aims = {"truth_ratio": ("high", 1.0), "normalised_p": low(_guess(mine)), "right_share": low(0.5)}
      if ideal is not None:
        aims = {what: ("near", value) for what, value in _summary(ideal, forgotten, newer).items()}
      out |= {f"{name}/{what}": Score(value, n, *aims[what]) for what, value in found.items()}
      if forgotten and ideal is not None:
        _, p = kolmogorov_smirnov(ratios(mine), ratios(ideal))
        out[f"{name}/quality"] = Score(p, n, "high", 1.0)
    return out

  return once(score)


def _summary(found: Nlls, forgotten: bool, newer: bool) -> dict[str, float]:
  r = ratios(found)
  more = {"right_share": right_share(found)} if newer else {}
  return {"truth_ratio": alike(r) if forgotten else truer(r), "normalised_p": float(normalised(found).mean()), **more}


def _guess(found: Nlls) -> float:
  return float(np.mean(1 / (1 + np.isfinite(found.wrong).sum(1))))


def nlls(subject: Subject, data: Data, name: str, chunk: int = 256) -> Nlls:
  """The nll of the right and of the wrong answers of a set."""
  require(scoring.is_tokens(data), "measure.name", "audit.truth", "measure token sequences with it")
  require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  rows = np.asarray(data.sets[name])
  if "wrong" in data.arrays:
    wrong = data.arrays["wrong"][rows]
    same = data.arrays["mask"][:, None]  # wrong answers as long as the right one, unless they come with masks
    mask = np.broadcast_to(data.arrays.get("wrong_mask", same)[rows], wrong.shape)
    flat = lambda x: x.reshape(-1, x.shape[-1])
    right = _nll(subject, data.arrays["ids"][rows], data.arrays["mask"][rows], chunk)
    return Nlls(right, _nll(subject, flat(wrong), flat(mask), chunk).reshape(wrong.shape[:2]))
  return _by_rows(subject, data, name, rows, chunk)


def _by_rows(subject: Subject, data: Data, name: str, rows: np.ndarray, chunk: int) -> Nlls:
  """The nll where every answer has a row of its own."""
  other = f"{name}_perturbed"
  require(other in data.sets, "measure.sets", name, f"give data with the array 'wrong' or the set '{other}'")
  every = np.concatenate([rows, np.asarray(data.sets[other])])
  item, variant = data.arrays["item"][every], data.arrays["variant"][every]
  found = _nll(subject, data.arrays["ids"][every], data.arrays["mask"][every], chunk)
  asked = np.unique(item[variant >= FIRST_WRONG])
  place = {number: i for i, number in enumerate(asked.tolist())}
  right = np.full(len(asked), np.nan)
  wrong = np.full((len(asked), int(variant.max()) - 1), np.nan)
  for i in np.argsort(variant, kind="stable").tolist():  # other words come after the answer, and replace it
    at = place.get(int(item[i]))
    if at is not None and variant[i] >= FIRST_WRONG:
      wrong[at, variant[i] - FIRST_WRONG] = found[i]
    elif at is not None:
      right[at] = found[i]
  require(not np.isnan(right).any(), "data.variant", "no right answer", "give every item a row of variant 0 or 1")
  return Nlls(right, wrong)


def _nll(subject: Subject, ids: np.ndarray, mask: np.ndarray, chunk: int) -> np.ndarray:
  rows = np.arange(len(ids), dtype=np.int32)
  return scoring.score(subject, Data({"ids": ids, "mask": mask, "index": rows}, {"all": rows}), ("all",),
                       chunk=chunk)["all"].mean_nll()  # fmt: skip


def ratios(found: Nlls) -> np.ndarray:
  """R of every question, float64 `[m]`, >= 0; the mean over wrong answers is one of losses."""
  return np.exp(-np.nanmean(found.wrong, axis=1)) / (np.exp(-found.right) + TINY)


def alike(r: np.ndarray) -> float:
  """Mean of min(R, 1 / (R + 1e-10)), in [0, 1]: 1 where R is 1."""
  return float(np.minimum(r, 1 / (r + TINY)).mean())


def truer(r: np.ndarray) -> float:
  """Mean of max(0, 1 - R), in [0, 1]: 1 where the wrong answers are impossible."""
  return float(np.maximum(0, 1 - r).mean())


def right_share(found: Nlls) -> float:
  """In [0, 1]: mean of P(right) / (P(right) + P(wrong) + 1e-10), P(wrong) from the mean of the losses."""
  right, wrong = np.exp(-found.right), np.exp(-np.nanmean(found.wrong, axis=1))
  return float((right / (right + wrong + TINY)).mean())


def normalised(found: Nlls) -> np.ndarray:
  """P(right) / (P(right) + sum of P(wrong) + 1e-10) of every question, float64 `[m]`, in [0, 1]."""
  right = np.exp(-found.right)
  return right / (right + np.nansum(np.exp(-found.wrong), axis=1) + TINY)


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  """The two-sided two-sample test: D, the largest distance of the two empirical distributions, and its exact p-value.

  The p-value is P(D >= the one seen) when all orders of the pooled sample are equally likely (Hodges, 1958), added up
  from positive numbers, so that it is right down to 1e-300. Ties are counted as such in D only.

  Args:
    a, b: float `[n]`, `[m]`.

  Raises:
    Invalid: for an empty sample or NaN.
  """
  for sample in (a, b):
    require(len(sample) > 0 and not np.isnan(sample).any(), "measure.sets", "no sample, or NaN", "give finite scores")
  n, m, at = len(a), len(b), np.union1d(a, b)
  below = lambda x: np.searchsorted(np.sort(x), at, side="right").astype(np.int64)
  far = int(np.abs(below(a) * m - below(b) * n).max())  # D n m, a whole number
  if far == 0:
    return 0.0, 1.0
  i, hit = np.arange(n + 1, dtype=np.int64), 0.0
  inside = np.zeros(n + 1)  # P(never that far yet, and i of the first t are from a)
  inside[0] = 1.0
  for t in range(1, n + m + 1):
    left = n + m - t + 1
    from_a, from_b = inside * (n - i) / left, inside * (m - (t - 1 - i)) / left
    inside = from_b
    inside[1:] += from_a[:-1]
    beyond = np.abs(i * m - (t - i) * n) >= far
    hit += inside[beyond].sum()
    inside = np.where(beyond, 0.0, inside)
  return far / (n * m), min(float(hit), 1.0)
