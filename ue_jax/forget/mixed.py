"""Batches of a request in which what to forget and what to keep come shuffled together, or in phases.

All are pure functions of (seed, problem, t), as the `batch` of a Procedure is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.data import stream
from ue_jax.forget import requests, vision
from ue_jax.train import batches, likelihood

ORDERS = ("together", "forget_first")


def together(
  size: int,
  label: str = "label",
  keep: Sequence[str] = ("retain",),
  share: float = 1.0,
  order: str = "together",
  lowest: int = -1,
) -> Callable[[int, Request, int], dict]:
  """The `batch` of a Procedure over D_f and D_r as one set: `{"mixed": ...}` with `image`, `label`, `mask`.

  `forgotten` float32 `[b]` is 1 for samples of D_f.

  Args:
    size: samples a step; a smaller union gives all it has.
    label: the labelling.
    keep: the sets that make up D_r.
    share: of D_r that is used, in (0, 1], drawn once.
    order: of an epoch: all shuffled `together`, or a pass over D_f and then one over D_r (`forget_first`).
    lowest: below 0 the labels stay; else those of D_f are moved on by a number from `lowest` to classes - 1, drawn anew
      every epoch: 0 gives each class alike, 1 each but the true one.

  Raises:
    Invalid: for an unknown order, a size below 1 or a share out of range.
  """
  require(order in ORDERS, "method.order", order, f"choose one of {ORDERS}")
  require(isinstance(size, int) and size >= 1, "method.batch_size", size, "give a whole number >= 1")
  require(0 < share <= 1, "method.share", share, "give a share above 0, at most 1")

  def draw(seed: int, problem: Request, t: int) -> dict[str, dict[str, np.ndarray]]:
    """The batch of step `t`."""
    data = requests.keep(problem, keep).data
    forget, retain = np.asarray(data.sets["forget"]), part_of(seed, np.asarray(data.sets["retain"]), share)
    m, n = len(forget), len(forget) + len(retain)
    b = min(size, n)
    at = stream.cut(lambda epoch: _epoch(order, seed, epoch, m, n), n, b, t)
    batch = likelihood.batch_of(data, np.concatenate([forget, retain])[at], label)
    if lowest >= 0:
      classes = vision.classes_in(data, label)
      epoch = (t * b + np.arange(b)) // n
      further = np.stack([shifts(seed, e, m, lowest, classes) for e in np.unique(epoch)])
      moved = further[epoch - epoch[0], np.minimum(at, m - 1)]
      batch["label"] = np.where(at < m, (batch["label"] + moved) % classes, batch["label"]).astype(np.int32)
    return {"mixed": batch | {"forgotten": (at < m).astype(np.float32)}}

  return draw


def phases(
  draw: Callable[[int, Request, int], dict], turns: Sequence[str]
) -> Callable[[int, Request, int], dict]:
  """The batches of `draw` in which at step t all parts but `turns[t]` are padding: they change nothing.

  The part whose turn it is gives the batches that it would give alone, so passes over a set stay whole.

  Args:
    draw: a `batch` of several named parts, which are independent of each other (`requests.batch`).
    turns: of every step, the name of a part.
  """
  names, own = sorted(set(turns)), []
  seen = dict.fromkeys(names, 0)
  for name in turns:
    own.append(seen[name])
    seen[name] += 1

  def turned(seed: int, problem: Request, t: int) -> dict:
    """The batch of step `t`."""
    t = min(t, len(turns) - 1)  # a look beyond the end
    batch = draw(seed, problem, own[t])
    quiet = lambda part: part | {"mask": np.zeros_like(part["mask"])}
    return {name: part if name == turns[t] else quiet(part) for name, part in batch.items()}

  return turned


def fixed(draw: Callable[[int, Request, int], dict]) -> Callable[[int, Request, int], dict]:
  """The `batch` that gives the first batch of `draw` at every step, as the same arrays: they need not be stacked."""
  held: dict[str, Any] = {}

  def same(seed: int, problem: Request, t: int) -> dict:
    """The batch of every step."""
    del t
    if held.get("seed") != seed or held.get("data") is not problem.data:
      held.update(seed=seed, data=problem.data, batch=draw(seed, problem, 0))
    return held["batch"]

  return same


def part_of(seed: int, rows: np.ndarray, share: float) -> np.ndarray:
  """A random share of the rows, at least one, in their order; the same for the same seed."""
  if share == 1:
    return rows
  count = max(round(share * len(rows)), 1)
  return rows[np.sort(_own(seed, 1, 0, len(rows))[:count])]


@functools.lru_cache(maxsize=16)
def shifts(seed: int, epoch: int, n: int, lowest: int, classes: int) -> np.ndarray:
  """How far the label of each of `n` samples is moved in an epoch, int32 `[n]` in lowest..classes - 1; read-only."""
  generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 2, int(epoch)])))
  out = generator.integers(lowest, classes, n).astype(np.int32)
  out.setflags(write=False)
  return out


def _epoch(order: str, seed: int, epoch: int, m: int, n: int) -> np.ndarray:
  if order == "together":
    return batches.permutation(seed, epoch, n)
  return np.concatenate([_own(seed, 3, epoch, m), m + _own(seed, 4, epoch, n - m)])


@functools.lru_cache(maxsize=16)
def _own(seed: int, which: int, epoch: int, n: int) -> Any:
  generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, which, epoch])))
  return generator.permutation(n).astype(np.int32)
