"""Perplexity: exp of the mean nll over all tokens of a text, and how much unlearning changed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

MOST = 1e30  # of a model that gives a token probability 0


def measure(sets: Sequence[str] = ("retain",), whole: bool = False, pad: int = 0, chunk: int = 256) -> Procedure:
  """Request -> Scores `<set>/perplexity`, from 1 (certain), and with `request.original` `<set>/perplexity_ratio`.

  Perplexity is best near that of the reference, of the original where there is no reference, else low (1); the ratio
  to the original likewise (near 1 where there is no reference).

  Args:
    sets: which sets.
    whole: count every token but the first, not the targets only.
    pad: id of the padding, for `whole`.
    chunk: samples computed at once.

  Raises:
    Invalid: for an unknown set, or data that are not token sequences.
  """

  def score(key, request: Request) -> Scores:
    del key
    out = {}
    for name in sets:
      data = _whole(request.data, name, pad) if whole else request.data
      mine, n = perplexity(request.subject, data, name, chunk)
      before = perplexity(request.original, data, name, chunk)[0] if request.original else None
      ideal = perplexity(request.reference, data, name, chunk)[0] if request.reference else before
      aim = ("low", 1.0) if ideal is None else ("near", ideal)
      out[f"{name}/perplexity"] = Score(mine, n, *aim, 1.0, float("inf"))
      if before is not None:
        out[f"{name}/perplexity_ratio"] = Score(mine / before, n, "near", ideal / before, 0.0, float("inf"))
    return out

  return once(score)


def perplexity(subject: Subject, data: Data, name: str, chunk: int = 256) -> tuple[float, int]:
  """exp(- sum of log-probabilities / targets), over all targets of a set together, and how many they are."""
  require(scoring.is_tokens(data), "measure.name", "audit.perplexity", "measure token sequences with it")
  found = scoring.score(subject, data, (name,), chunk=chunk)[name]
  n = int(found.mask.sum())
  require(n > 0, "measure.sets", name, "name a set with targets")
  nll = -float(found.log_probs.sum(dtype=np.float64)) / n
  return float(min(np.exp(min(nll, 700.0)), MOST)), n


def _whole(data: Data, name: str, pad: int) -> Data:
  require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  mask = (data.arrays["ids"] != pad).astype(np.float32)
  mask[:, 0] = 0
  return Data({**data.arrays, "mask": mask}, data.sets, data.info)
