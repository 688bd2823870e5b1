"""A stream of requests, answered one after the other by a network drawn anew: what `der_plus`, `clpu`, `lwsf` share.

In `uncle` a request is a step. Here it is a training of many steps or a whole method of the room, each with a state of
its own, so the stream is driven from the host and is one call, on one device: a run that is stopped begins the stream
again. The history has a row a request, with the curves that `uncle` gives, so `audit.continual` reads both alike.

The randomness of a request depends on its task, not on its place in the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ue_jax.core.errors import require, told
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import stream, tasks
from ue_jax.forget import recovery as recoveries
from ue_jax.forget import vision
from ue_jax.models import multihead
from ue_jax.models.model import Model
from ue_jax.train import by_task, loop


class Book(NamedTuple):
  """Where a stream stands between two requests.

  Attributes:
    subject: the network.
    live: the tasks that are learned and not unlearned, in the order in which they were learned.
    gone: the tasks that are unlearned.
    kept: task -> int positions of the samples that are kept of it.
    target: float32 `[n, classes]`, logits that are kept of those samples.
    start: the parameters as they were drawn.
    more: what else a method keeps.
  """

  subject: Subject
  live: tuple[int, ...]
  gone: tuple[int, ...]
  kept: dict[int, np.ndarray]
  target: np.ndarray
  start: Any
  more: Any = None


# (seed, book, request with marked pictures, task) -> the book with the network and what is kept as they are afterwards
Answer = Callable[[int, Book, Request, int], Book]


def answers(
  model: Model,
  learn: Answer,
  unlearn: Answer,
  label: str,
  attacked: int,
  recovery: int,
  fits: Callable[[Any, Any], None] = multihead.check,
  begin: Callable[[int, Request], Request] = lambda seed, request: request,
) -> Procedure:
  """Request -> Subject: the network after all requests of the schedule, and a row of the history for each.

  `learn` and `unlearn` change the network and what is kept; which tasks are live is written here.

  Args:
    model: a network with tasks, drawn anew.
    learn, unlearn: see `Answer`; of the request they get, all pictures are marked (`multihead.mark`).
    label: the labelling.
    attacked, recovery: see `uncle.method`.
    fits: refuses the parameters and the state of another network.
    begin: `(seed, request) -> request` that `learn` and `unlearn` get.

  Raises:
    Invalid: for `attacked` or `recovery` that are no whole numbers >= 0.
  """

  in_range(attacked=(attacked, 0), recovery=(recovery, 0))

  def run(key, request):
    asked = check(request, label)
    data, seed = request.data, lambda place: int(jax.random.randint(jax.random.fold_in(key, place), (), 0, 2**31 - 1))
    params, state = model.init(jax.random.fold_in(key, 1), data.arrays["image"][:1])
    fits(params, state)
    shown, rows = begin(seed(0), marked(request)), []
    blank = np.zeros((shown.data.n, vision.classes_in(data, label)), np.float32)
    book = Book(Subject(model, params, state), (), (), {}, blank, params)
    again, own = {i: recovery for learns, i in asked if not learns and recovery}, jax.random.fold_in(key, 1 << 20)
    for learns, task in asked:
      book = (learn if learns else unlearn)(seed(2 + 2 * task + learns), book, shown, task)
      rest = tuple(i for i in book.live if i != task)
      book = book._replace(live=(*rest, task)) if learns else book._replace(live=rest, gone=(*book.gone, task))
      rows.append(look(book, data, label, 0 if learns else attacked) | regained(book, data, again, own, label))
    return book.subject._replace(history=history(rows))

  return once(run)


def check(request: Request, label: str = "label") -> list[tuple[bool, int]]:
  """The requests of the schedule, see `tasks.parse`.

  Raises:
    Invalid: for data without tasks or the labelling, or a request without schedule.
  """
  count, fix = tasks.count(request.data), "add a select stage: dict(name='data.tasks', sequence='L0,L1,U0')"
  require(len(request.schedule) > 0, "request.schedule", request.schedule, fix)
  vision.classes_in(request.data, label)
  return tasks.parse(request.schedule, count)


def in_range(**given: tuple[Any, int | float]) -> None:
  """Raises Invalid for a setting below its least value: a whole number where that is one. Traced ones pass."""
  for name, (value, least) in given.items():
    if isinstance(least, int):
      good = isinstance(value, (int, np.integer)) and value >= least
      require(good, f"method.{name}", value, f"give a whole number >= {least}")
    elif told(value):
      require(least <= value < float("inf"), f"method.{name}", value, f"give a finite number >= {least:g}")


def marked(request: Request) -> Request:
  """The request with the task of every picture written into it."""
  arrays = request.data.arrays
  image = multihead.mark(arrays["image"], arrays["task"])
  return request._replace(data=request.data._replace(arrays={**arrays, "image": image}))


def trained(
  procedure: Procedure, seed: int, book: Book, data: Data, sets: dict[str, np.ndarray], params: Any = None, **info: Any
) -> Subject:
  """The network after a procedure Request -> Subject of marked pictures.

  Args:
    procedure: what is run.
    seed: of it.
    book: holds the network to begin with, and the logits that are kept, which the procedure finds as `target`.
    data: of marked pictures.
    sets: those that the procedure gets.
    params: parameters to begin with in the place of the network's.
    info: more that it finds in the `info` of the data.
  """
  model, own, state, _ = book.subject
  own = own if params is None else params
  data = Data({**data.arrays, "target": book.target}, sets, {**data.info, **info})
  found = loop.fit(procedure, Request(Subject(multihead.marked(model), own, state), data), seed=seed, mode="one")
  return Subject(model, found.params, found.state)


def some(seed: int, rows: np.ndarray, count: int) -> np.ndarray:
  """`count` of the positions, or all if there are fewer, drawn by the seed."""
  rows = np.asarray(rows)
  return rows[np.sort(stream.permutation(seed, "kept", len(rows))[:count])]


def look(book: Book, data: Data, label: str, attacked: int) -> dict[str, np.float32]:
  """What a request left behind, see `train.by_task`; the attack if `attacked` is above 0."""
  model, params, state, _ = book.subject
  seen = by_task.look(model, params, state, data, label)
  return seen | (by_task.attacked(model, params, state, data, book.live, attacked, label) if attacked else {})


def regained(book: Book, data: Data, steps: dict[int, int], key: jax.Array, label: str) -> dict[str, np.float32]:
  """`task_i_recovery` of the tasks i in `steps`, after so many steps, see `recovery.accuracy`."""
  model, params, state, _ = book.subject
  one = lambda i: recoveries.accuracy(model, params, state, data, i, key=key, steps=steps[i], label=label)
  return {f"task_{i}_recovery": one(i) for i in sorted(steps)}


def history(rows: list[dict[str, np.float32]]) -> dict[str, np.ndarray]:
  """Curves float32 `[requests]`, NaN where there was no look, and `step` int32 from 1."""
  names = dict.fromkeys(name for row in rows for name in row)
  curves = {name: np.array([row.get(name, np.nan) for row in rows], np.float32) for name in names}
  return {"step": np.arange(1, len(rows) + 1, dtype=np.int32), **curves}
