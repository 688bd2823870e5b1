"""Any method on low-rank adapters alone: the method sees a model whose parameters are the adapters.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1, by `models.lora`. What
the method compares with (logits or log-probabilities before unlearning) are those of adapters that change nothing yet,
so every loss keeps its meaning. At the end the adapters are merged: what comes after gets ordinary parameters.
"""

from __future__ import annotations

import jax

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.models import lora
from ue_jax.train.adapters import subject_of


def adapted(
  procedure: Procedure, rank: int = 8, alpha: float = 16.0, where: str = lora.LINEAR, start: str = "uniform"
) -> Procedure:
  """Request -> Subject: `procedure` (Request -> Subject) with nothing trained but adapters of rank `rank`.

  Leaves that are not adapted keep their bits; the others change by a matrix of at most this rank. There is no dropout.

  Args:
    procedure: reads the subject through `model.apply` and `params` only; a `trainable` of its own is matched with
      names such as `block_0/down/kernel/a`.
    rank: of the adapters, above 0.
    alpha: their weight is alpha / rank; may be traced.
    where: regular expression: kernels in whose name it is found are adapted. The seven linear maps of a decoder's
      blocks, unless told otherwise; `kernel$` for other networks.
    start: how they begin, see `models.lora.init`.

  Raises:
    Invalid: for a rank that is no whole number above 0; at `init` if `where` finds no kernel, or one that is too small.
  """
  require(type(rank) is int and rank > 0, "method.lora.rank", rank, "give a whole number above 0")
  fresh = lambda key, request: subject_of(key, request.subject, rank, alpha / rank, where, start)
  # Adapters that just began change nothing, whatever their A is: so any key makes the same function of them.
  again = lambda request: request._replace(subject=fresh(jax.random.key(0), request))

  def init(key, request: Request):
    own, key = jax.random.split(key)
    return procedure.init(key, request._replace(subject=fresh(own, request)))

  def finish(state, request: Request) -> Subject:
    done, before = procedure.finish(state, again(request)), request.subject
    return done._replace(model=before.model, params=lora.merge(before.params, done.params, alpha / rank))

  probe = procedure.probe and (lambda state, request: procedure.probe(state, again(request)))
  return procedure._replace(init=init, finish=finish, probe=probe)
