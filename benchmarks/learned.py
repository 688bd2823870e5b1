"""Protections that learn: a step of ours beside the same step in plain PyTorch, on the same network and numbers.

Both start from the same parameters and are given the same batches, so that they can be checked against each other
(`agrees` in the note: share of values of the noise that differ by less than a hundredth of a step after the first
call; signs of gradients that are nearly 0 differ). PyTorch is no
dependency of this project: without it the lines stand without a peer.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ue_jax.core.nouns import Data, Subject
from ue_jax.models import cnn
from ue_jax.protect import bayes_error, error_min, rem, tap, unlearnable_clusters

WIDTHS, EPS, BATCH, TURNS = (32, 64, 128), 8 / 255, 128, 10


def rows(data: Data, repeats: int) -> list[tuple[str, ...]]:
  """Lines of `benchmarks.protect` for pictures `[n, 32, 32, 3]` of ten classes."""
  model = cnn.model(widths=WIDTHS)
  params, state = model.init(jax.random.key(0), data.arrays["image"][:1])
  subject = Subject(model, params, state)
  return [em(model, data, repeats), targeted(subject, data, repeats), *alone(subject, data)]


def em(model, data: Data, repeats: int) -> tuple[str, ...]:
  """A step of EM: ten signed steps of the noise of a batch, one step of the network."""
  procedure = error_min.protect(
    model, "sample", eps=EPS, step_size=EPS / 5, noise_steps=TURNS, steps=1000, batch_size=BATCH, stop=-1.0, rate=0.1,
    optimizer="sgd",
  )  # fmt: skip
  begin, step = procedure.init(jax.random.key(0), data), jax.jit(procedure.step)
  batches = [procedure.batch(0, data, t) for t in range(repeats + 2)]
  ours = timed(lambda s, b: step(s, b)[0], begin, batches)
  if not torch_is_there():
    return line("error_min, a step of 128", ours, BATCH, None, "")
  from benchmarks import in_torch

  fresh = lambda: in_torch.ErrorMin(begin.params, WIDTHS, data.arrays["image"].shape, EPS, EPS / 5, TURNS, 0.1)
  peer, first, at = fresh(), batches[0], batches[0]["row"]
  same = agreement(step(begin, first)[0].delta[at], fresh().step(peer.noise.clone(), first).numpy()[at])
  theirs = timed(peer.step, peer.noise, batches)
  return line("error_min, a step of 128", ours, BATCH, theirs, same)


def targeted(subject: Subject, data: Data, repeats: int) -> tuple[str, ...]:
  """Ten steps of TAP on a part of 128 pictures against a frozen network."""
  few = Data({k: v[:BATCH] for k, v in data.arrays.items()}, {"train": np.arange(BATCH, dtype=np.int32)}, data.info)
  procedure = tap.protect(subject, eps=EPS, step_size=EPS / 20, steps=TURNS * (repeats + 2), start="zeros", parts=1)
  begin, step, batch = procedure.init(jax.random.key(0), few), jax.jit(procedure.step), procedure.batch(0, few, 0)

  def turns(state, _):
    for _ in range(TURNS):
      state = step(state, batch)[0]
    return state

  ours = timed(turns, begin, [None] * (repeats + 2))
  if not torch_is_there():
    return line("tap, ten steps of 128", ours, BATCH, None, "")
  from benchmarks import in_torch

  peer = in_torch.Targeted(subject.params, WIDTHS, few.arrays["image"], few.arrays["label"], EPS, EPS / 20, TURNS)
  same = agreement(turns(begin, None).delta, peer.turns(peer.noise).numpy())
  theirs = timed(lambda noise, _: peer.turns(noise), peer.noise, [None] * (repeats + 2))
  return line("tap, ten steps of 128", ours, BATCH, theirs, same)


def alone(subject: Subject, data: Data) -> list[tuple[str, ...]]:
  """Whole protections without a peer, by the loop that users have, with compilation."""
  from ue_jax.train import loop

  clusters = unlearnable_clusters.protect(subject, k=10, steps=50, batch_size=64)
  made = {
    "unlearnable_clusters, k 10, 50 steps of 64": (clusters, 1000),
    "bayes_error, pixels, 20 rounds": (bayes_error.protect(space="raw", eps=EPS, steps=20, sigma=10.0), 1000),
    "rem as published (5 x 10 x 10), one step of 128": (rem.protect(subject.model, eps=EPS, steps=1), 256),
  }
  lines = []
  for name, (procedure, n) in made.items():
    few = Data({k: v[:n] for k, v in data.arrays.items()}, {"train": np.arange(n, dtype=np.int32)}, data.info)
    start = time.perf_counter()
    loop.fit(procedure, few, seed=0)
    taken = time.perf_counter() - start
    note = f"{taken:.1f} s with compilation"
    lines.append((f"{name}, n {few.n}", f"{few.n / taken:.0f} pictures/s", "", "", "", note))
  return lines


def timed(step: Callable[[Any, Any], Any], state: Any, batches: list[Any]) -> float:
  """Median seconds of a step after the first two."""
  taken = []
  for batch in batches:
    before = time.perf_counter()
    state = step(state, batch)
    jax.block_until_ready(jax.tree.leaves(state) if not hasattr(state, "numpy") else ())
    taken.append(time.perf_counter() - before)
  return float(np.median(taken[2:]))


def agreement(ours: Any, theirs: np.ndarray) -> str:
  """How much of the noise is the same on both sides."""
  return f"agrees {np.mean(np.abs(np.asarray(ours) - theirs) < EPS / 2000):.1%}"


def line(what: str, ours: float, pictures: int, theirs: float | None, note: str) -> tuple[str, ...]:
  """A line of the table; the ratio is of times."""
  rate = lambda seconds: f"{pictures / seconds:.0f} pictures/s"
  peer = f"PyTorch {rate(theirs)}" if theirs else "(PyTorch is not installed)"
  return what, rate(ours), peer, f"{ours / theirs:.2f}" if theirs else "", "", note


def torch_is_there() -> bool:
  """Whether PyTorch is installed; this does not import it."""
  return importlib.util.find_spec("torch") is not None
