"""ROUGE-L: how much of an answer is said, in order, in a greedy generation.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, section 3.1. With l the length in words of
the longest common subsequence: recall = l / words of the reference, precision = l / words said, f1 their harmonic mean.
As TOFU (recall) and MUSE (f1) use it; both also stem the words, which is left to `stem`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from ue_jax.audit import generate, scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

KINDS = ("recall", "precision", "f1")
FORGOTTEN = ("forget", "relearn", "holdout")


def measure(
  sets: Sequence[str] = ("forget", "retain"), kind: str = "recall", new: int = 0, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None,
) -> Procedure:  # fmt: skip
  """Request -> Scores `<set>/rouge_<kind>`, in [0, 1].

  With a reference best near the reference's; without, low (0) on `forget*`, `relearn*`, `holdout*`, high (1) elsewhere.

  Args:
    sets: which sets; prompts end where the first target is.
    kind: `recall`, `precision` or `f1`.
    new: most tokens to generate; 0: as many as the longest answer has.
    chunk: samples computed at once.
    decode: token ids -> text, for tokens that are no words; None: every token counts as a word.

  Raises:
    Invalid: for an unknown set or kind, or data that are not token sequences.
  """
  require(kind in KINDS, "measure.kind", kind, f"choose one of {KINDS}")

  def score(key, request: Request) -> Scores:
    del key
    mine = means(request.subject, request.data, sets, kind, new, chunk, decode)
    ideal = means(request.reference, request.data, sets, kind, new, chunk, decode) if request.reference else {}
    out = {}
    for name, (value, n) in mine.items():
      aim = ("low", 0.0) if name.startswith(FORGOTTEN) else ("high", 1.0)
      out[f"{name}/rouge_{kind}"] = Score(value, n, *(("near", ideal[name][0]) if ideal else aim))
    return out

  return once(score)


def means(
  subject: Subject, data: Data, sets: Sequence[str], kind: str = "recall", new: int = 0, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None,
) -> dict[str, tuple[float, int]]:  # fmt: skip
  """name of a set -> (mean ROUGE-L of its greedy answers, how many)."""
  require(scoring.is_tokens(data), "measure.name", "audit.rouge", "measure token sequences with it")
  out = {}
  for name in sets:
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
    said, wanted = generate.answers(subject, data, np.asarray(data.sets[name]), new, chunk)
    if decode is not None:
      said, wanted = ([words(decode(ids)) for ids in part] for part in (said, wanted))
    out[name] = (float(np.mean(scores(wanted, said)[kind])), len(said))
  return out


def words(text: str, stem: Callable[[str], str] = str) -> list[str]:
  """Lower-case words of letters and digits, as the `rouge-score` package has them; `stem` shortens each."""
  return [stem(word) for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def scores(references: Sequence[Sequence[Hashable]], said: Sequence[Sequence[Hashable]]) -> dict[str, np.ndarray]:
  """ROUGE-L of pairs of word sequences: `recall`, `precision`, `f1`, float64 `[m]`; 0 where one of the two is empty."""
  length = common(references, said).astype(np.float64)
  per = lambda part: length / np.maximum([len(x) for x in part], 1)
  recall, precision = per(references), per(said)
  f1 = 2 * recall * precision / np.where(length == 0, 1, recall + precision)
  return {"recall": recall, "precision": precision, "f1": f1}


def common(a: Sequence[Sequence[Hashable]], b: Sequence[Sequence[Hashable]]) -> np.ndarray:
  """Length of the longest common subsequence of each pair, int64 `[m]`: dynamic programming, all pairs at once."""
  numbers: dict[Hashable, int] = {}
  left, right = (_numbered(part, numbers, fill) for part, fill in ((a, -1), (b, -2)))  # padding equals nothing
  best = np.zeros((len(left), right.shape[1] + 1), np.int64)
  for column in left.T:
    step = best[:, :-1] + (column[:, None] == right)
    best[:, 1:] = np.maximum.accumulate(np.maximum(best[:, 1:], step), axis=1)
  return best[:, -1]


def _numbered(part: Sequence[Sequence[Hashable]], numbers: dict[Hashable, int], fill: int) -> np.ndarray:
  out = np.full((len(part), max(map(len, part), default=0)), fill, np.int64)
  for i, sequence in enumerate(part):
    out[i, : len(sequence)] = [numbers.setdefault(word, len(numbers)) for word in sequence]
  return out
