"""An Unlearning Framework for Continual Learning (UnCLe), 2025: a task is forgotten without its data.

A hypernetwork (`models.hypernetwork`) makes the weights of every task from a code. With theta*_i the weights that it
made for task i before the request, and the sums over the live tasks but the one asked for (section 4):

    learn t:   CE(x, y; gen(h, e_t)) + beta / T sum_i |gen(h, e_i) - theta*_i|^2           by h and e_t
    forget f:  1 / max(live - 1, 1) sum_i |gen(h, e_i) - theta*_i|^2
                 + gamma / n sum_s |gen(h, e_f) - z_s|^2,   z_s ~ N(0, 1) anew every step   by h

Since E_z |g - z|^2 = |g|^2 + const, noise drives the weights to zero, logits to constants and predictions to uniform;
`norm` says so at once. For comparison: `fixed`, one z for all steps of a request, so that the weights end at noise;
`discard`, no step at all, the code e_f is drawn anew; `random_labels`, which keeps the data: in place of the noise is
the cross entropy with labels drawn anew at every step. Every forgetting takes `decay` times the steps of the one
before. A forgotten task is no longer held; nothing holds it down either, and whether it comes back is a question for
`audit.streams`.

Departures: theta* is found once a request (the release finds it at every step); max(live - 1, 1), where the release
divides 0 by 0 when the only live task is forgotten; weights that no layer uses are as good as none (see
`models.hypernetwork`), so beta and gamma have another scale here: those of the release weigh sums over six times as
many values. The defaults are for small networks: 1200 steps with gamma 1, what their generated weights need to vanish
(as released 100 with .01 to .1). The optimiser starts anew with every request.

A step of the procedure is a request of the schedule, and the history of the subject is the matrix of accuracies: one
row a request.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.data import stream as number_stream
from ue_jax.data import tasks
from ue_jax.forget import recovery as recoveries
from ue_jax.forget import requests
from ue_jax.models import hypernetwork
from ue_jax.models.model import at_task
from ue_jax.train import batches, by_task, losses, optim

AIMS = ("noise", "norm", "fixed", "discard", "random_labels")
LEAST = dict(steps=1, learn_steps=1, batch_size=1, forget_steps=0, samples=1, recovery=0, attacked=0)  # of sizes


class Stream(NamedTuple):
  """The state between two requests.

  Attributes:
    params, state: of the hypernetwork.
    live: float32 `[T]`, 1 for tasks that are learned and not forgotten.
    effort: float32 scalar, steps of the next forgetting.
    asked: int32 scalar, the number of requests.
    done: bool scalar, whether all are answered.
    frozen: the network, a pytree without leaves.
    key: typed random key.
    step: int32 scalar, requests answered.
  """

  params: Any
  state: Any
  live: jax.Array
  effort: jax.Array
  asked: jax.Array
  done: jax.Array
  frozen: Any
  key: jax.Array
  step: jax.Array


class Inner(NamedTuple):
  """The state inside a request.

  Attributes:
    params: of the hypernetwork.
    state: of the hypernetwork.
    opt: of the optimiser.
    star: float32 `[T, p]`, the weights of all tasks before the request.
    held: float32 `[T]`, 1 for the live tasks but the one asked for.
  """

  params: Any
  state: Any
  opt: Any
  star: jax.Array
  held: jax.Array


def method(
  steps: int = 100,
  learn_steps: int = 600,
  batch_size: int = 64,
  rate: Any = 2e-3,
  beta: Any = 0.01,
  forget_steps: int = 1200,
  forget_rate: Any = 1e-3,
  gamma: Any = 1.0,
  samples: int = 10,
  decay: Any = 0.9,
  aim: str = "noise",
  clip: Any = 1.0,
  schedule: str = "constant",
  milestones: tuple[float, ...] = (0.5,),
  drop: Any = 0.5,
  recovery: int = 0,
  attacked: int = 0,
  label: str = "label",
) -> Procedure:
  """Request -> Subject: answers the requests of the schedule, one a step. For `models.hypernetwork` and data of tasks.

  Args:
    steps: the most requests that are answered.
    learn_steps, batch_size, rate: of learning a task; `rate` and all other numbers but sizes may be traced.
    beta: how strongly the other live tasks are held while one is learned.
    forget_steps, forget_rate: of the first forgetting; 0 steps only let the task go.
    gamma: weight of what drives the weights of the forgotten task away, or of its cross entropy with random labels.
    samples: noises a step.
    decay: each forgetting takes so many times the steps of the one before, in (0, 1].
    aim: what the forgotten weights are driven to: fresh `noise` every step, zero by their `norm`, one noise that stays
      (`fixed`), or, with the data of the task, `random_labels`; `discard` draws the code of the task anew, and no more.
    clip: the largest norm of a gradient.
    schedule, milestones, drop: of the rate while a task is learned, see `train.optim.make`.
    recovery: steps of training a new code for each task that is ever forgotten, with its data, after every request;
      adds `task_i_recovery` to the history, see `recovery`. 0 for none.
    attacked: members a live task that an attack on membership learns from after every forgetting, see
      `train.by_task.attacked`, which says what is added to the history. 0 for none.
    label: the labelling.

  Raises:
    Invalid: for a setting out of range; at `init` for another network, data without tasks or no schedule.
  """
  _check(
    aim, steps=steps, learn_steps=learn_steps, batch_size=batch_size, forget_steps=forget_steps, samples=samples,
    recovery=recovery, attacked=attacked,
  )  # fmt: skip
  learning = optim.make(
    "adam", rate, learn_steps, clip=clip, schedule=schedule, milestones=tuple(milestones), drop=drop
  )  # fmt: skip
  forgetting = optim.make("adam", forget_rate, clip=clip)

  def init(key, request):
    asked, subject = jnp.asarray(len(check(request)), jnp.int32), request.subject
    live, effort = jnp.zeros(len(subject.params["code"])), jnp.asarray(forget_steps, jnp.float32)
    done, step = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    return Stream(subject.params, subject.state, live, effort, asked, done, requests.frozen(request), key, step)

  def step(state, batch):
    task, key = batch["task"], jax.random.fold_in(state.key, state.step)
    chosen = (jnp.arange(len(state.live)) == task).astype(jnp.float32)
    held = state.live * (1 - chosen)
    inner = functools.partial(Inner, state.params, state.state, star=everything(state.params, state.state), held=held)

    def learn():
      forward = lambda now, part: (learn_step(state.frozen["apply"], learning, beta, now, part, task), None)
      rows = {name: batch[name] for name in ("image", "label")}
      return jax.lax.scan(forward, inner(opt=learning.init(state.params)), rows)[0].params

    def forward(t, now):
      if aim == "fixed":
        return forget_step(forgetting, gamma, 1, aim, now, task, key)
      if aim == "random_labels":
        rows = {name: batch[name][t % learn_steps] for name in ("image", "label")}
        return relabel_step(state.frozen["apply"], forgetting, gamma, now, rows, task)
      return forget_step(forgetting, gamma, samples, aim, now, task, jax.random.fold_in(key, t))

    def unlearn():
      if aim == "discard":
        code = state.params["code"]
        return {**state.params, "code": code.at[task].set(jax.random.normal(key, code.shape[1:]))}
      last = jnp.floor(state.effort + 1e-3).astype(jnp.int32)
      return jax.lax.fori_loop(0, last, forward, inner(opt=forgetting.init(state.params))).params

    params = jax.lax.cond(batch["learn"], learn, unlearn)
    after = everything(params, state.state)
    drift = jnp.sum(held[:, None] * (after - everything(state.params, state.state)) ** 2)
    metrics = {"norm": jnp.sum(after[task] ** 2), "drift": drift / jnp.maximum(jnp.sum(held), 1)}
    effort = jnp.where(batch["learn"], state.effort, jnp.floor(state.effort * decay + 1e-3))
    live = held + chosen * batch["learn"].astype(jnp.float32)
    return state._replace(
      params=params, live=live, effort=effort, step=state.step + 1, done=state.step + 1 >= state.asked
    ), metrics

  def batch(seed, request, t):
    return draw(seed, request, t, learn_steps, batch_size, label, aim == "random_labels")

  def probe(state, request):
    model = request.subject.model
    seen = by_task.look(model, state.params, state.state, request.data, label)
    if recovery:
      again = sorted({task for learn, task in check(request) if not learn})
      key = jax.random.fold_in(state.key, 1 << 20)
      regain = functools.partial(recoveries.accuracy, model, state.params, state.state, request.data, key=key)
      seen |= {f"task_{i}_recovery": regain(i, steps=recovery, label=label) for i in again}
    if attacked and not check(request)[int(state.step) - 1][0]:
      live = np.flatnonzero(np.asarray(state.live))
      seen |= by_task.attacked(model, state.params, state.state, request.data, live, attacked, label)
    return seen

  finish = lambda state, request: Subject(request.subject.model, state.params, state.state)
  return Procedure(init, step, finish, batch, steps, probe, every=1)


def everything(params: Any, state: Any) -> jax.Array:
  """The weights of all tasks, float32 `[T, p]`."""
  return jax.vmap(hypernetwork.generate, (None, None, 0))(params, state, jnp.arange(len(params["code"])))


def learn_step(
  apply: Callable, tx: optax.GradientTransformation, beta: Any, inner: Inner, batch: Any, task: jax.Array
) -> Inner:
  """One step of learning.

  Args:
    apply: of the hypernetwork.
    tx: the optimiser.
    beta: weight of holding the other tasks.
    inner: the state inside the request.
    batch: `image` `[b, h, w, c]` and `label` int32 `[b]`.
    task: int32 scalar, may be traced.
  """

  def loss(params):
    logits = apply(params, batch["image"], state=at_task(inner.state, task)).logits
    return jnp.mean(losses.cross_entropy(logits, batch["label"])) + beta * apart(inner, params) / len(inner.held)

  return _moved(tx, inner, jax.grad(loss)(inner.params), (jnp.arange(len(inner.held)) == task).astype(jnp.float32))


def forget_step(
  tx: optax.GradientTransformation, gamma: Any, samples: int, aim: str, inner: Inner, task: jax.Array, key: jax.Array
) -> Inner:
  """One step of forgetting: no data is among what it takes.

  Args:
    tx: the optimiser.
    gamma, samples, aim: see `method`.
    inner: the state inside the request.
    task: int32 scalar, may be traced.
    key: of the noise.
  """

  def loss(params):
    mine = hypernetwork.generate(params, inner.state, task)
    if aim == "norm":
      away = jnp.sum(mine**2)
    else:
      away = jnp.sum((mine - jax.random.normal(key, (samples, len(mine)))) ** 2) / samples
    return apart(inner, params) / jnp.maximum(jnp.sum(inner.held), 1) + gamma * away

  return _moved(tx, inner, jax.grad(loss)(inner.params), jnp.zeros_like(inner.held))


def relabel_step(
  apply: Callable, tx: optax.GradientTransformation, gamma: Any, inner: Inner, batch: Any, task: jax.Array
) -> Inner:
  """One step of forgetting with data, for comparison: the others held as in `forget_step`, the labels random.

  Args:
    apply: of the hypernetwork.
    tx: the optimiser.
    gamma: weight of the cross entropy.
    inner: the state inside the request.
    batch: `image` `[b, h, w, c]` of the task and any `label` int32 `[b]`.
    task: int32 scalar, may be traced.
  """

  def loss(params):
    logits = apply(params, batch["image"], state=at_task(inner.state, task)).logits
    told = jnp.mean(losses.cross_entropy(logits, batch["label"]))
    return apart(inner, params) / jnp.maximum(jnp.sum(inner.held), 1) + gamma * told

  return _moved(tx, inner, jax.grad(loss)(inner.params), jnp.zeros_like(inner.held))


def apart(inner: Inner, params: Any) -> jax.Array:
  """sum over the held tasks of |gen(h, e_i) - theta*_i|^2."""
  return jnp.sum(inner.held[:, None] * (everything(params, inner.state) - inner.star) ** 2)


def draw(
  seed: int, request: Request, t: int, steps: int, size: int, label: str, relabel: bool = False
) -> dict[str, Any]:
  """Request t: `task`, `learn`, `apply`, and the batches `image` `[steps, size, ...]` and `label` of its task.

  For a forgetting they are zeros, for it has no data; with `relabel`, the pictures with labels drawn from all classes.
  """
  asked = check(request)
  learn, task = asked[min(t, len(asked) - 1)]
  arrays, out = request.data.arrays, {"task": np.int32(task), "learn": np.bool_(learn)}
  rows = np.asarray(request.data.sets[f"task_{task}"])
  at = np.stack([batches.shuffled(seed + 7919 * t, len(rows), size, i) for i in range(steps)])
  for name, key in (("image", "image"), ("label", label)):
    shown = learn or relabel
    out[name] = arrays[key][rows[at]] if shown else np.zeros((*at.shape, *arrays[key].shape[1:]), arrays[key].dtype)
  if relabel and not learn:
    classes = len(request.data.info["labels"][label])
    drawn = number_stream.integers(seed, f"uncle/{t}", classes, at.size).reshape(at.shape)
    out["label"] = drawn.astype(out["label"].dtype)
  return out


def check(request: Request) -> list[tuple[bool, int]]:
  """The requests of the schedule, see `tasks.parse`.

  Raises:
    Invalid: for another network, data without tasks, or a request without schedule.
  """
  count, state = tasks.count(request.data), request.subject.state
  made = "chunks" in state and len(request.subject.params["code"])
  require(bool(made), "method.model", sorted(state), "train on a network that makes networks: models.hypernetwork")
  require(made >= count, "model.tasks", made, f"the data has {count}: set it to {count}")
  fix = "say what is asked in which order by a select stage: dict(name='data.tasks', sequence='L0,L1,U0')"
  require(len(request.schedule) > 0, "request.schedule", request.schedule, fix)
  return tasks.parse(request.schedule, count)


def _moved(tx: optax.GradientTransformation, inner: Inner, grads: Any, codes: jax.Array) -> Inner:
  """One step of the optimiser on the network and on those of the codes that are 1 in `codes` float32 `[T]`."""
  grads = {**grads, "code": grads["code"] * codes[:, None]}
  updates, opt = tx.update(grads, inner.opt, inner.params)
  return inner._replace(params=optax.apply_updates(inner.params, updates), opt=opt)


def _check(aim: str, **sizes: int) -> None:
  for name, value in sizes.items():
    good = isinstance(value, int) and value >= LEAST[name]
    require(good, f"method.{name}", value, f"give a whole number >= {LEAST[name]}")
  require(aim in AIMS, "method.aim", aim, f"choose one of {AIMS}")
