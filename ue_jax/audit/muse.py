"""Verbatim and knowledge memorisation, and privacy leakage: three of the six ways of MUSE.

Source: Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", 2024, section 3: VerbMem is the
ROUGE-L F1 of the greedy continuation of passages to be forgotten, KnowMem that of answers to questions, on what is to
be forgotten and on what is kept; PrivLeak compares the AUC of Min-K% (40 %) with that of a model trained without them.
As published, words are stemmed, continuations have 128 tokens and answers 32, which end where the model goes on to
another question; its questions stand behind examples (`data.questions` with `shots`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ue_jax.audit import membership, membership_scores, rouge
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Score, Scores
from ue_jax.core.procedure import Procedure, once

STOP = ("\n\n", "\nQuestion", "Question:")  # of KnowMem, as published


def measure(
  verbatim: Sequence[str] = (), knowledge: Sequence[str] = ("forget", "retain"), members: str = "forget",
  nonmembers: str = "holdout", share: float = 0.4, new: int | Sequence[int] = 0, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None, stem: bool = True, stop: Sequence[str] = STOP,
) -> Procedure:  # fmt: skip
  """Request -> Scores `<set>/verbmem`, `<set>/knowmem` in [0, 1], and `privleak` from -100.

  The first two are best near the reference's if there is one, else low (0) on `forget*`, high (1) elsewhere. PrivLeak
  is best near 0: strongly negative is under-unlearned, positive over-unlearned; without a reference it is compared with
  an AUC of 0.5.

  Args:
    verbatim: sets of passages, whose prompt is their beginning (`data.facts` with `forms=("verbatim",)`).
    knowledge: sets of questions.
    members, nonmembers: the sets that membership inference tells apart; both empty: no PrivLeak.
    share: of the tokens that Min-K% looks at.
    new: most tokens to generate, of both or `(VerbMem, KnowMem)`; 0: as many as the longest answer has (MUSE: 128, 32).
    chunk: samples computed at once.
    decode: token ids -> text, for tokens that are no words.
    stem: of texts (`decode`), compare words shortened by Porter's stemmer; needs the package `nltk`.
    stop: of texts, answers of KnowMem end before the first of these. Tokens that count as words are compared as they
      are, to the end.

  Raises:
    Invalid: for an unknown set, data that are not token sequences, or numbers that are no two; see `audit.rouge`.
  """
  new = tuple(new) if isinstance(new, Sequence) else (new, new)
  good = len(new) == 2 and all(type(most) is int and most >= 0 for most in new)
  require(good, "measure.new", new, "give a whole number, or two: (VerbMem, KnowMem)")
  require(bool(members) == bool(nonmembers), "measure.nonmembers", nonmembers, "name both sets, or none of the two")
  text = decode is not None
  rouge.ready(stem and text, stop)
  parts = (("verbmem", verbatim, new[0], ()), ("knowmem", knowledge, new[1], tuple(stop) if text else ()))

  def score(key, request: Request) -> Scores:
    del key
    out = {}
    for what, sets, most, ends in parts:
      asked = (request.data, sets, "f1", most, chunk, decode, stem and text, ends)
      mine = rouge.means(request.subject, *asked)
      ideal = rouge.means(request.reference, *asked) if request.reference else {}
      for name, (value, n) in mine.items():
        aim = ("low", 0.0) if name.startswith("forget") else ("high", 1.0)
        out[f"{name}/{what}"] = Score(value, n, *(("near", ideal[name][0]) if ideal else aim))
    if not members:
      return out
    found = _auc(request)
    control = _auc(request._replace(subject=request.reference)) if request.reference else 0.5
    n = len(request.data.sets[members]) + len(request.data.sets[nonmembers])
    leak = membership.privleak(found, control)
    out["privleak"] = Score(leak, n, "near", 0.0, -100.0, membership.privleak(0.0, control))
    return out

  def _auc(request: Request) -> float:
    values = [membership_scores.score("min_k", request, name, share, chunk) for name in (members, nonmembers)]
    return membership.auc(*values)

  return once(score)
