"""How a network with tasks does on each of them: what one request of a stream leaves behind."""

from __future__ import annotations

from typing import Any

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.data import tasks
from ue_jax.models import hypernetwork
from ue_jax.models.model import Model
from ue_jax.train import supervised


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
    logits, _ = supervised.predict(model, params, hypernetwork.at(state, i), data.arrays["image"][rows], chunk)
    out[f"task_{i}_accuracy"] = np.float32(np.mean(logits.argmax(-1) == data.arrays[label][rows]))
    out[f"task_{i}_uniformity"] = np.float32(uniformity(logits).mean())
  return out


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
