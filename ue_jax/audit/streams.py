"""Streams of requests to learn and to unlearn: what is kept, what is gone, and whether it comes back.

Everything is read off one matrix a[t, i], the accuracy on task i after request t. Lopez-Paz and Ranzato, "Gradient
Episodic Memory for Continual Learning", 2017 (ACC, BWT); Chaudhry et al., "Riemannian Walk for Incremental Learning",
2018 (forgetting); "An Unlearning Framework for Continual Learning", 2025 (unlearning in streams: uniformity,
stability; its code). A task is live from the request that learns it to the one that unlearns it.

| figure | of | is | best |
| --- | --- | --- | --- |
| `acc` | live tasks | mean accuracy at the end | 1 |
| `bwt` | live tasks | mean of the accuracy at the end less that right after learning | 0 or above |
| `forgetting` | live tasks | mean of the highest accuracy since learning less that at the end | 0 |
| `fa` | unlearnt tasks | mean accuracy right after unlearning | chance; below is a signal, too |
| `relapse` | unlearnt tasks | mean of the highest later accuracy less that right after unlearning | 0 or below |
| `spill` | tasks live around an unlearning | mean of the accuracy before it less that after it | 0 or below |
| `stability` | live tasks | mean of later accuracies over that right after learning | 1 |
| `stability_unlearnt` | unlearnt tasks | mean of chance less later accuracies | 0; below 0 is relapse |

A figure of no task (nothing was unlearnt, nothing came later) is NaN. Compare `fa` and `relapse` with a task that was
never learnt: similar live tasks lift both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.train import by_task

DIVERGENCES = ("js", "released")
FLOOR = 1e-12  # of probabilities, where they are divided by


class Stream(NamedTuple):
  """What was asked, in order.

  Attributes:
    learnt: int `[tasks]`, the request that learnt the task; -1: none did.
    unlearnt: int `[tasks]`, the request that unlearnt it; -1: none did.
    requests: how many there were.
  """

  learnt: np.ndarray
  unlearnt: np.ndarray
  requests: int

  def live(self, t: int) -> np.ndarray:
    """bool `[tasks]`: which are learnt and not unlearnt after request `t`."""
    return (self.learnt >= 0) & (self.learnt <= t) & ((self.unlearnt < 0) | (self.unlearnt > t))


def stream(requests: Sequence[str], tasks: int = 0) -> Stream:
  """Reads requests such as `("L1", "L0", "U1")`: learn task 1, learn task 0, unlearn task 1.

  Args:
    requests: `L` or `U` and the number of the task. A task is learnt once and unlearnt at most once, afterwards.
    tasks: how many there are; 0: the largest number and one.

  Raises:
    Invalid: for another word, a task out of range, learnt twice, or unlearnt while it is not live.
  """
  require(len(requests) > 0, "schedule", requests, "give at least one request, as 'L0'")
  for one in requests:
    good = len(one) > 1 and one[0] in "LU" and one[1:].isdigit()
    require(good, "schedule", one, "write L or U and the number of the task, as 'L0' or 'U3'")
  numbers = [int(one[1:]) for one in requests]
  tasks = tasks or max(numbers) + 1
  require(max(numbers) < tasks, "schedule", max(numbers), f"name tasks 0 to {tasks - 1}")
  learnt, unlearnt = np.full(tasks, -1), np.full(tasks, -1)
  for t, (one, i) in enumerate(zip(requests, numbers)):
    if one[0] == "L":
      require(learnt[i] < 0, "schedule", one, "learn a task once: give what is learnt again a number of its own")
      learnt[i] = t
    else:
      require(learnt[i] >= 0 and unlearnt[i] < 0, "schedule", one, "unlearn what is learnt, once")
      unlearnt[i] = t
  return Stream(learnt, unlearnt, len(requests))


def figures(accuracy: np.ndarray, asked: Stream, chance: float = 0.0) -> dict[str, float]:
  """All figures of the table above, floats in [-1, 1]; `stability` may exceed 1.

  Args:
    accuracy: float `[requests, tasks]` in [0, 1]. What was not measured is NaN: a task before it is learnt.
    asked: from `stream`.
    chance: accuracy of a guess, one over the classes of a task.

  Raises:
    Invalid: for another shape, or a value that a figure needs and that is missing.
  """
  a = _checked(accuracy, asked)
  last, i = asked.requests - 1, np.arange(len(asked.learnt))
  live, gone = np.flatnonzero(asked.live(last)), np.flatnonzero(asked.unlearnt >= 0)
  start = a[asked.learnt, i]
  after = a[asked.unlearnt, i]
  spill = [a[t - 1, j] - a[t, j] for t in asked.unlearnt[gone] for j in np.flatnonzero(asked.live(t))]
  later = lambda j, since: a[since[j] + 1 :, j]
  with np.errstate(invalid="ignore", divide="ignore"):
    kept = [np.mean(later(j, asked.learnt) / start[j]) for j in live if len(later(j, asked.learnt))]
  back = [later(j, asked.unlearnt) for j in gone if len(later(j, asked.unlearnt))]
  behind = [after[j] for j in gone if len(later(j, asked.unlearnt))]
  return {
    "acc": _mean(a[last, live]),
    "bwt": _mean(a[last, live] - start[live]),
    "forgetting": _mean([a[asked.learnt[j] :, j].max() - a[last, j] for j in live]),
    "fa": _mean(after[gone]),
    "relapse": _mean([many.max() - one for many, one in zip(back, behind)]),
    "spill": _mean(spill),
    "stability": _mean(kept),
    "stability_unlearnt": _mean([np.mean(chance - many) for many in back]),
  }


def uniformity(probabilities: np.ndarray, divergence: str = "js", base: float = 2.0) -> float:
  """UNI = 1 - mean over samples of the divergence between a prediction and the uniform one; 1 is best.

  Args:
    probabilities: float `[n, classes]`, rows that sum to 1.
    divergence: `js`, that of Jensen and Shannon: (KL(p | m) + KL(u | m)) / 2 with m = (p + u) / 2; `released`, with the
      arguments of both KL swapped, as in the released code; it has no bound (probabilities are at least 1e-12 there).
    base: of the logarithm; with 2, `js` gives values in [0, 1].

  Raises:
    Invalid: for another divergence, or rows that are no distributions.
  """
  require(divergence in DIVERGENCES, "measure.divergence", divergence, f"choose one of {DIVERGENCES}")
  p = np.asarray(probabilities, np.float64)
  sums = p.sum(-1) if p.ndim == 2 and len(p) else np.zeros(1)
  good = bool((p >= 0).all() and np.allclose(sums, 1, atol=1e-4))
  require(good, "probabilities", p.shape, "give rows [n, classes] that sum to 1")
  if divergence == "js":
    apart = by_task.from_uniform(p)
  else:
    u = np.full_like(p, 1 / p.shape[1])
    m = (p + u) / 2
    apart = (by_task.kl(m, np.maximum(p, FLOOR)) + by_task.kl(m, u)) / 2
  return float(1 - np.mean(apart) / np.log(base))


def _mean(values: Sequence[float] | np.ndarray) -> float:
  return float(np.mean(values)) if len(values) else float("nan")


def _checked(accuracy: np.ndarray, asked: Stream) -> np.ndarray:
  a = np.asarray(accuracy, np.float64)
  shape = (asked.requests, len(asked.learnt))
  require(a.shape == shape, "accuracy", a.shape, f"give {shape}: a row a request, a column a task")
  since = np.arange(asked.requests)[:, None] >= asked.learnt
  needed = np.isfinite(a) | ~since | (asked.learnt < 0)
  if not needed.all():
    t, i = np.argwhere(~needed)[0].tolist()
    raise Invalid("accuracy", f"no value at request {t}, task {i}", "measure every task from its learning to the end")
  return a
