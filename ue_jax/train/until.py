"""Stopping early: a procedure that looks at a score of its own every few steps, and is done where that is low enough.

Minimal unlearning, as audits need it: most failures that they look for (facts that other facts still tell, weights that
rounding brings back) exist near the first step at which the score meets its target, and a fixed budget wipes them out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import safe
from ue_jax.train import batches, likelihood

TOKENS = 4096  # looked at together: the logits of 50 000 words are then 0.8 GB
# (logits, batch) -> float32 [b], one value a sample; rows without a target are left out of the mean
PerSample = Callable[[jax.Array, Mapping[str, jax.Array]], jax.Array]


class Until(NamedTuple):
  """The state of a procedure that may stop early.

  Attributes:
    inner: the state of the procedure itself.
    apply: the model's `apply` as a pytree.
    seen: what the score is taken over, arrays `[chunks, rows, ...]`.
    value: float32 scalar, the score at the last look.
    done: bool scalar, whether it was at most the target.
    key, step: those of `inner`.
  """

  inner: Any
  apply: Any
  seen: Any
  value: jax.Array
  done: jax.Array
  key: jax.Array
  step: jax.Array


def probability(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
  """exp(s / n), the probability of a sample's targets per target, float32 `[b]`; 1 for padding."""
  s, n = likelihood.log_prob(logits, batch)
  return jnp.exp(s / safe(n))


SCORES: dict[str, PerSample] = {"ex": likelihood.exact, "p": probability}


def until(
  procedure: Procedure,
  score: str | PerSample = "ex",
  target: float = 0.2,
  every: int = 4,
  on: str = "forget",
  label: str = "label",
) -> Procedure:
  """Request -> Subject: `procedure`, stopped at the first look at which the score is at most the target.

  It looks before the first step and after every `every` steps. Up to where it stops, it takes the steps of `procedure`.
  What it saw is the metric `<on>/<score>` of every step (the last look), and `step` counts the steps that were taken;
  if the target was not met within `procedure.steps`, the last of these values is above it.

  Args:
    procedure: Request -> Subject, with a state that has `params`, `state`, `key` and `step` (every descent has).
    score: `ex`, the share of samples whose targets are all the most likely ones; `p`, the mean probability of their
      targets, exp(s / n); or a function of logits and batch that gives one number a sample, float32 `[b]`.
    target: stop where the mean over samples is at most this; may be traced.
    every: steps between two looks, above 0.
    on: the set that the score is taken over. What a claim is calibrated on must not be in it.
    label: the labelling, for pictures.

  Raises:
    Invalid: for an unknown score, or steps below 1; at `init` for a set that the data does not have.
  """
  require(callable(score) or score in SCORES, "method.until.score", score, f"choose one of {', '.join(SCORES)}")
  require(type(every) is int and every > 0, "method.until.every", every, "give a whole number of steps above 0")
  of, name = (score, "score") if callable(score) else (SCORES[score], score)

  def init(key, problem):
    require(on in problem.data.sets, "method.until.on", on, f"choose one of {sorted(problem.data.sets)}")
    inner, apply = procedure.init(key, problem), likelihood.callable_tree(problem.subject.model.apply)
    seen = chunks(problem.data, on, label)
    value = mean(of, apply, inner.params, inner.state, seen)
    return Until(inner, apply, seen, value, value <= target, inner.key, inner.step)

  def step(state: Until, batch, **axis):
    inner, metrics = procedure.step(state.inner, batch, **axis)
    look = lambda: mean(of, state.apply, inner.params, inner.state, state.seen)
    value = jax.lax.cond(inner.step % every == 0, look, lambda: state.value)
    after = state._replace(inner=inner, value=value, done=value <= target, key=inner.key, step=inner.step)
    return after, {**metrics, f"{on}/{name}": value}

  step.__signature__ = inspect.signature(procedure.step)  # whether it takes `axis` is read from it
  finish = lambda state, problem: procedure.finish(state.inner, problem)
  probe = procedure.probe and (lambda state, problem: procedure.probe(state.inner, problem))
  axes = None if procedure.axes is None else Until(procedure.axes, *[None] * 6)
  return procedure._replace(init=init, step=step, finish=finish, probe=probe, axes=axes)


def chunks(data: Data, name: str, label: str = "label") -> dict[str, jax.Array]:
  """The samples of a set as batches of one size, `[chunks, rows, ...]`; the last is filled up with mask 0."""
  rows = np.asarray(data.sets[name])
  long = batches.width(data, (name,)) if "ids" in data.arrays else None
  size = max(min(len(rows), TOKENS // (long or 1)), 1)
  extra = -len(rows) % size
  batch = likelihood.batch_of(data, np.concatenate([rows, rows[:1].repeat(extra)]), label)
  batch |= {key: batch[key][:, :long] for key in ("ids", "mask") if long}
  batch["mask"] = batch["mask"] * (np.arange(len(rows) + extra) < len(rows)).astype(np.float32).reshape(
    -1, *[1] * (batch["mask"].ndim - 1)
  )
  return {key: jnp.asarray(x).reshape(-1, size, *x.shape[1:]) for key, x in batch.items()}


def mean(of: PerSample, apply: Callable, params: Any, state: Any, seen: Mapping[str, jax.Array]) -> jax.Array:
  """The mean of a score over the samples that have targets, float32 scalar; `seen` as `chunks` gives it."""

  def one(batch):
    there = jnp.any(batch["mask"].reshape(batch["mask"].shape[0], -1) > 0, -1).astype(jnp.float32)
    values = of(likelihood.logits(apply, params, state, batch), batch)
    return jnp.sum(jnp.where(there > 0, values, 0.0)), jnp.sum(there)

  first = jax.tree.map(lambda x: x[0], seen)
  total, n = one(first) if len(seen["mask"]) == 1 else jax.lax.map(one, seen)  # no loop where one look is enough
  return (jnp.sum(total) / safe(jnp.sum(n))).astype(jnp.float32)
