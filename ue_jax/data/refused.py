"""Questions with a refusal in the place of the answer: what methods teach, and audits look for.

Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024, has a file of such sentences (`data.tofu`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data


def refused(data: Data, words: Sequence[str], name: str = "forget", field: str = "data.refusal") -> dict[str, Any]:
  """The sequences of the set `name` with a refusal for the answer: `ids` int32 and `mask` float32 `[m, t]`.

  The arrays `refusal` and `refusal_mask` of the data if it has them; else `words` stand in place of the answer, before
  the end token.

  Args:
    data: token sequences.
    words: of the vocabulary.
    name: of a set.
    field: what an error calls the words.

  Raises:
    Invalid: for words that the vocabulary lacks, or a refusal that is too long for a sequence.
  """
  rows = np.asarray(data.sets[name])
  if "refusal" in data.arrays:
    return {"ids": data.arrays["refusal"][rows], "mask": data.arrays["refusal_mask"][rows].astype(np.float32)}
  vocabulary = data.info.get("vocabulary", [])
  known = {} if isinstance(vocabulary, int) else {word: i for i, word in enumerate(vocabulary)}  # or only how many
  for word in words:
    require(word in known, field, word, "use words of the vocabulary, or data with the array 'refusal'")
  said = [known[word] for word in words]
  ids, mask = data.arrays["ids"][rows].copy(), data.arrays["mask"][rows] > 0
  require(len(said) > 0 and bool(mask.any(1).all()), field, words, "give words; every row needs an answer")
  out = np.zeros(mask.shape, np.float32)
  for i, at in enumerate(mask.argmax(1).tolist()):
    last = int(np.flatnonzero(mask[i])[-1])
    end, fill = ids[i, last], ids[i, -1] if not mask[i, -1] else 0
    require(at + len(said) < ids.shape[1], field, words, "give fewer words, or longer sequences")
    ids[i, at:] = fill
    ids[i, at : at + len(said) + 1], out[i, at : at + len(said) + 1] = [*said, end], 1
  return {"ids": ids, "mask": out}
