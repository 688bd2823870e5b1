"""Verbatim memorisation of token sequences: how much is reproduced, and how short a prompt is enough.

Sources: exact memorisation, Tirumala et al., "Memorization Without Overfitting", 2022; extraction strength, after
Carlini et al., "Extracting Training Data from Large Language Models", 2021.

Over the n' targets of a sequence without its last one (the end token):
  `em` = share of targets that are the most likely token;
  `es` = 1 - k / n', with k the smallest number of targets after which all the others are the most likely ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Score, Scores
from ue_jax.core.procedure import Procedure, once


def measure(sets: Sequence[str] = ("forget",), released: bool = False, chunk: int = 256) -> Procedure:
  """Request -> Scores `<set>/em`, `<set>/es`.

  With a reference both are best near the reference's; without, low on `forget*` and `holdout*`, high elsewhere.

  Args:
    sets: which sets.
    released: reproduce the public open-unlearning code, where a sequence whose last target is wrong
      gets es = 1 / n' instead of 0.
    chunk: samples computed at once.

  Raises:
    Invalid: for an unknown set, or data that are not token sequences.
  """

  def values(subject, data):
    scored = scoring.score(subject, data, tuple(sets), chunk=chunk)
    out = {}
    for name, one in scored.items():
      em, es = memorised(one.hits, one.mask, released)
      require(len(em) > 0, "measure.sets", name, "name a set with answers longer than the end token")
      out[f"{name}/em"], out[f"{name}/es"] = (float(em.mean()), len(em)), (float(es.mean()), len(es))
    return out

  def score(key, request: Request) -> Scores:
    del key
    require(scoring.is_tokens(request.data), "measure.name", "audit.memorize", "measure token sequences with it")
    mine = values(request.subject, request.data)
    if request.reference is None:
      return {name: Score(*value, *_aim(name)) for name, value in mine.items()}
    ideal = values(request.reference, request.data)
    return {name: Score(*value, "near", ideal[name][0]) for name, value in mine.items()}

  return once(score)


def memorised(hits: np.ndarray, mask: np.ndarray, released: bool = False) -> tuple[np.ndarray, np.ndarray]:
  """em and es of every sequence that has at least two targets, float64 `[m']` each.

  Args:
    hits: bool `[m, t]`, the token is the most likely one.
    mask: bool `[m, t]`, the token is a target.
    released: see `measure`.
  """
  mask = scoring.without_last(mask)
  rows = mask.any(-1)
  hits, mask = hits[rows], mask[rows]
  n = mask.sum(-1)
  right = hits & mask
  tail = np.cumprod((right | ~mask)[:, ::-1], axis=-1)[:, ::-1]  # everything from here on is right
  run = (tail * mask).sum(-1)
  return right.sum(-1) / n, (np.maximum(run, 1) if released else run) / n


def _aim(name: str) -> tuple[str, float]:
  return ("low", 0.0) if name.startswith(("forget", "relearn", "holdout")) else ("high", 1.0)
