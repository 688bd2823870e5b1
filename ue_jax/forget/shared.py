"""A method out of a forget term: what gradient methods with a retain term have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import requests
from ue_jax.train import descend, likelihood, optim

# look(batch) -> its logits now, look(batch, before=True) -> those of `frozen["params"]`
Look = Callable[..., jax.Array]
# (look, the forget batch, what `given` found and more that nothing trains) -> the forget term
Forget = Callable[[Look, Mapping[str, jax.Array], Mapping[str, Any]], Term]


def procedure(
  forget: Forget,
  given: Callable[[Request], Mapping[str, Any]],
  *,
  alpha: float = 1.0,
  rate: float = 3e-4,
  steps: int = 60,
  forget_batch: int = 24,
  retain_batch: int = 48,
  retain: str = "nll",
  keep: Sequence[str] = ("retain",),
  optimizer: str = "adam",
  clip: float = 0.0,
  label: str = "label",
) -> Procedure:
  """Request -> Subject: descends on a forget term and, unless `retain` is `none`, `alpha` times a retain term.

  Reads the set `forget` and (unless `retain` is `none`) those of `keep`.

  Args:
    forget: the forget term.
    given: what that reads besides, found once at the start: `{"params": request.subject.params}` for the model before
      unlearning; `{}` for nothing.
    alpha: coefficient of the retain term; may be traced, as may rate.
    rate: learning rate.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    retain: `nll` of the retain batch, `kl` to the model before unlearning on it, or `none`.
    keep: the sets that the retain batches are drawn from, taken together.
    optimizer: a name that `train.optim.make` knows.
    clip: the largest global norm of the gradient; 0 means no clipping.
    label: the labelling to forget, for pictures.

  Raises:
    Invalid: for an unknown retain term, or data without the sets.
  """
  sizes = requests.sizes(forget_batch, retain_batch, retain)

  def start(key, request):
    del key
    requests.check(request, ("forget",) if retain == "none" else ("forget", *keep), label)
    first = {**requests.original_params(retain, request), **given(request)}
    return request.subject.params, request.subject.state, requests.frozen(request, **first)

  def objective(params, state, frozen, batch, key):
    del key
    look = lambda part, before=False: likelihood.logits(
      frozen["apply"], frozen["params"] if before else params, state, part
    )  # fmt: skip
    terms = {"forget": forget(look, batch["forget"], frozen)}
    return terms | requests.retain_terms(retain, params, state, frozen, batch, alpha), state

  tx, draw = optim.make(optimizer, rate, steps, clip=clip), requests.batch(sizes, label, keep)
  return descend.descend(objective, tx, start=start, finish=requests.finish, batch=draw, steps=steps)


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
