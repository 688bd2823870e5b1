"""How many questions are refused: the share whose greedy answer is the refusal, word for word and with its end.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, whose refusals `forget.idk_dpo` teaches.
A model is to refuse what it was asked to forget, and nothing else: a method that makes it refuse everything has 1 on
every set. Found under teacher forcing, which for whole sequences says the same as greedy continuation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import refused


def measure(
  sets: Sequence[str] = ("forget", "retain"), refusal: Sequence[str] = ("?",), chunk: int = 256
) -> Procedure:
  """Request -> Scores `<set>/refused` in [0, 1], best high (1) on `forget*`, low (0) elsewhere.

  No reference is asked: a model that never saw an answer guesses, and refuses only if it was taught to.

  Args:
    sets: which sets, of token sequences.
    refusal: words of the vocabulary, where the data has no array `refusal`; those of the method. With several
      sentences in that array (TOFU) only the one that stands beside a question counts as its refusal.
    chunk: samples computed at once.

  Raises:
    Invalid: for pictures, an unknown set, words that the vocabulary lacks, or a refusal too long for a sequence.
  """

  def score(key, request: Request) -> Scores:
    del key
    data, out = request.data, {}
    require(scoring.is_tokens(data), "measure.name", "audit.refusal", "measure token sequences with it")
    for name in sets:
      require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
      said = refused.refused(data, refusal, name, "measure.refusal")
      rows = np.arange(len(said["ids"]), dtype=np.int32)
      asked = Data({**said, "index": rows}, {"all": rows})
      right = scoring.score(request.subject, asked, ("all",), chunk=chunk)["all"].exact()
      forgotten = name.startswith("forget")
      out[f"{name}/refused"] = Score(float(right.mean()), len(rows), *(("high", 1.0) if forgotten else ("low", 0.0)))
    return out

  return once(score)
