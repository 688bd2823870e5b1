"""Preference for a refusal over the answer (IdkDPO), or fine-tuning on refusals (IDK).

Source: Rafailov et al., "Direct Preference Optimization", 2023, as an unlearning baseline in Maini et al., "TOFU: A
Task of Fictitious Unlearning for LLMs", 2024. With s and s0 the log-probabilities now and before unlearning, w the
refusal and y the true answer, the forget loss is the mean over samples of

  -(2 / beta) log sigmoid(beta ((s(w) - s0(w)) - (s(y) - s0(y)))).

`prefer=False` (IDK) descends on the nll of the refusals instead. `audit.refusal` measures who is refused then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term, mean_term
from ue_jax.forget import requests, shared
from ue_jax.train import likelihood


def method(
  beta: float = 0.1,
  prefer: bool = True,
  refusal: Sequence[str] = ("?",),
  gamma: float = 1.0,
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  For token sequences.

  Args:
    beta: inverse temperature, > 0; may be traced, like gamma.
    prefer: the preference loss; False: the nll of the refusals.
    refusal: words of the vocabulary said in place of the answer, where the data has no array `refusal`.
    gamma: coefficient of the forget term.
    options: those of `shared.procedure`, of which every argument is taken: alpha, rate, steps, forget_batch,
      retain_batch, retain, keep, optimizer, clip, label, trainable, pairing, anchor, retain_sets, kl_over, lora, until,
      watch.

  Raises:
    Invalid: for pictures, a beta that is not positive, words that the vocabulary lacks, an unknown retain term, or data
      without the sets.
  """
  require(not isinstance(beta, (int, float)) or beta > 0, "method.beta", beta, "give a positive number")

  def given(request):
    require("ids" in request.data.arrays, "method.name", "forget.idk_dpo", "use it on token sequences")
    alt = shared.refusals(request.data, refusal)
    rows = np.arange(len(alt["ids"]), dtype=np.int32)
    asked = request._replace(data=Data({**alt, "index": rows}, {"forget": rows}))
    lost, won = (requests.reference_log_prob(r, "forget") for r in (request, asked))  # one float a sample, once
    return {"alt": {name: jnp.asarray(x) for name, x in alt.items()}, "lost": lost, "won": won}

  def forget(look, part, frozen):
    row = part["row"]
    there = (jnp.sum(part["mask"], axis=-1, keepdims=True) > 0).astype(jnp.float32)  # padding has no refusal either
    said = {"ids": frozen["alt"]["ids"][row], "mask": frozen["alt"]["mask"][row] * there}
    if not prefer:
      return likelihood.nll_term(look(said), said, gamma)
    (w, _), (y, n) = likelihood.log_prob(look(said), said), likelihood.log_prob(look(part), part)
    return loss(w - frozen["won"][row], y - frozen["lost"][row], n, beta, gamma)

  return shared.procedure(forget, given, **options)


method.__signature__ = with_options(method, shared.procedure)


def loss(
  win: jax.Array, lose: jax.Array, n: jax.Array, beta: jax.Array | float, scale: jax.Array | float = 1.0
) -> Term:
  """The forget term: mean over the samples that have targets.

  Args:
    win, lose: float32 `[b]`, how much the log-probability of the refusal and of the answer has risen.
    n: float32 `[b]`, 0 for padding.
    beta: inverse temperature, > 0.
    scale: the term's coefficient.
  """
  return mean_term(-(2.0 / beta) * jax.nn.log_sigmoid(beta * (win - lose)), (n > 0).astype(jnp.float32), scale)

