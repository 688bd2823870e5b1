"""A method out of a forget term: what gradient methods with an optional retain term have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import requests
from ue_jax.train import descend, likelihood, optim

# (logits of the forget batch, the batch, logits before unlearning) -> the forget term; the last is None if not `before`
Forget = Callable[[jax.Array, Mapping[str, jax.Array], jax.Array | None], Term]


def procedure(
  forget: Forget, *, alpha: Any, rate: Any, steps: int, forget_batch: int, retain_batch: int, retain: str,
  keep: Sequence[str], optimizer: str, label: str, before: bool = False,
) -> Procedure:  # fmt: skip
  """Request -> Subject: descends on `forget` + `alpha` times the retain term.

  Args:
    forget: the forget term.
    alpha, rate, steps, forget_batch, retain_batch, retain, keep, optimizer, label: as in `npo.method`.
    before: whether the term reads the logits of the model before unlearning.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """
  sizes = requests.sizes(forget_batch, retain_batch, retain)

  def start(key, request):
    del key
    requests.check(request, ("forget",) if retain == "none" else ("forget", *keep), label)
    first = {"params": request.subject.params} if before else requests.original_params(retain, request)
    return request.subject.params, request.subject.state, requests.frozen(request, **first)

  def objective(params, state, frozen, batch, key):
    del key
    part = batch["forget"]
    now = likelihood.logits(frozen["apply"], params, state, part)
    then = likelihood.logits(frozen["apply"], frozen["params"], state, part) if before else None
    terms = {"forget": forget(now, part, then)}
    return terms | requests.retain_terms(retain, params, state, frozen, batch, alpha), state

  return descend.descend(
    objective, optim.make(optimizer, rate, steps), start=start, finish=requests.finish,
    batch=requests.batch(sizes, label, keep), steps=steps,
  )  # fmt: skip


def refusals(data: Data, words: Sequence[str]) -> dict[str, Any]:
  """The sequences of the set `forget` with a refusal for the answer: `ids` int32 and `mask` float32 `[m, t]`.

  The arrays `refusal` and `refusal_mask` of the data if it has them; else `words` stand in place of the answer, before
  the end token.

  Raises:
    Invalid: for words that the vocabulary lacks, or a refusal that is too long for a sequence.
  """
  rows = np.asarray(data.sets["forget"])
  if "refusal" in data.arrays:
    return {"ids": data.arrays["refusal"][rows], "mask": data.arrays["refusal_mask"][rows].astype(np.float32)}
  known = {word: i for i, word in enumerate(data.info.get("vocabulary", []))}
  for word in words:
    require(word in known, "method.refusal", word, "use words of the vocabulary, or data with the array 'refusal'")
  said = [known[word] for word in words]
  ids, mask = data.arrays["ids"][rows].copy(), data.arrays["mask"][rows] > 0
  require(len(said) > 0 and bool(mask.any(1).all()), "method.refusal", words, "give words; every row needs an answer")
  out = np.zeros(mask.shape, np.float32)
  for i, at in enumerate(mask.argmax(1).tolist()):
    last = int(np.flatnonzero(mask[i])[-1])
    end, fill = ids[i, last], ids[i, -1] if not mask[i, -1] else 0
    require(at + len(said) < ids.shape[1], "method.refusal", words, "give fewer words, or longer sequences")
    ids[i, at:] = fill
    ids[i, at : at + len(said) + 1], out[i, at : at + len(said) + 1] = [*said, end], 1
  return {"ids": ids, "mask": out}

