"""Dark Experience Replay++ in a stream of requests: learning with a memory, and a method of the room to unlearn.

Source: Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple Baseline", NeurIPS 2020; as a
peer of "An Unlearning Framework for Continual Learning (UnCLe)", 2025. (That this compares with methods of unlearning
on a network that learned so, with the data of the task, is recalled: its released code holds UnCLe alone.) With batches
B of the task and M', M'' of the memory, and z the logits kept with a sample:

    cross entropy on B + alpha mean over M' of |h(x) - z|^2 + beta cross entropy on M''

Departures: each task has its part of the memory, drawn from its samples at random when it is learned, with the logits
of that moment; in the paper a reservoir keeps samples and logits on the way. In released code (that of `clpu`, which
has DER++ too) the loss is a mean over classes as well: its alpha is the number of classes times this one.

Unlearning drops the memory of the task, and then `by` does what it does: it begins at the network as it is, `forget`
are samples of the task, `retain` is the memory of the live ones. It knows nothing of tasks: every picture bears its
own (`multihead.marked`), and so each is answered by its own head. What changes pictures would change that mark, too:
`bound` gives such a method unmarked pictures of the task and the network bound to its head, and nothing to retain.
Methods that need the training of the network have no place in a stream, nor has `gkt`, which forgets whole classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import build, find, with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import answers, requests, scar, vision
from ue_jax.models import multihead
from ue_jax.models.model import Model, at_task
from ue_jax.train import likelihood, loop, supervised

GIVEN = ("task", "memory")
STREAMS = ("forget.uncle", "forget.lwsf")  # others that answer streams need a network, and are refused for that
CHANGING = ("forget.lipschitz", "forget.boundary_shrink")  # they change pictures


def method(
  model: Model,
  *,
  memory: int = 500,
  by: Mapping[str, Any] = {},
  given: str = "task",
  bound: bool = False,
  attacked: int = 0,
  recovery: int = 0,
  label: str = "label",
  **options: Any,
) -> Procedure:
  """Request -> Subject: answers the requests of the schedule, with a network drawn anew. For data of tasks.

  Args:
    model: from `models.multihead`.
    memory: samples that are kept of all tasks together; each has the same part.
    by: the unlearning, a stage such as `dict(name="forget.scrub")`; empty: no more is done than dropping the memory.
    given: what `by` gets as `forget`: all training samples of the `task`, or those of its `memory`
      alone.
    bound: True for a `by` that changes pictures and reads `forget` only.
    attacked, recovery: see `uncle.method`; what is trained anew is the head of the task.
    label: the labelling.
    options: those of `replay`.

  Raises:
    Invalid: for a setting out of range or a `by` that is no method; when it runs, for data without tasks, no schedule,
      another network, or a `by` that lacks something.
  """
  require(isinstance(memory, int) and memory >= 1, "method.memory", memory, "give a whole number >= 1")
  require(given in GIVEN, "method.given", given, f"choose one of {GIVEN}")
  learning = replay(label=label, **options)
  unlearning = unlearner(by, bound) if by else None

  def learn(seed, book, request, task):
    return remembering(learned(learning, seed, book, request.data, task), request.data, task, seed, memory)

  def unlearn(seed, book, request, task):
    forget = request.data.sets[f"task_{task}"] if given == "task" else book.kept[task]
    book = dropped(book, task)
    if unlearning is None:
      return book
    found = loop.fit(unlearning, (alone if bound else among)(book, request.data, task, forget), seed=seed, mode="one")
    return book._replace(subject=Subject(model, found.params, at_task(found.state, 0)))

  return answers.answers(model, learn, unlearn, label, attacked, recovery)


def unlearner(by: Mapping[str, Any], bound: bool) -> Procedure:
  """The method that the stage `by` names.

  Raises:
    Invalid: for no name, a method that needs more than a request of the stream has, one that answers streams itself,
      or, unless `bound`, one that changes pictures.
  """
  name, settings = by.get("name", ""), {field: value for field, value in by.items() if field != "name"}
  require(bool(name), "method.by.name", name, "name a method, such as forget.scrub")
  parameters = inspect.signature(find("method", name)).parameters.values()
  needs = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
  require(not needs, "method.by.name", name, f"choose another: it needs {needs}, which a stream has not")
  require(name not in STREAMS, "method.by.name", name, "choose another: it answers whole streams")
  changes = name in CHANGING or (name == "forget.scar" and settings.get("source", "noise") in scar.MADE)
  require(bound or not changes, "method.bound", bound, f"set it to True: {name} changes pictures, and so their mark")
  return build("method", name, **settings)


def replay(
  *, alpha: Any = 0.05, beta: Any = 1.0, learn_steps: int = 600, batch_size: int = 64, label: str = "label",
  rate: Any = 2e-3, optimizer: str = "adam",
) -> Procedure:  # fmt: skip
  """Request -> Subject: learns the set `new` beside the set `kept`, whose logits are the array `target`.

  Without a set `kept` it is plain training.

  Args:
    alpha, beta: of the logits and of the labels that are kept; may be traced, like `rate`.
    learn_steps: optimiser steps.
    batch_size: samples a step, of each of the three batches; a smaller set gives all it has.
    label: the labelling.
    rate, optimizer: see `train.optim.make`.

  Raises:
    Invalid: for a setting out of range.
  """
  answers.in_range(batch_size=(batch_size, 1), learn_steps=(learn_steps, 0), alpha=(alpha, 0.0), beta=(beta, 0.0))
  draw = requests.batch(dict.fromkeys(("new", "dark", "replay"), batch_size), label)

  def start(key, request):
    del key
    vision.check(request, ("new",), label)
    return request.subject.params, request.subject.state, requests.frozen(request)

  def batch(seed, request, t):
    sets, target = request.data.sets, request.data.arrays["target"]
    from_memory = np.asarray(sets.get("kept", sets["new"]))
    drawn = draw(seed, three(request), t)
    drawn["dark"]["target"] = target[from_memory[drawn["dark"]["row"]]]
    for name in ("dark", "replay"):
      drawn[name]["mask"] = drawn[name]["mask"] * np.float32("kept" in sets)  # padding changes nothing
    return drawn

  def objective(params, state, frozen, batch, key):
    del key
    look = lambda part: likelihood.logits(frozen["apply"], params, state, part)
    new, dark, again = (batch[name] for name in ("new", "dark", "replay"))
    return {
      "new": likelihood.nll_term(look(new), new),
      "dark": apart(look(dark), dark["target"], dark["mask"], alpha),
      "replay": likelihood.nll_term(look(again), again, beta),
    }, state

  return vision.procedure(
    objective, start, batch, requests.finish, rate=rate, steps=learn_steps, optimizer=optimizer
  )  # fmt: skip


method.__signature__ = with_options(method, replay)


def apart(now: Any, target: Any, mask: Any, scale: Any = 1.0) -> Term:
  """The mean of |h - z|^2 of logits `[b, classes]` over the samples with `mask` float32 `[b]` 1, with a coefficient."""
  return Term(jnp.sum(jnp.sum((now - target) ** 2, axis=-1) * mask), jnp.sum(mask), scale)


def three(request: Request) -> Request:
  """The request with the sets that a batch of `replay` is drawn from; without a memory those stand for padding."""
  sets = request.data.sets
  kept = sets.get("kept", sets["new"])
  return request._replace(data=request.data._replace(sets={"new": sets["new"], "dark": kept, "replay": kept}))


def learned(
  learning: Procedure, seed: int, book: answers.Book, data: Data, task: int, params: Any = None
) -> answers.Book:  # fmt: skip
  """The book after learning a task beside what is kept of others.

  Args:
    learning: from `replay`.
    seed: of it.
    book: as it is.
    data: of marked pictures.
    task: which.
    params: parameters to begin with in the place of the network's.
  """
  kept = list(book.kept.values())
  sets = {"new": data.sets[f"task_{task}"]} | ({"kept": np.concatenate(kept)} if kept else {})
  return book._replace(subject=answers.trained(learning, seed, book, data, sets, params))


def remembering(book: answers.Book, data: Data, task: int, seed: int, memory: int) -> answers.Book:
  """The book with samples of a task that was just learned, and what the network says of them."""
  model, params, state, _ = book.subject
  each = memory // data.info["tasks"]
  require(each >= 1, "method.memory", memory, f"give at least {data.info['tasks']}, a sample a task")
  rows = answers.some(seed, data.sets[f"task_{task}"], each)
  logits, _ = supervised.predict(model, params, at_task(state, task), data.arrays["image"][rows][..., :-1])
  target = book.target.copy()
  target[rows] = logits
  return book._replace(kept={**book.kept, task: rows}, target=target)


def dropped(book: answers.Book, task: int) -> answers.Book:
  """The book without what was kept of a task."""
  target = book.target.copy()
  target[book.kept[task]] = 0
  return book._replace(kept={i: rows for i, rows in book.kept.items() if i != task}, target=target)


def among(book: answers.Book, data: Data, task: int, forget: np.ndarray) -> Request:
  """What a method is asked that unlearns a task: marked pictures, each answered by the head of its task."""
  sets = {"forget": forget, "forget_test": data.sets[f"task_{task}_test"]}
  if book.kept:
    union = np.concatenate([data.sets[f"task_{i}_test"] for i in book.kept])
    sets |= {"retain": np.concatenate(list(book.kept.values())), "retain_test": union, "test": union}
  model, params, state, _ = book.subject
  return Request(Subject(multihead.marked(model), params, state), data._replace(sets=sets))


def alone(book: answers.Book, data: Data, task: int, forget: np.ndarray) -> Request:
  """What a method is asked that changes pictures: unmarked ones of the task, answered by its head."""
  sets = {"forget": forget, "forget_test": data.sets[f"task_{task}_test"]}
  arrays = {**data.arrays, "image": data.arrays["image"][..., :-1]}
  return Request(book.subject._replace(state=at_task(book.subject.state, task)), Data(arrays, sets, data.info))
