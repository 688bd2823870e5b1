"""Relearn time: how many steps of one fixed recipe bring back what was forgotten, against a model that never knew it.

Golatkar, Achille and Soatto, "Forgetting Outside the Box", 2020 (the relearn time as a readout); Chundawat et al.,
"Zero-Shot Machine Unlearning", 2023 (the anamnesis index): the time of the unlearned model over that of the model
trained again, 1 is ideal, below 1 something was remembered, above 1 it was over-forgotten and stands out (Streisand).

A model is back when its accuracy on the set `forget` is no further than `margin` below the original's. What is not back
after `steps` steps is censored: its time counts as `steps`, and `censored` says so. The index of two censored times
is 1, and says nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.audit.outputs import outputs
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import mesh
from ue_jax.train import batches, losses, optim


def measure(
  steps: int = 100, rate: Any = 1e-3, margin: float = 0.05, batch_size: int = 64, shown: str = "forget",
  optimizer: str = "adam", label: str = "label", seed: int = 0,
) -> Procedure:  # fmt: skip
  """Request -> Scores `relearn_steps`, `censored` and, with a reference, `anamnesis`. For picture classifiers.

  Args:
    steps: at most, then the time is censored.
    rate: learning rate of the recipe.
    margin: how far below the accuracy of the original counts as back.
    batch_size: samples a step; a smaller set gives all it has.
    shown: what the recipe trains on: `forget`, or `train` for all of it.
    optimizer: a name that `train.optim.make` knows.
    label: the labelling.
    seed: of the order of the samples, the same for all models.

  Without a reference the time is best long (`steps`). Without an original, back means an accuracy of 1 - margin.

  Raises:
    Invalid: for no step, a margin outside [0, 1), missing sets, tokens, or outputs that are not finite.
  """
  require(isinstance(steps, int) and steps >= 1, "measure.steps", steps, "give at least 1")
  require(0 <= margin < 1, "measure.margin", margin, "give a number from 0 on, below 1")

  def score(key, request: Request) -> Scores:
    del key
    curve = functools.partial(relearning, data=request.data, steps=steps, rate=rate, batch_size=batch_size, shown=shown,
                              optimizer=optimizer, label=label, seed=seed)  # fmt: skip
    known = 1.0
    if request.original is not None:
      known = float(outputs(request.original, request.data, ("forget",), label)["forget"].hits().mean())
    mine, late = time(curve(request.subject), known - margin)
    n, span = len(request.data.sets["forget"]), (0.0, float(steps))
    if request.reference is None:
      return {"relearn_steps": Score(mine, n, "high", span[1], *span), "censored": Score(late, n, "high", 1.0)}
    ideal, ideal_late = time(curve(request.reference), known - margin)
    return {
      "relearn_steps": Score(mine, n, "near", ideal, *span), "censored": Score(late, n, "near", ideal_late),
      "anamnesis": Score(anamnesis(mine, ideal), n, "near", 1.0, 0.0, float("inf")),
    }  # fmt: skip

  return once(score)


def time(accuracy: np.ndarray, enough: float) -> tuple[float, float]:
  """The first step at which an accuracy is enough, and 0.0; the last step and 1.0 (censored) if there is none.

  Args:
    accuracy: float `[steps + 1]`, before the first step and after every one.
    enough: what counts as back.
  """
  back = np.flatnonzero(accuracy >= enough - 1e-9)
  return (float(back[0]), 0.0) if len(back) else (float(len(accuracy) - 1), 1.0)


def anamnesis(mine: float, ideal: float) -> float:
  """mine / ideal; an `ideal` of 0 counts as 1 step, and two times of 0 are equal: 1."""
  return 1.0 if mine == ideal else mine / max(ideal, 1.0)


def relearning(
  subject: Subject, data: Data, steps: int = 100, rate: Any = 1e-3, batch_size: int = 64, shown: str = "forget",
  optimizer: str = "adam", label: str = "label", seed: int = 0,
) -> np.ndarray:  # fmt: skip
  """Accuracy on the set `forget` before the first step of the recipe and after every one, float64 `[steps + 1]`.

  The model runs as in evaluation: no dropout, batch statistics stay. The steps are one program, but those of a network
  with convolutions on a CPU are taken one by one: inside a loop they lose their threads.
  """
  outputs(subject, data, ("forget", shown), label)  # refuses what cannot be measured
  asked, pool = (np.asarray(data.sets[name]) for name in ("forget", shown))
  n = len(pool)
  at = np.stack([pool[batches.shuffled(seed, n, min(batch_size, n), t)] for t in range(steps)])
  images, labels = jnp.asarray(data.arrays["image"]), jnp.asarray(data.arrays[label], jnp.int32)
  scanned = mesh.on_accelerator() or not subject.model.convolutional
  run = _program(subject.model.apply, optimizer, steps, scanned)
  about = (subject.state, images, labels, images[asked], labels[asked])
  return np.asarray(run(subject.params, jnp.asarray(at), jnp.float32(rate), about), np.float64)


@functools.lru_cache(maxsize=8)
def _program(apply: Any, optimizer: str, steps: int, scanned: bool) -> Any:
  """The curve of `relearning`, in one compiled program if `scanned`, else in one a step."""

  def logits(params, state, images):
    return apply(params, to_float(images), state=state, train=False).logits

  def look(params, about):
    state, _, _, images, labels = about
    return jnp.mean(jnp.argmax(logits(params, state, images), -1) == labels, dtype=jnp.float32)

  def begin(params, rate, about):
    return (params, optim.make(optimizer, rate, steps).init(params)), look(params, about)

  def step(carry, rows, rate, about):
    (params, opt), (state, images, labels, *_) = carry, about
    loss = lambda params: jnp.mean(losses.cross_entropy(logits(params, state, images[rows]), labels[rows]))
    updates, opt = optim.make(optimizer, rate, steps).update(jax.grad(loss)(params), opt, params)
    params = optax.apply_updates(params, updates)
    return (params, opt), look(params, about)

  @jax.jit
  def at_once(params, at, rate, about):
    carry, first = begin(params, rate, about)
    _, seen = jax.lax.scan(lambda carry, rows: step(carry, rows, rate, about), carry, at)
    return jnp.concatenate([first[None], seen])

  first_one, next_one = jax.jit(begin), jax.jit(step)

  def one_by_one(params, at, rate, about):
    carry, now = first_one(params, rate, about)
    seen = [now]
    for rows in at:
      carry, now = next_one(carry, rows, rate, about)
      seen.append(now)
    return jnp.stack(seen)

  return at_once if scanned else one_by_one
