"""Membership inference: can one tell that a sample was trained on?

Source: Yeom et al., "Privacy Risk in Machine Learning", CSF 2018 (the LOSS attack); as an unlearning score in
Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation", 2024. Other attacks on token sequences: `membership_scores`.

The score of a sample is its nll per target. AUC = P(nll of a non-member > nll of a member) + P(equal) / 2:
1 if members are told with certainty, 0.5 if not at all, 0 if unlearning made them stand out on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ue_jax.audit import membership_scores, scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Score, Scores
from ue_jax.core.procedure import Procedure, once


def measure(
  members: str = "", nonmembers: str = "", label: str = "label", chunk: int = 256, attacks: Sequence[str] = ("loss",),
  share: float = 0.4, fpr: float = 0.0, decode: Callable[[Sequence[int]], str] | None = None, whole: bool = False,
) -> Procedure:  # fmt: skip
  """Request -> Scores `<attack>/auc`, best near that of the reference if there is one, else near 0.5.

  With `fpr` also `<attack>/tpr`: the share of members that are recognised when at most that share of the non-members is
  taken for one, best near the reference's, else near `fpr`. With `whole` all of these of whole sentences, too:
  `<attack>_whole/auc`, `privleak_whole`.

  Args:
    members: set that was asked to be forgotten; empty: `forget`, or `train` where there is none.
    nonmembers: set that was never seen; empty: `holdout`, or `test` where there is none.
    label: the labelling, for pictures.
    chunk: samples computed at once.
    attacks: names in `membership_scores.ATTACKS`; of pictures `loss` only. `min_k` with a reference gives `privleak`.
    share: of the tokens that `min_k` and `min_k_pp` look at.
    fpr: the false positives that are allowed, in [0, 1); 0: no `tpr`.
    decode: token ids -> text, for `zlib`; None: the words of `info["vocabulary"]` with blanks between.
    whole: score all tokens of a text besides its targets alone; see `membership_scores` for who takes which.

  Raises:
    Invalid: for an unknown set, labelling or attack, a share out of range, or whole sentences of pictures.
  """
  require(0 <= fpr < 1, "measure.fpr", fpr, "give a share of at least 0, below 1")

  def score(key, request: Request) -> Scores:
    del key
    has = request.data.sets
    inside = members or ("forget" if "forget" in has else "train")
    outside = nonmembers or ("holdout" if "holdout" in has else "test")
    control = request._replace(subject=request.reference) if request.reference else None
    out = {}
    for attack, all_tokens in [(attack, each) for attack in attacks for each in ((False, True) if whole else (False,))]:
      values = lambda asked: [_scores(attack, asked, name, label, share, chunk, decode, all_tokens)  # noqa: B023
                              for name in (inside, outside)]  # fmt: skip
      a, b = values(request)
      mine, n, end = auc(a, b), len(a) + len(b), "_whole" if all_tokens else ""
      held = values(control) if control and attack != "reference" else None
      ideal = auc(*held) if held else None
      out[f"{attack}{end}/auc"] = Score(mine, n, "near", 0.5 if ideal is None else ideal)
      if fpr:
        out[f"{attack}{end}/tpr"] = Score(tpr(a, b, fpr), len(a), "near", tpr(*held, fpr) if held else fpr)
      if attack == "min_k" and ideal is not None:
        out[f"privleak{end}"] = Score(privleak(mine, ideal), n, "near", 0.0, -100.0, privleak(0.0, ideal))
    return out

  return once(score)


def _scores(
  attack: str, request: Request, name: str, label: str, share: float, chunk: int, decode: Any, whole: bool
) -> np.ndarray:
  if attack == "loss" and not whole:
    return scoring.score(request.subject, request.data, (name,), label, chunk)[name].mean_nll()
  tokens = scoring.is_tokens(request.data)
  require(tokens or not whole, "measure.whole", whole, "leave it out: pictures have no tokens")
  require(tokens, "measure.attacks", attack, "use 'loss' for pictures")
  return membership_scores.score(attack, request, name, share, chunk, decode, whole)


def privleak(auc: float, reference: float = 0.5) -> float:
  """100 (a - r) / (r + 1e-10) with a = 1 - auc and r = 1 - reference: 0 is ideal, -100 the floor (nothing unlearned).

  Source: Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation", 2024, with the AUC of `min_k` at 40 %.

  Args:
    auc: of the subject, in [0, 1]; large where members are recognised.
    reference: of the model that never saw the members.
  """
  a, r = 1 - auc, 1 - reference
  return 100 * (a - r) / (r + 1e-10)


def tpr(members: np.ndarray, nonmembers: np.ndarray, fpr: float) -> float:
  """The share of members below a threshold that at most `fpr` of the non-members are below.

  Source: Carlini et al., "Membership Inference Attacks From First Principles", 2022: what an attack is worth is seen
  where it hardly errs, not on average.

  Args:
    members: float `[a]`, scores of members (expected smaller).
    nonmembers: float `[b]`.
    fpr: in [0, 1).
  """
  allowed = int(np.floor(fpr * len(nonmembers) + 1e-9))
  return float((members < np.sort(nonmembers)[allowed]).mean())


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
