"""What a model says of the targets of a batch, alike for token sequences and for pictures with a label.

Which of the two a batch holds follows from its arrays (`ids` or `image`), so it is known before anything is compiled.
A picture counts as a sequence with one target, its label. The model runs as in evaluation: no dropout, batch
statistics stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.core.terms import Term
from ue_jax.train import losses


def batch_of(data: Data, rows: np.ndarray, label: str = "label") -> dict[str, np.ndarray]:
  """The samples at the positions `rows` of the data as a batch.

  Args:
    data: token sequences (`ids`, `mask`) or pictures (`image` and a labelling).
    rows: int `[b]`.
    label: the labelling, for pictures.

  Returns:
    `ids` int32 and `mask` float32 `[b, t]`; or `image` `[b, h, w, c]`, `label` int32 and `mask` (ones) float32 `[b]`.
  """
  arrays = data.arrays
  if "ids" in arrays:
    return {"ids": arrays["ids"][rows], "mask": arrays["mask"][rows].astype(np.float32)}
  ones = np.ones(len(rows), np.float32)
  return {"image": arrays["image"][rows], "label": arrays[label][rows].astype(np.int32), "mask": ones}


def callable_tree(apply: Callable) -> jax.tree_util.Partial:
  """A model's `apply` as a pytree that a state can hold: without leaves, unless it is one already, with its own."""
  return apply if isinstance(apply, jax.tree_util.Partial) else jax.tree_util.Partial(apply)


def logits(apply: Callable, params: Any, state: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
  """The logits `[b, t, vocabulary]` or `[b, classes]` of a batch."""
  return apply(params, batch["ids"] if "ids" in batch else batch["image"], state=state).logits


def target_logits(logits: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The logits that each target is predicted from, the targets, and where there are any.

  Of tokens `[b, t - 1, v]`, int32 and float32 `[b, t - 1]` (position i stands for target i + 1); of pictures `[b, v]`,
  int32 and float32 `[b]`.
  """
  if "ids" in batch:
    return logits[:, :-1], batch["ids"][:, 1:], batch["mask"][:, 1:]
  return logits, batch["label"], batch["mask"]


def log_prob(logits: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
  """s and n: the log-probability of each sample's targets, SUMMED over targets, and how many there are.

  Both float32 `[b]`; (0, 0) for padding.
  """
  mask = batch["mask"]
  if "ids" in batch:
    return losses.sequence_log_prob(logits, batch["ids"], mask), jnp.sum(mask, axis=-1)
  return -losses.cross_entropy(logits, batch["label"]) * mask, mask


def exact(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
  """1 where the most likely output is right at every target of a sample, else 0; float32 `[b]`, 0 for padding."""
  now, targets, mask = target_logits(logits, batch)
  right = (losses.correct(now, targets) > 0) | (mask == 0)
  flat = right.reshape(right.shape[0], -1), mask.reshape(mask.shape[0], -1)
  return (jnp.all(flat[0], -1) & jnp.any(flat[1] > 0, -1)).astype(jnp.float32)


def nll_term(logits: jax.Array, batch: Mapping[str, jax.Array], scale: jax.Array | float = 1.0) -> Term:
  """- sum s / sum n: the mean over TARGETS, not over samples. A negative `scale` ascends."""
  s, n = log_prob(logits, batch)
  return Term(-jnp.sum(s), jnp.sum(n), scale)
