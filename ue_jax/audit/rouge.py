"""ROUGE-L: how much of an answer is said, in order, in a greedy generation.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, section 3.1. With l the length in words of
the longest common subsequence: recall = l / words of the reference, precision = l / words said, f1 their harmonic mean.
TOFU reports the recall, MUSE the f1, both of words shortened by Porter's stemmer (`stem`), as the package `rouge-score`
does with `use_stemmer`; MUSE also cuts its short answers where the model goes on to another question (`stop`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from ue_jax.audit import generate, scoring
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

KINDS = ("recall", "precision", "f1")
FORGOTTEN = ("forget", "relearn", "holdout")
SHORT = 3  # letters of a word that `rouge-score` does not stem


def measure(
  sets: Sequence[str] = ("forget", "retain"), kind: str = "recall", new: int = 0, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None, stem: bool = False, stop: Sequence[str] = (),
) -> Procedure:  # fmt: skip
  """Request -> Scores `<set>/rouge_<kind>`, in [0, 1].

  With a reference best near the reference's; without, low (0) on `forget*`, `relearn*`, `holdout*`, high (1) elsewhere.

  Args:
    sets: which sets; prompts end where the first target is.
    kind: `recall`, `precision` or `f1`.
    new: most tokens to generate; 0: as many as the longest answer has.
    chunk: samples computed at once.
    decode: token ids -> text, for tokens that are no words; None: every token counts as a word.
    stem: compare words shortened by Porter's stemmer, as TOFU and MUSE do (the package `nltk`); needs `decode`.
    stop: what is said ends before the first of these texts; needs `decode`. TOFU has none.

  Raises:
    Invalid: for an unknown set or kind, data that are not token sequences, stems or stops of tokens without texts, or
      stems without the package.
  """
  require(kind in KINDS, "measure.kind", kind, f"choose one of {KINDS}")
  ready(stem, stop)

  def score(key, request: Request) -> Scores:
    del key
    asked = (request.data, sets, kind, new, chunk, decode, stem, stop)
    mine = means(request.subject, *asked)
    ideal = means(request.reference, *asked) if request.reference else {}
    out = {}
    for name, (value, n) in mine.items():
      aim = ("low", 0.0) if name.startswith(FORGOTTEN) else ("high", 1.0)
      out[f"{name}/rouge_{kind}"] = Score(value, n, *(("near", ideal[name][0]) if ideal else aim))
    return out

  return once(score)


def means(
  subject: Subject, data: Data, sets: Sequence[str], kind: str = "recall", new: int = 0, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None, stem: bool = False, stop: Sequence[str] = (),
) -> dict[str, tuple[float, int]]:  # fmt: skip
  """name of a set -> (mean ROUGE-L of its greedy answers, how many); arguments and errors as of `measure`."""
  require(scoring.is_tokens(data), "measure.name", "audit.rouge", "measure token sequences with it")
  for name, value in (("stem", stem), ("stop", tuple(stop))):
    fix = "leave it out: it is about texts, and here every token counts as a word"
    require(decode is not None or not value, f"measure.{name}", value, fix)
  shorten = stemmer() if stem else str
  out = {}
  for name in sets:
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
    said, wanted = generate.answers(subject, data, np.asarray(data.sets[name]), new, chunk)
    if decode is not None:
      said = [words(before(decode(ids), stop), shorten) for ids in said]
      wanted = [words(decode(ids), shorten) for ids in wanted]
    out[name] = (float(np.mean(scores(wanted, said)[kind])), len(said))
  return out


def before(text: str, stop: Sequence[str]) -> str:
  """The text up to where the first of the texts `stop` begins in it; all of it where there is none."""
  return text[: min((text.index(one) for one in stop if one in text), default=len(text))]


def words(text: str, stem: Callable[[str], str] = str) -> list[str]:
  """Lower-case words of letters and digits, as the `rouge-score` package has them.

  Args:
    text: any.
    stem: shortens each word; see `stemmer`.
  """
  return [stem(word) for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


@functools.cache
def stemmer() -> Callable[[str], str]:
  """Porter's stemmer by the package `nltk`, for words of more than three letters, as `rouge-score` uses it.

  Raises:
    Invalid: without the package.
  """
  try:
    from nltk.stem.porter import PorterStemmer
  except ImportError as error:
    fix = 'it needs a package that is not installed: pip install "ue-jax[lm]"; or set it to False'
    raise Invalid("measure.stem", True, fix) from error
  stem = functools.cache(PorterStemmer().stem)
  return lambda word: stem(word) if len(word) > SHORT else word


def ready(stem: bool, stop: Sequence[str] = ()) -> None:
  """Raises `Invalid` early for stems without their package, or stops that are no texts."""
  good = not isinstance(stop, str) and all(isinstance(one, str) and one for one in stop)
  require(good, "measure.stop", stop, "give texts that are not empty, as ('\\n\\n',)")
  if stem:
    stemmer()


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
