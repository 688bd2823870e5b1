"""How a network with tasks does on each of them: what one request of a stream leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.data import stream, tasks
from ue_jax.models.model import Model, at_task
from ue_jax.train import membership, supervised

STATISTICS = tuple(name for name in membership.STATISTICS if name != "modified_entropy")  # of the attack


def look(
  model: Model, params: Any, state: Any, data: Data, label: str = "label", chunk: int = 512
) -> dict[str, np.float32]:
  """`task_i_accuracy` and `task_i_uniformity` on `task_i_test` for every task, in [0, 1].

  Raises:
    Invalid: for data or a network without tasks.
  """
  out = {}
  for i in range(tasks.count(data)):
    rows = np.asarray(data.sets[f"task_{i}_test"])
    logits, _ = supervised.predict(model, params, at_task(state, i), data.arrays["image"][rows], chunk)
    out[f"task_{i}_accuracy"] = np.float32(np.mean(logits.argmax(-1) == data.arrays[label][rows]))
    out[f"task_{i}_uniformity"] = np.float32(uniformity(logits).mean())
  return out


def attacked(
  model: Model, params: Any, state: Any, data: Data, live: Sequence[int], members: int = 500, label: str = "label",
  chunk: int = 512,
) -> dict[str, np.float32]:  # fmt: skip
  """Whether samples of the tasks are told as trained on by an attack that learned from the `live` ones.

  Source: the attack of UnCLe (2025), from its released code: an SVM (C = 3, RBF) on one statistic of `STATISTICS`
  learns to tell samples that are kept of the live tasks from test samples of theirs, and is asked about another task.
  Of every task i, means over the four statistics: `task_i_member`, the share of its training samples called trained on,
  and `task_i_mia`, the mean of that and of the share of its test samples called never seen, the figure of the release:
  0.5 is a coin's. A statistic with one value for all calls 0.5.

  The release asks about the forgotten task only. Here every task is asked about, so that one sees whether the attack
  works at all; nothing is asked about that teaches: of a task `members` samples teach, but at most half of its training
  samples, and half of its test samples.

  Args:
    model, params, state: of a network with tasks.
    data: of tasks.
    live: the tasks to learn from; without one there is no attack, and nothing is returned.
    members: training samples of each live task that teach, if that is not more than half of them.
    label: the labelling.
    chunk: samples computed at once.
  """
  said = {}
  for i in range(tasks.count(data)):
    for name, end, most in (("in", "", members), ("out", "_test", len(data.arrays["index"]))):
      rows = np.asarray(data.sets[f"task_{i}{end}"])
      rows = rows[stream.permutation(i, f"attacked{end}", len(rows))]
      logits, _ = supervised.predict(model, params, at_task(state, i), data.arrays["image"][rows], chunk)
      teach = min(most, len(rows) // 2)
      found = membership.statistics(logits, data.arrays[label][rows])
      said[name, i] = {one: (found[one][:teach], found[one][teach:]) for one in STATISTICS}
  return {} if not len(live) else _told(said, live, tasks.count(data))


def _told(said: dict[tuple[str, int], dict], live: Sequence[int], count: int) -> dict[str, np.float32]:
  """`attacked` of what was said: `("in" or "out", task)` -> statistic -> those that teach and those that are asked."""
  shares: dict[str, list[float]] = {f"task_{i}_{end}": [] for i in range(count) for end in ("member", "mia")}
  for one in STATISTICS:
    teach = [np.concatenate([said[side, i][one][0] for i in live]) for side in ("in", "out")]
    asked = [said[side, i][one][1] for i in range(count) for side in ("in", "out")]
    unseen = membership.nonmembers(*teach, np.concatenate(asked))
    parts = np.split(unseen, np.cumsum([len(x) for x in asked])[:-1])
    for i in range(count):
      inside, outside = (part.mean() for part in parts[2 * i : 2 * i + 2])
      shares[f"task_{i}_member"].append(1 - inside)
      shares[f"task_{i}_mia"].append((1 - inside + outside) / 2)
  return {name: np.float32(np.mean(values)) for name, values in shares.items()}


def uniformity(logits: np.ndarray) -> np.ndarray:
  """1 - JS(p, uniform) of every sample, float64 `[...]`, with logarithms to base 2, so in [0, 1].

  Source: UnCLe (2025), which calls it UNI; its code swaps the arguments of the divergence, this is the true one.
  """
  z = np.asarray(logits, np.float64)
  z = z - z.max(-1, keepdims=True)
  return 1 - from_uniform(np.exp(z) / np.exp(z).sum(-1, keepdims=True)) / np.log(2)


def from_uniform(p: np.ndarray) -> np.ndarray:
  """JS(p, uniform) in nats, in [0, log 2], float64 `[...]`, of distributions `[..., classes]`."""
  u = np.full_like(p, 1 / p.shape[-1])
  m = (p + u) / 2
  return (kl(p, m) + kl(u, m)) / 2


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """KL(p || q) in nats, `[...]`, of distributions `[..., classes]`; 0 log 0 is 0."""
  return np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0) / q), 0.0), axis=-1)
