"""Membership inference by loss: can one tell from the nll that a sample was trained on?

Source: Yeom et al., "Privacy Risk in Machine Learning", CSF 2018 (the LOSS attack); as an unlearning score in
Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation", 2024.

The score of a sample is its nll per target. AUC = P(nll of a non-member > nll of a member) + P(equal) / 2:
1 if members are told with certainty, 0.5 if not at all, 0 if unlearning made them stand out on the other side.
"""

from __future__ import annotations

import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Score, Scores
from ue_jax.core.procedure import Procedure, once


def measure(members: str = "", nonmembers: str = "", label: str = "label", chunk: int = 256) -> Procedure:
  """Request -> Scores with `loss/auc`, best near 0.5.

  Args:
    members: set that was asked to be forgotten; empty: `forget`, or `train` where there is none.
    nonmembers: set that was never seen; empty: `holdout`, or `test` where there is none.
    label: the labelling, for pictures.
    chunk: samples computed at once.

  Raises:
    Invalid: for an unknown set or labelling.
  """

  def score(key, request: Request) -> Scores:
    del key
    has = request.data.sets
    inside = members or ("forget" if "forget" in has else "train")
    outside = nonmembers or ("holdout" if "holdout" in has else "test")
    scored = scoring.score(request.subject, request.data, (inside, outside), label, chunk)
    a, b = scored[inside].mean_nll(), scored[outside].mean_nll()
    return {"loss/auc": Score(auc(a, b), len(a) + len(b), "near", 0.5)}

  return once(score)


def auc(members: np.ndarray, nonmembers: np.ndarray) -> float:
  """P(nonmember > member) + P(equal) / 2 over all pairs, exact: counted in integers.

  Args:
    members: float `[a]`, scores of members (expected smaller).
    nonmembers: float `[b]`.

  Raises:
    Invalid: if one is empty or holds a NaN (which has no rank).
  """
  for name, scores in (("members", members), ("nonmembers", nonmembers)):
    require(len(scores) > 0, f"measure.{name}", "no sample", "name a set that is not empty")
    require(not np.isnan(scores).any(), f"measure.{name}", "NaN scores", "check that the subject is finite")
  ordered = np.sort(nonmembers)
  below_or_equal = np.searchsorted(ordered, members, side="right")
  below = np.searchsorted(ordered, members, side="left")
  twice = np.sum(2 * (len(ordered) - below_or_equal) + (below_or_equal - below), dtype=np.int64)
  return float(twice) / (2 * len(members) * len(ordered))
