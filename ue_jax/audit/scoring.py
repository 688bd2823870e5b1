"""One pass of a subject over named sets: the log-probability of every target, and whether it is the top choice.

All measures of this room are sums over what this returns, so they agree on what was counted. A picture is a
sequence of one target, its label.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit.remembered import Answers
from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pieces import pieces
from ue_jax.models.model import shapes_of
from ue_jax.train import batches, losses, supervised

LOGITS = 2**26  # at most at once, a quarter of a GiB: a chunk of texts in a large vocabulary is cut to this
WORTH = 1e11  # products, seconds of a small machine: what a compilation is worth
_ASKED = Answers()


class Scored(NamedTuple):
  """What a subject says about the samples of a set.

  Attributes:
    log_probs: float32 `[m, t]`, log p(target | everything before it), nats; 0 where there is no target.
    hits: bool `[m, t]`, the target is the most likely output; False where there is no target.
    mask: bool `[m, t]`, there is a target.
    choices: how many outputs the model can choose from (vocabulary or classes).
  """

  log_probs: np.ndarray
  hits: np.ndarray
  mask: np.ndarray
  choices: int

  def exact(self) -> np.ndarray:
    """bool `[m]`: every target of the sample is the most likely output; False without any, as `likelihood.exact`."""
    return (self.hits | ~self.mask).all(-1) & self.mask.any(-1)

  def mean_nll(self) -> np.ndarray:
    """float64 `[m]`: - s / n, the nll of each sample per target."""
    return -self.log_probs.sum(-1, dtype=np.float64) / np.maximum(self.mask.sum(-1), 1)


def score(
  subject: Subject, data: Data, sets: Sequence[str], label: str = "label", chunk: int = 256
) -> dict[str, Scored]:
  """name of a set -> `Scored`. Rows in several sets are computed once, `chunk` at a time or fewer (`LOGITS`).

  Raises:
    Invalid: for a set that the data does not have, or arrays that are missing.
  """
  for name in sets:
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  if not sets:
    return {}
  rows, where = np.unique(np.concatenate([np.asarray(data.sets[name]) for name in sets]), return_inverse=True)
  every = _tokens(subject, data, rows, chunk) if is_tokens(data) else _pictures(subject, data, rows, label, chunk)
  ends = np.cumsum([len(data.sets[name]) for name in sets])[:-1]
  return {name: _take(every, at) for name, at in zip(sets, np.split(where.reshape(-1), ends))}


def without_last(mask: np.ndarray) -> np.ndarray:
  """bool `[m, t]`: the targets but the last of each sequence, which is the end token."""
  return mask & (np.cumsum(mask[:, ::-1], axis=-1)[:, ::-1] > 1)


def is_tokens(data: Data) -> bool:
  """Whether the samples are token sequences (else they are pictures, which may have captions as ids)."""
  return "ids" in data.arrays and "image" not in data.arrays


def _take(scored: Scored, at: np.ndarray) -> Scored:
  return Scored(scored.log_probs[at], scored.hits[at], scored.mask[at], scored.choices)


def _tokens(subject: Subject, data: Data, rows: np.ndarray, chunk: int) -> Scored:
  mask, ids = data.arrays["mask"][rows] > 0, data.arrays["ids"][rows]
  out = shapes_of(subject.model, subject.params, subject.state, ids[:1, :1])
  choices = out.logits.shape[-1]
  groups = _groups(mask, batches.width(data), tree.size(subject.params))
  answer = lambda: _by_width(subject, ids, mask, groups, chunk, choices)
  log_probs, hits = _ASKED(subject, (ids, mask, chunk, LOGITS, *(width for width, _ in groups)), answer)
  return Scored(log_probs, hits, mask, choices)


def _by_width(
  subject: Subject,
  ids: np.ndarray,
  mask: np.ndarray,
  groups: list[tuple[int, np.ndarray]],
  chunk: int,
  choices: int,
) -> tuple[np.ndarray, np.ndarray]:
  """(log-probabilities, hits), both `[m, t]`, of rows cut to widths: a causal model sees nothing of what is cut."""
  log_probs, hits = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, bool)
  for width, group in groups:
    for some in pieces(len(group), min(chunk, max(1, LOGITS // (width * choices))), "measure.chunk"):
      at = group[some]
      cut = (subject.params, subject.state, ids[at, :width], mask[at, :width])
      log_probs[at, :width], hits[at, :width] = jax.device_get(_token_chunk(subject.model.apply, *cut))
  return log_probs, hits


def _groups(mask: np.ndarray, width: int, parameters: int) -> list[tuple[int, np.ndarray]]:
  """(columns, rows) that hold all targets: `width` columns, which all do, half of them, a quarter, and so on.

  A half gets a program of its own where that saves at least `WORTH` products: it has to be compiled.
  """
  last = mask.shape[1] - np.argmax(mask[:, ::-1], axis=-1)
  lengths, left, found = np.where(mask.any(-1), last, 1), np.arange(len(mask)), []
  while True:
    half = -(-width // 2)
    short = lengths[left] <= half
    if half == width or short.sum() * (width - half) * parameters < WORTH:
      break
    found.append((width, left[~short]))
    width, left = half, left[short]
  return [(columns, rows) for columns, rows in (*found, (width, left)) if len(rows)]


@functools.partial(jax.jit, static_argnums=0)
def _token_chunk(apply: Any, params: Any, state: Any, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  logits = apply(params, ids, state=state).logits
  best = jnp.pad(jnp.argmax(logits[:, :-1], axis=-1), ((0, 0), (1, 0)), constant_values=-1)
  log_probs = jnp.where(mask, losses.token_log_probs(logits, ids), jnp.float32(0))
  return log_probs, (best.astype(ids.dtype) == ids) & mask


def _pictures(subject: Subject, data: Data, rows: np.ndarray, label: str, chunk: int) -> Scored:
  for name in ("image", label):
    require(name in data.arrays, "measure.label" if name == label else "data.arrays", name,
            f"choose from {sorted(data.arrays)}")
  labels = data.arrays[label][rows]
  require(not len(rows) or labels.min() >= 0, "measure.label", label, "it says no class of some of these pictures")
  logits, _ = supervised.predict(subject.model, subject.params, subject.state, data.arrays["image"][rows], chunk)
  logits = np.asarray(logits, np.float64)
  top = logits.max(-1, keepdims=True)
  log_probs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
  log_probs = np.take_along_axis(log_probs, labels[:, None], axis=-1).astype(np.float32)
  hits = (logits.argmax(-1) == labels)[:, None]
  return Scored(log_probs, hits, np.ones_like(hits), logits.shape[-1])
