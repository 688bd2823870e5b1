"""Model utility: the harmonic mean of probability, ROUGE-L and truth ratio over what should be kept.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, section 2.2.1: three numbers on each of
the retain set, real authors and facts of the world, nine in all. One zero makes it zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ue_jax.audit import rouge, scoring, truth
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once


def measure(
  plain: Sequence[str] = ("retain",), normalised: Sequence[str] = ("world",), new: int = 0, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None, stem: bool = True, stop: Sequence[str] = (),
) -> Procedure:  # fmt: skip
  """Request -> Scores `utility` and its parts `<set>/utility_<part>`, in [0, 1]; best near the reference's, or high.

  With `data.tofu`: `plain=("retain_sample",)`, `normalised=("real_authors", "world_facts")`.

  Args:
    plain: sets whose probability is exp(-nll).
    normalised: sets whose probability is that among right and wrong answers.
    new: most tokens to generate; 0: as many as the longest answer has (TOFU: 200).
    chunk: samples computed at once.
    decode: token ids -> text, for ROUGE of tokens that are no words.
    stem: of texts (`decode`), compare words shortened by Porter's stemmer, as TOFU does; needs the package `nltk`.
      Tokens that count as words are compared as they are.
    stop: see `audit.rouge`; TOFU has none.

  Raises:
    Invalid: for an unknown set, or one without wrong answers (see `audit.truth`); see `audit.rouge`.
  """
  require(len(plain) + len(normalised) > 0, "measure.plain", plain, "name at least one set")
  stem = stem and decode is not None
  rouge.ready(stem, stop)

  def values(subject: Subject, data: Data) -> dict[str, tuple[float, int]]:
    out = {}
    for name in (*plain, *normalised):
      found = truth.nlls(subject, data, name, chunk)
      said, n = rouge.means(subject, data, (name,), "recall", new, chunk, decode, stem, stop)[name]
      p = float(truth.normalised(found).mean())
      if name in plain:
        p = float(np.exp(-scoring.score(subject, data, (name,), chunk=chunk)[name].mean_nll()).mean())
      parts = {"p": p, "rouge": said, "truth_ratio": truth.truer(truth.ratios(found))}
      out |= {f"{name}/utility_{part}": (value, n) for part, value in parts.items()}
    mean = harmonic_mean([value for value, _ in out.values()])
    return {"utility": (mean, sum(n for _, n in out.values()) // 3), **out}

  def score(key, request: Request) -> Scores:
    del key
    mine = values(request.subject, request.data)
    ideal = values(request.reference, request.data) if request.reference else {}
    aim = lambda name: ("near", ideal[name][0]) if ideal else ("high", 1.0)
    return {name: Score(*value, *aim(name)) for name, value in mine.items()}

  return once(score)


def harmonic_mean(values: Sequence[float]) -> float:
  """n / sum of 1 / value; 0 if one is 0.

  Raises:
    Invalid: for no value, or one that is negative or NaN.
  """
  require(len(values) > 0 and all(v >= 0 for v in values), "measure.values", list(values), "give numbers >= 0")
  return 0.0 if min(values) == 0 else len(values) / sum(1 / v for v in values)
