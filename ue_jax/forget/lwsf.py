"""Learning with selective forgetting: every class has a code, and what is to stay is reminded by its codes alone.

Source: Shibata, Irie, Ikami and Mitsuzumi, "Learning with Selective Forgetting", IJCAI 2021, with its released code;
what a request to unlearn does is from the code of Liu, Liu and Stone (`clpu`), which compares with it, for in the paper
forgetting happens while the next task is learned. Codes c_k are random pictures of coarse grain, one a class and task.
While task t is learned on (x, y), with x' = u x + (1 - u) c_y and u uniform in [0, 1], theta* the network before the
request and h_i the head of task i:

    cross entropy on x + cross entropy on x'                                            the task, with its codes
    + keep  sum over live i of the cross entropy of h_i on the codes of task i          selective forgetting loss
    + lwf   sum over live i of T^2 KL(h_i(x; theta*) || h_i(x)) on x and on x'          learning without forgetting
    + blank sum over gone i of T^2 KL(uniform || h_i(x)) on x and on x'                 (the release: blank = lwf)
    + ewc   sum over live i of sum F_i (theta - theta_i)^2                              elastic weight consolidation

F_i is the diagonal of the empirical Fisher matrix of task i, theta_i the network, both right after learning it.
Unlearning leaves the task out of all that is reminded, and learns once more on the data of the live task that was
learned last; if no task is live, there is nothing to learn on, and nothing changes. No sample of a past task is kept.
The sums of keep and lwf leave out t, which is learned itself.

Departures: no additive margin in the cross entropies; a mean over a batch of all live codes, times their tasks, in the
place of a batch a task; F_i and theta_i are kept of every task, as Liu, Liu and Stone do, and not one sum of them. The
task is known when it is asked, and pictures come without code then, as in the release.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require, told
from ue_jax.core.nouns import Request
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.data import tasks
from ue_jax.forget import answers, gradients, requests, scrub, vision
from ue_jax.models import multihead
from ue_jax.models.model import Model
from ue_jax.train import likelihood


def method(
  model: Model,
  *,
  learn_steps: int = 600,
  forget_steps: int = 600,
  batch_size: int = 64,
  rate: Any = 2e-3,
  lwf: Any = 5.0,
  keep: Any = 10.0,
  blank: Any = 5.0,
  ewc: Any = 100.0,
  temperature: Any = 2.0,
  grain: int = 4,
  optimizer: str = "adam",
  attacked: int = 0,
  recovery: int = 0,
  label: str = "label",
) -> Procedure:
  """Request -> Subject: answers the requests of the schedule, with a network drawn anew. For data of tasks.

  Args:
    model: from `models.multihead`.
    learn_steps, forget_steps: optimiser steps of learning and of unlearning a task.
    batch_size: samples a step.
    rate, optimizer: see `train.optim.make`; the rate may be traced, as may the numbers below but `grain`.
    lwf, keep, blank, ewc: coefficients, >= 0, see above. Release 5, 10, 5 and 100.
    temperature: T > 0. Release 2.
    grain: the codes are squares of so many pixels a side.
    attacked, recovery: see `uncle.method`; what is trained anew is the head of the task.
    label: the labelling.

  Raises:
    Invalid: for a setting out of range; when it runs, for data without tasks, no schedule or another network.
  """
  answers.in_range(
    grain=(grain, 1), learn_steps=(learn_steps, 0), forget_steps=(forget_steps, 0), batch_size=(batch_size, 1),
    lwf=(lwf, 0.0), keep=(keep, 0.0), blank=(blank, 0.0), ewc=(ewc, 0.0),
  )  # fmt: skip
  require(not told(temperature) or temperature > 0, "method.temperature", temperature, "give a positive number")
  settings = dict(
    batch_size=batch_size, rate=rate, lwf=lwf, keep=keep, blank=blank, ewc=ewc, temperature=temperature,
    optimizer=optimizer, label=label,
  )  # fmt: skip
  learning, again = (lesson(steps=steps, **settings) for steps in (learn_steps, forget_steps))

  def taught(procedure, seed, book, request, task, gone):
    count, classes = tasks.count(request.data), vision.classes_in(request.data, label)
    held = [i for i in book.live if i != task and i not in gone]
    every = request.data.sets["codes"].reshape(count, classes)
    codes = (every[held] if held else every).reshape(-1)
    sets = {"new": request.data.sets[f"task_{task}"], "codes": codes, "all": every.reshape(-1)}
    flags = lambda some: [float(i in some) for i in range(count)]
    procedure = anchored(procedure, *(book.more or nowhere(book.start, count)))
    found = answers.trained(procedure, seed, book, request.data, sets, held=flags(held), gone=flags(gone))
    return book._replace(subject=found)

  def learn(seed, book, request, task):
    fisher, anchor = book.more or nowhere(book.start, tasks.count(request.data))
    book = taught(learning, seed, book, request, task, book.gone)
    put = lambda all, x: jax.tree.map(lambda all, x: all.at[task].set(x), all, x)
    return book._replace(more=(put(fisher, matters(book, request.data, task, label)), put(anchor, book.subject.params)))

  def unlearn(seed, book, request, task):
    book = book._replace(more=jax.tree.map(lambda all: all.at[task].set(0), book.more))
    left = [i for i in book.live if i != task]
    return taught(again, seed, book, request, left[-1], (*book.gone, task)) if left else book

  begin = lambda seed, request: coded(seed, request, grain, label)
  return answers.answers(model, learn, unlearn, label, attacked, recovery, begin=begin)


def lesson(
  steps: int, batch_size: int, rate: Any, lwf: Any, keep: Any, blank: Any, ewc: Any, temperature: Any, optimizer: str,
  label: str,
) -> Procedure:  # fmt: skip
  """Request -> Subject: learns the set `new` of marked pictures, whose codes are the set `all`; to be `anchored`.

  Reminded of the tasks with 1 in `info["held"]`, whose codes are the set `codes`; not of those with 1 in
  `info["gone"]`. The arguments are those of `method`.
  """
  draw = requests.batch({"new": batch_size, "codes": batch_size}, label)

  def start(key, request):
    del key
    vision.check(request, ("new", "codes", "all"), label)
    return request.subject.params, request.subject.state, requests.frozen(request, params=request.subject.params)

  def batch(seed, request, t):
    data, drawn = request.data, draw(seed, request, t)
    classes = vision.classes_in(data, label)
    task = drawn["new"]["image"][:, 0, 0, -1].astype(np.int32)
    drawn["new"]["code"] = data.arrays["image"][data.sets["all"][task * classes + drawn["new"]["label"]]]
    held, gone = (np.asarray(data.info[name], np.float32) for name in ("held", "gone"))
    drawn["codes"]["mask"] = drawn["codes"]["mask"] * np.float32(held.any())  # padding changes nothing
    return drawn | {"held": held, "gone": gone}

  def objective(params, state, frozen, batch, key):
    look = lambda tree, part: likelihood.logits(frozen["apply"], tree, state, part)
    both, codes = mixed(key, batch["new"]), batch["codes"]

    def of(task):
      part = {"image": remarked(both["image"], task)}
      now, before = look(params, part), look(frozen["params"], part)
      return [scrub.distance(x, now, both["mask"], temperature) for x in (before, jnp.zeros_like(now))]

    held, gone = batch["held"], batch["gone"]
    same, flat = jax.vmap(of)(jnp.arange(len(held)))
    summed = lambda term, tasks, scale: Term(jnp.sum(tasks * term.total), jnp.sum(both["mask"]), 2 * scale)
    return {
      "new": likelihood.nll_term(look(params, both), both, 2.0),
      "keep": likelihood.nll_term(look(params, codes), codes, keep * jnp.sum(held)),
      "lwf": summed(same, held, lwf), "blank": summed(flat, gone, blank),
      "ewc": Term(pull(params, frozen["fisher"], frozen["anchor"]), jnp.ones(()), ewc),
    }, state  # fmt: skip

  return vision.procedure(objective, start, batch, requests.finish, rate=rate, steps=steps, optimizer=optimizer)


def anchored(procedure: Procedure, fisher: Any, anchor: Any) -> Procedure:
  """The lesson that is held at `anchor` by `fisher`, trees like the parameters with a leading axis `[tasks]`."""

  def init(key, request):
    state = procedure.init(key, request)
    return state._replace(frozen={**state.frozen, "fisher": fisher, "anchor": anchor})

  return procedure._replace(init=init)  # its step stays the same function: what was compiled for it serves again


def nowhere(params: Any, count: int) -> tuple[Any, Any]:
  """`fisher` and `anchor` of `anchored` that hold nothing."""
  zeros = lambda: jax.tree.map(lambda x: jnp.zeros((count, *x.shape), jnp.float32), params)
  return zeros(), zeros()


def matters(book: answers.Book, data: Any, task: int, label: str) -> Any:
  """The mean over the samples of a task of the squared gradient of their cross entropy, a tree like the parameters."""
  subject = book.subject._replace(model=multihead.marked(book.subject.model))
  return gradients.squared(Request(subject, data), f"task_{task}", label)


def pull(params: Any, fisher: Any, anchor: Any) -> jax.Array:
  """sum over tasks of sum F_i (theta - theta_i)^2; `fisher` and `anchor` have a leading axis `[tasks]`."""
  one = lambda x, weight, to: jnp.sum(weight * (x - to) ** 2)
  return jax.tree.reduce(jnp.add, jax.tree.map(one, params, fisher, anchor))


def mixed(key: jax.Array, part: Any) -> dict[str, jax.Array]:
  """The pictures and, below them, each mixed with its code: floats `[2 b, h, w, c + 1]`, with `label` and `mask`."""
  x, code = to_float(part["image"]), to_float(part["code"])
  u = jax.random.uniform(key, (len(x), 1, 1, 1))
  twice = {name: jnp.concatenate([part[name]] * 2) for name in ("label", "mask")}
  return {"image": jnp.concatenate([x, u * x + (1 - u) * code]), **twice}


def remarked(image: jax.Array, task: jax.Array) -> jax.Array:
  """Marked pictures, floats `[b, h, w, c + 1]`, as those of another task, an int scalar that may be traced."""
  return image.at[..., -1].set(task / multihead.MOST)


def coded(seed: int, request: Request, grain: int, label: str = "label") -> Request:
  """The request of marked pictures with a code for every class of every task, as further rows: the set `codes`.

  Codes are squares of `grain` pixels of one grey level, or colour, drawn uniformly; task after task, class after class.
  """
  data = request.data
  count, classes = tasks.count(data), vision.classes_in(data, label)
  _, height, width, channels = data.arrays["image"].shape
  small = (count * classes, -(-height // grain), -(-width // grain), channels - 1)
  rng = np.random.default_rng(seed)
  large = rng.integers(0, 256, small).astype(np.uint8).repeat(grain, 1).repeat(grain, 2)[:, :height, :width]
  task, own = np.repeat(np.arange(count, dtype=np.int32), classes), np.tile(np.arange(classes, dtype=np.int32), count)
  more = {"image": multihead.mark(large, task), "task": task, label: own, "index": -1 - np.arange(len(own))}
  arrays = {name: np.concatenate([data.arrays[name], more[name].astype(data.arrays[name].dtype)]) for name in more}
  sets = {**data.sets, "codes": data.n + np.arange(len(own), dtype=np.int32)}
  return request._replace(data=data._replace(arrays=arrays, sets=sets))
