"""CLPU-DER++: what will have to go is learned in a network of its own, which is then put back to where it began.

Source: Liu, Liu and Stone, "Continual Learning and Private Unlearning", CoLLAs 2022, with its released code. A task is
declared when it is learned: a permanent one is learned in the main network by DER++ (`der_plus`), a temporary one in a
network of its own, without any memory. Unlearning deletes that network, and is exact: not a bit is left of the task.

A stream says `L` of both, so the declaration is read off the schedule: what it unlearns later is temporary. That is
foresight which the other methods do not have, and the price is a network for every such task. The step of the paper
that makes a temporary task permanent (distilling its network into the main one) does not occur in these streams, and
is not here. As in the release a temporary network begins anew, not as a copy of the main one.
"""

from __future__ import annotations

from typing import Any

import jax

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.data import tasks
from ue_jax.forget import answers, der_plus
from ue_jax.models import multihead
from ue_jax.models.model import Model


def method(
  model: Model, *, memory: int = 500, attacked: int = 0, recovery: int = 0, label: str = "label", **options: Any
) -> Procedure:
  """Request -> Subject: answers the requests of the schedule, with a network drawn anew. For data of tasks.

  Args:
    model: from `models.apart`.
    memory, attacked, recovery, label: see `der_plus.method`.
    options: those of `der_plus.replay`.

  Raises:
    Invalid: for a setting out of range; when it runs, for data without tasks, no schedule or another network.
  """
  require(isinstance(memory, int) and memory >= 1, "method.memory", memory, "give a whole number >= 1")
  learning = der_plus.replay(label=label, **options)

  def learn(seed, book, request, task):
    params = book.subject.params
    if task in temporary(request):
      begin = {"main": jax.tree.map(lambda x: x[task], params["own"])}
      alone = der_plus.learned(learning, seed, book._replace(kept={}), request.data, task, begin)
      return placed(book, task, alone.subject.params["main"], True)
    after = der_plus.learned(learning, seed, book, request.data, task, {"main": params["main"]})
    whole = {**params, "main": after.subject.params["main"]}
    after = after._replace(subject=book.subject._replace(params=whole))
    return der_plus.remembering(after, request.data, task, seed, memory)

  def unlearn(seed, book, request, task):
    del seed, request
    return placed(book, task, jax.tree.map(lambda x: x[task], book.start["own"]), False)

  return answers.answers(model, learn, unlearn, label, attacked, recovery, fits)


method.__signature__ = with_options(method, der_plus.replay)


def fits(params: Any, state: Any) -> None:
  """Raises Invalid for the parameters and the state of another network than `models.apart` of `models.multihead`."""
  require("apart" in state, "method.model", sorted(state), "give a network with room for others: models.apart")
  multihead.check(params["main"], state["inner"])


def temporary(request: Request) -> set[int]:
  """The tasks that the schedule unlearns."""
  return {task for learn, task in tasks.parse(request.schedule, tasks.count(request.data)) if not learn}


def placed(book: answers.Book, task: int, params: Any, apart: bool) -> answers.Book:
  """The book with `params` for the task's own network, which answers for the task if `apart` is True."""
  model, whole, state, history = book.subject
  own = jax.tree.map(lambda all, x: all.at[task].set(x), whole["own"], params)
  state = {**state, "apart": state["apart"].at[task].set(apart)}
  return book._replace(subject=Subject(model, {**whole, "own": own}, state, history))
