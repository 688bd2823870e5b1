"""Figures made of the share of right answers of several models, on one and the same set of questions.

With acc_f before unlearning, acc_u after it, acc_r of the model that never saw the answers, and A an attack:

| function | figure | range | best |
| --- | --- | --- | --- |
| `retention` | KR = (acc_u - acc_r) / (acc_f - acc_r): 1 nothing is gone, below 0 more than that | -1 to 1.5, cut | 0 |
| `recovery` | Rec = (acc_A(u) - acc_u) / (acc_f - acc_u): 1 all that was gone is back | any | that of r |
| `beyond` | Rec - Rec_r, less what the same attack gives to the reference | any | 0 |

The excess, acc_u - acc_r, is `relearn.excess`. A figure is NaN where its denominator is not positive: there was nothing
to keep, or nothing to bring back. These are ratios of small differences: read them beside the shares themselves.
`experiments.forgetting` puts them into the table `Kept and recovered` of every run that forgets and has a reference.
"""

from __future__ import annotations

import math

from ue_jax.core.errors import require
from ue_jax.core.nouns import Score

LEAST, MOST = -1.0, 1.5  # a retention is cut to these


def retention(subject: Score, reference: Score, original: Score) -> Score:
  """KR, the share of the knowledge that is left: float in [-1, 1.5] or NaN, best near 0, as after training again.

  Args:
    subject, reference, original: shares of right answers in [0, 1], after unlearning, of the control, and before.

  Raises:
    Invalid: for a share out of range.
  """
  u, r, f = map(_share, (subject, reference, original))
  value = min(max((u - r) / (f - r), LEAST), MOST) if f > r else math.nan
  return Score(value, subject.n, "near", 0.0, LEAST, MOST)


def recovery(attacked: Score, subject: Score, original: Score) -> Score:
  """Rec, the share of what was gone that an attack brings back: any float or NaN, below 0 where it takes more away.

  Its target is 0, what no attack gives; the honest control is the same figure of the reference, see `beyond`. It is at
  most 1 where all was right before unlearning.

  Args:
    attacked, subject, original: shares of right answers in [0, 1], after the attack, before it, and before unlearning.

  Raises:
    Invalid: for a share out of range.
  """
  a, u, f = map(_share, (attacked, subject, original))
  return Score((a - u) / (f - u) if f > u else math.nan, attacked.n, "near", 0.0, -math.inf, _most(u, f))


def beyond(subject: Score, reference: Score) -> Score:
  """Rec - Rec_r, what an attack brings back of what was learned and not unlearned: any float or NaN, best near 0.

  Args:
    subject, reference: what `recovery` says of both, under the same attack.
  """
  return Score(subject.value - reference.value, subject.n, "near", 0.0, -math.inf, math.inf)


def _most(u: float, f: float) -> float:
  """The largest recovery: all right after the attack, which may be more than was right before unlearning."""
  return (1 - u) / (f - u) if f > u else 1.0


def _share(score: Score) -> float:
  require(0 <= score.value <= 1, "derived.share", score.value, "give scores that are shares of right answers")
  return float(score.value)
