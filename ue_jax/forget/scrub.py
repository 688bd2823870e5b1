"""SCRUB: the student leaves the teacher on what is to be forgotten, and comes back to it on what is kept.

Source: Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023. The teacher is the model before
unlearning, at temperature T; means over samples:

  max steps, on D_f:  - T^2 KL(teacher || student)
  min steps, on D_r:    gamma cross entropy + alpha T^2 KL(teacher || student)

At the teacher KL and its gradient are 0, and max steps cannot leave it. In the released codes the noise of batch
statistics does that, which are still here; so the student begins a relative `jitter` away.

Three codes run three schedules under this one name, so `schedule` is an argument; a pass is a number of steps:

  interleaved  (the authors')           passes times: a max pass while it is one of the first `max_passes`, a min pass
  separate     (worst-case forget sets) `max_passes` max passes, then `passes - max_passes` min passes
  blocks       (the UUEF benchmark)     one max pass, then one min pass (200 steps each there)

SCRUB+R (`holdout`) keeps the model of every pass and returns the one whose error on D_f comes closest to that of the
last one on held-out data of the distribution of D_f: forgotten as far as unseen data are unknown, and no further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import mixed, requests, vision, weight_noise
from ue_jax.train import likelihood, losses, supervised

SCHEDULES = ("interleaved", "separate", "blocks")


class Rewinding(NamedTuple):
  """The state of SCRUB+R.

  Attributes:
    inner: the state of the descent.
    past: the parameters and the model state after every pass, with a leading axis `[passes]`.
    key, step: as in every state.
  """

  inner: Any
  past: Any
  key: jax.Array
  step: jax.Array


def method(
  schedule: str = "interleaved",
  passes: int = 10,
  max_passes: int = 3,
  forget_steps: int = 2,
  retain_steps: int = 18,
  temperature: Any = 4.0,
  gamma: Any = 0.99,
  alpha: Any = 0.001,
  forget_batch: int = 64,
  retain_batch: int = 64,
  holdout: str = "",
  jitter: Any = 1e-3,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
  rate: Any = 5e-4,
  milestones: Sequence[float] = (0.5, 0.8, 0.9),
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the set `forget` and those of `keep`. For picture classifiers.

  Args:
    schedule: `interleaved`, `separate` or `blocks`, see above.
    passes, max_passes: how many passes there are of both kinds; `blocks` has one of each.
    forget_steps, retain_steps: of a max and of a min pass; a pass over a set takes its size by that of the batch.
    temperature, gamma, alpha: may be traced; the authors' are 2 or 4, .99 to 1, and .001 to .5.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    holdout: SCRUB+R: a set of the data with the distribution of D_f that was never trained on; empty: without.
    jitter: standard deviation of the factor 1 + noise on every parameter at the start; may be traced.
    keep: the sets that are kept, taken together.
    label: the labelling.
    rate: learning rate; falls to a tenth at each of `milestones`, shares of the way.
    options: the others of `vision.procedure` but `steps` and `schedule`: optimizer, momentum, weight_decay, clip, drop,
      trainable.

  Raises:
    Invalid: for an unknown schedule or numbers out of range; at `init` for data without the sets or the labelling.
  """
  turns, ends = timetable(schedule, passes, max_passes, forget_steps, retain_steps)
  sizes, sets = requests.sizes(forget_batch, retain_batch, "nll"), ("forget", *keep, *((holdout,) if holdout else ()))

  def start(key, request):
    vision.check(request, sets, label)
    teacher = request.subject.params
    return weight_noise.noisy(key, teacher, jitter), request.subject.state, requests.frozen(request, params=teacher)

  def objective(params, state, frozen, batch, key):
    del key
    look = lambda tree, part: likelihood.logits(frozen["apply"], tree, state, part)
    f, r = (batch[name] for name in ("forget", "retain"))
    now = look(params, r)
    return {
      "forget": distance(look(frozen["params"], f), look(params, f), f["mask"], temperature, -1.0),
      "retain": likelihood.nll_term(now, r, gamma),
      "teacher": distance(look(frozen["params"], r), now, r["mask"], temperature, alpha),
    }, state

  plain = vision.procedure(
    objective, start, mixed.phases(requests.batch(sizes, label, keep), turns), requests.finish, rate=rate,
    steps=len(turns), schedule="step", milestones=milestones, **options,
  )  # fmt: skip
  return rewound(plain, ends, holdout, label) if holdout else plain


method.__signature__ = with_options(method, vision.procedure, without=("steps",))


def distance(teacher: jax.Array, student: jax.Array, mask: jax.Array, temperature: Any, scale: Any = 1.0) -> Term:
  """The mean of T^2 KL(teacher || student) at temperature T over the samples with `mask` 1.

  Args:
    teacher, student: logits float `[b, classes]`.
    mask: float32 `[b]`.
    temperature: T > 0.
    scale: the term's coefficient.
  """
  value = temperature**2 * losses.kl(teacher / temperature, student / temperature)
  return Term(jnp.sum(value * mask), jnp.sum(mask), scale)


def timetable(
  schedule: str, passes: int, max_passes: int, forget_steps: int, retain_steps: int
) -> tuple[list[str], list[int]]:
  """Of every step, the set whose turn it is; and the last step of every pass that leaves a model to go back to.

  Raises:
    Invalid: for an unknown schedule or numbers out of range.
  """
  require(schedule in SCHEDULES, "method.schedule", schedule, f"choose one of {SCHEDULES}")
  for field, value in (("passes", passes), ("forget_steps", forget_steps), ("retain_steps", retain_steps)):
    require(isinstance(value, int) and value >= 1, f"method.{field}", value, "give a whole number >= 1")
  require(0 <= max_passes <= passes, "method.max_passes", max_passes, f"give a number of passes in 0..{passes}")
  up, down = ["forget"] * forget_steps, ["retain"] * retain_steps
  blocks = {
    "interleaved": [(up if i < max_passes else []) + down for i in range(passes)],
    "separate": [up] * max_passes + [down] * (passes - max_passes),
    "blocks": [up, down],
  }[schedule]
  ends = np.cumsum([len(block) for block in blocks]) - 1
  return [name for block in blocks for name in block], ends.tolist()


def rewound(plain: Procedure, ends: Sequence[int], holdout: str, label: str) -> Procedure:
  """The procedure that returns one of the models at the end of its passes: SCRUB+R."""
  slots = np.full(max(plain.steps, 1), len(ends), np.int32)  # beyond the last slot nothing is written
  slots[list(ends)] = np.arange(len(ends), dtype=np.int32)

  def init(key, request):
    inner = plain.init(key, request)
    past = jax.tree.map(lambda x: jnp.zeros((len(ends), *x.shape), x.dtype), (inner.params, inner.state))
    return Rewinding(inner, past, inner.key, inner.step)

  def step(state, batch, axis=None):
    inner, metrics = plain.step(state.inner, batch, axis)
    at = jnp.asarray(slots)[jnp.minimum(state.step, len(slots) - 1)]
    past = jax.tree.map(lambda all, x: all.at[at].set(x, mode="drop"), state.past, (inner.params, inner.state))
    return Rewinding(inner, past, inner.key, inner.step), metrics

  def finish(state, request):
    data, model = request.data, request.subject.model
    models = [jax.tree.map(lambda x, i=i: x[i], state.past) for i in range(len(ends))]
    error = lambda at, name: 1 - supervised.accuracies(model, *at, data, label, (name,))[f"{name}_accuracy"]
    chosen = closest([error(at, "forget") for at in models], error(models[-1], holdout))
    return requests.finish(*models[chosen], request)

  return plain._replace(init=init, step=step, finish=finish)


def closest(errors: Sequence[float], aim: float) -> int:
  """The position of the error closest to `aim`; of equal ones, the last."""
  gaps = np.abs(np.asarray(errors, np.float64) - float(aim))
  return int(len(gaps) - 1 - np.argmin(gaps[::-1]))
