"""The figures of `audit.streams` as a measure: of a subject that answered a stream of requests, one row a request.

"An Unlearning Framework for Continual Learning (UnCLe)", 2025, claims that an unlearned task stays at chance, with
predictions near uniform, at no cost to the others. Whether it is gone or only hidden is asked by `recovery`.

| score | is | ideal |
| --- | --- | --- |
| `acc`, `bwt`, `forgetting`, `fa`, `relapse`, `spill`, `stability` | see `audit.streams` | see there |
| `worst_drop` | the most that a live task ever lost of what it had when it was learned | 0 |
| `moved` | the most that an unlearning changed a live task's accuracy, up or down (`spill` is a signed mean) | 0 |
| `learned` | the lowest accuracy of any task right after it was learned | 1 |
| `right_after` | the highest accuracy of any unlearned task right after its unlearning (`fa` is the mean) | chance |
| `later` | the highest accuracy of any unlearned task at any later request | chance |
| `norm` | the largest squared norm, right after, of the weights made for an unlearned task (the curve `norm`) | 0 |
| `UNI` | mean over unlearnings of the uniformity right after | 1 |
| `never` | mean accuracy on tasks not learned yet: what `fa` and `relapse` are compared with | chance |
| `recovery` | accuracy of a new code, or head, trained right after an unlearning, see `forget.recovery` | low |
| `recovery_before` | the same at the request before: what there was to lose | 1 |
| `recovery_never` | the same of those tasks before they are learned: what `recovery` is compared with | chance |
| `mia` | mean over unlearnings of how often an attack tells right, right after, see `train.by_task.attacked` | .5 |
| `mia_live` | the same of the live tasks then: whether the attack tells anything at all | .5 |
| `member` | mean over unlearnings of the share of the task's training samples called trained on | `member_never` |
| `member_live`, `member_never` | the same of the live tasks, and of those not learned yet | `member_never` |
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ue_jax.audit import streams
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import tasks
from ue_jax.train import by_task

# name -> (better, target, lowest)
AIMS = {
  "acc": ("high", 1.0, 0.0), "bwt": ("high", 0.0, -1.0), "forgetting": ("low", 0.0, 0.0), "relapse": ("low", 0.0, -1.0),
  "spill": ("low", 0.0, -1.0), "worst_drop": ("low", 0.0, -1.0), "UNI": ("high", 1.0, 0.0),
  "moved": ("low", 0.0, 0.0), "learned": ("high", 1.0, 0.0), "norm": ("low", 0.0, 0.0),
  "recovery_before": ("high", 1.0, 0.0), "mia": ("near", 0.5, 0.0), "mia_live": ("near", 0.5, 0.0),
}  # fmt: skip


def measure(label: str = "label", chunk: int = 512) -> Procedure:
  """Request -> Scores of the table above, those that have a case, from the history of the subject.

  A subject without a row for every request is looked at as it is: `acc` of the tasks that the schedule leaves live,
  `fa` and `UNI` of those that it leaves unlearned.

  Args:
    label: the labelling.
    chunk: samples computed at once.

  Raises:
    Invalid: for data or a network without tasks, or a request without a schedule.
  """

  def score(key, request: Request) -> Scores:
    del key
    count, subject = tasks.count(request.data), request.subject
    require(len(request.schedule) > 0, "request.schedule", request.schedule, "add a select stage named data.tasks")
    tasks.parse(request.schedule, count)  # for its words
    asked = streams.stream(request.schedule, count)
    n = sum(len(request.data.sets[f"task_{i}_test"]) for i in range(count))
    chance = 1 / len(request.data.info["labels"][label])
    if len(subject.history.get("task_0_accuracy", ())) == asked.requests:
      found = of_stream(subject.history, asked, chance)
    else:
      found = at_the_end(by_task.look(*subject[:3], request.data, label, chunk), asked)
    aims = {name: found.get("member_never", 0.5) for name in ("member", "member_live", "member_never")}
    known = {name: value for name, value in found.items() if np.isfinite(value)}
    return {name: _score(name, value, n, aims.get(name, chance)) for name, value in known.items()}

  return once(score)


def of_stream(history: Mapping[str, np.ndarray], asked: streams.Stream, chance: float) -> dict[str, float]:
  """The figures of a history with the curves `task_i_accuracy` and `task_i_uniformity`; NaN where there is no case.

  Args:
    history: float `[requests]` a curve; `task_i_recovery` and `norm` may be among them.
    asked: from `streams.stream`.
    chance: the accuracy of a guess.
  """
  every, rows = range(len(asked.learnt)), range(asked.requests)
  read = lambda what: np.stack([np.asarray(history[f"task_{i}_{what}"], np.float64) for i in every], axis=1)
  a, uniform = read("accuracy"), read("uniformity")
  out = streams.figures(a, asked, chance)
  del out["stability_unlearnt"]  # that is relapse and `fa` together
  gone = [(t, i) for i, t in enumerate(asked.unlearnt) if t >= 0]
  late = [(t, i) for t in rows for i in np.flatnonzero(asked.live(t)) if asked.learnt[i] < t]
  out["worst_drop"] = max((a[asked.learnt[i], i] - a[t, i] for t, i in late), default=float("nan"))
  around = [abs(a[t - 1, j] - a[t, j]) for t, _ in gone for j in np.flatnonzero(asked.live(t))]
  out["moved"] = max(around, default=float("nan"))
  out["learned"] = min((a[t, i] for i, t in enumerate(asked.learnt) if t >= 0), default=float("nan"))
  out["right_after"] = max((a[t, i] for t, i in gone), default=float("nan"))
  out["later"] = max((a[t + 1 :, i].max() for t, i in gone if t + 1 < asked.requests), default=float("nan"))
  out["norm"] = max((float(history["norm"][t]) for t, _ in gone if "norm" in history), default=float("nan"))
  out["UNI"] = _mean([uniform[t, i] for t, i in gone])
  out["never"] = _mean([a[t, i] for t in rows for i, born in enumerate(asked.learnt) if born < 0 or born > t])
  if gone and all(f"task_{i}_recovery" in history for _, i in gone):
    for name, shift in (("recovery", 0), ("recovery_before", -1)):
      out[name] = _mean([history[f"task_{i}_recovery"][t + shift] for t, i in gone])
    out["recovery_never"] = _mean([x for _, i in gone for x in history[f"task_{i}_recovery"][: asked.learnt[i]]])
  return out | _attacked(history, asked, gone)


def _attacked(
  history: Mapping[str, np.ndarray], asked: streams.Stream, gone: list[tuple[int, int]]
) -> dict[str, float]:
  """The figures of the attack on membership, if there was one; a request that left no task live has none."""
  if "task_0_mia" not in history:
    return {}
  times = [t for t, _ in gone if asked.live(t).any()]
  living = [(t, i) for t in times for i in np.flatnonzero(asked.live(t))]
  unborn = [(t, i) for t in times for i, born in enumerate(asked.learnt) if born < 0 or born > t]
  mean = lambda what, pairs: _mean([history[f"task_{i}_{what}"][t] for t, i in pairs])
  left = [(t, i) for t, i in gone if t in times]
  return {
    "mia": mean("mia", left), "mia_live": mean("mia", living), "member": mean("member", left),
    "member_live": mean("member", living), "member_never": mean("member", unborn),
  }  # fmt: skip


def at_the_end(seen: Mapping[str, float], asked: streams.Stream) -> dict[str, float]:
  """`acc`, `fa` and `UNI` of what `by_task.look` saw of a subject; NaN where there is no case."""
  alive = np.flatnonzero(asked.live(asked.requests - 1))
  gone = np.flatnonzero(asked.unlearnt >= 0)
  mean = lambda some, what: _mean([seen[f"task_{i}_{what}"] for i in some])
  return {"acc": mean(alive, "accuracy"), "fa": mean(gone, "accuracy"), "UNI": mean(gone, "uniformity")}


def _score(name: str, value: float, n: int, aim: float) -> Score:
  if name in AIMS:
    better, target, low = AIMS[name]
    return Score(value, n, better, target, low, max(1.0, value))
  if name == "stability":
    return Score(value, n, "near", 1.0, 0.0, max(1 / aim, value))
  return Score(value, n, "low" if name == "recovery" else "near", aim)


def _mean(values) -> float:
  return float(np.mean(values)) if len(values) else float("nan")
