"""Supervised training, then the last layer anew on a few pictures that can be trusted.

Source: Kirichenko, Izmailov, Wilson, "Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations"
(ICLR 2023); against protected pictures: Sandoval-Segura et al., "What Can We Learn from Unlearnable Datasets?"
(NeurIPS 2023). The body keeps its bits, so the features of the known pictures are computed once, and what is left is
a logistic regression on them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.models.model import Model
from ue_jax.train import batches, losses, optim, supervised


def train(
  model: Model,
  *,
  known_set: str = "known",
  known_steps: int = 300,
  known_rate: Any = 0.01,
  known_decay: Any = 1e-3,
  fresh: bool = True,
  label: str = "label",
  train_set: str = "train",
  steps: int = 1000,
  probe_sets: Sequence[str] = ("test",),
  **options: Any,
) -> Procedure:
  """Data -> Subject: `supervised.train`, then only the linear layer `head` on all pictures of `known_set`.

  The last point of the curves is of the network that is returned, the others are from before its last layer is
  trained again.

  Args:
    model: its logits must be its features times `head/kernel`, plus `head/bias`.
    known_set: pictures with labels that can be trusted, outside `train_set` (the option `known` of `data.embedded`
      and `data.synthetic`, or `data.splits.known`). Training on these alone, without any protected picture
      (`supervised.train` with this set as `train_set`), is itself a strong countermeasure: compare with it.
    known_steps: Adam steps on the whole set; 0 leaves the last layer as it was.
    known_rate: the rate of these steps, which falls to 0 by a cosine.
    known_decay: weight of half the squared norm of the kernel.
    fresh: True starts the last layer from zeros, False from what was trained.
    label, train_set, steps, probe_sets, options: see `supervised.train`, of which every argument is taken.

  Raises:
    Invalid: as `supervised.train`; at `init` without the known set, or if it shares rows with `train_set`.
  """
  require(isinstance(known_steps, int) and known_steps >= 0, "train.known_steps", known_steps, "give a number >= 0")
  for field, value in (("known_rate", known_rate), ("known_decay", known_decay)):
    if isinstance(value, (int, float)):
      require(0 <= value < float("inf"), f"train.{field}", value, "give a finite number >= 0")
  plain = supervised.train(
    model, label=label, train_set=train_set, steps=steps, probe_sets=probe_sets, **options
  )  # fmt: skip

  def init(key, data):
    known = batches.rows_of(data, known_set)
    shared = np.intersect1d(known, batches.rows_of(data, train_set))
    require(not len(shared), "train.known_set", known_set, f"take rows that are not in '{train_set}'")
    return plain.init(key, data)

  def finish(state, data):
    subject = plain.finish(state, data)
    if known_steps == 0:
      return subject
    return refit(subject, data, known_set, label, known_steps, known_rate, known_decay, fresh)

  def probe(state, data):
    if int(state.step) < steps:
      return plain.probe(state, data)
    subject = finish(state, data)
    return supervised.accuracies(model, subject.params, subject.state, data, label, probe_sets)

  return plain._replace(init=init, finish=finish, probe=probe)


def refit(
  subject: Subject, data: Data, known_set: str = "known", label: str = "label", steps: int = 300, rate: Any = 0.01,
  decay: Any = 1e-3, fresh: bool = True,
) -> Subject:
  """The subject with its last layer trained on all pictures of `known_set`; see `train` for the arguments.

  Raises:
    Invalid: if its logits are not a linear function, named `head`, of its features.
  """
  rows = batches.rows_of(data, known_set)
  logits, features = supervised.predict(subject.model, subject.params, subject.state, data.arrays["image"][rows])
  head = subject.params.get("head") if isinstance(subject.params, dict) else None
  linear = isinstance(head, dict) and set(head) == {"kernel", "bias"} and features.ndim == 2
  linear = linear and np.allclose(features @ head["kernel"] + head["bias"], logits, rtol=1e-2, atol=1e-2)
  require(linear, "train.model", type(subject.model).__name__, "give a model with a linear last layer named 'head'")
  begin = jax.tree.map(jnp.zeros_like, head) if fresh else head
  labels = jnp.asarray(data.arrays[label][rows], jnp.int32)
  trained = _descend(begin, jnp.asarray(features), labels, jnp.float32(rate), jnp.float32(decay), steps)
  return subject._replace(params={**subject.params, "head": trained})


@functools.partial(jax.jit, static_argnames="steps")
def _descend(head: dict, features: jax.Array, labels: jax.Array, rate, decay, steps: int) -> dict:
  """`head` after Adam on the mean cross entropy of `[n, width]` features and the penalty."""
  tx = optim.make("adam", rate, steps, schedule="cosine")

  def loss(head):
    logits = features @ head["kernel"] + head["bias"]
    return jnp.mean(losses.cross_entropy(logits, labels)) + decay / 2 * jnp.sum(jnp.square(head["kernel"]))

  def step(carry, _):
    head, opt = carry
    updates, opt = tx.update(jax.grad(loss)(head), opt, head)
    return (jax.tree.map(jnp.add, head, updates), opt), None

  return jax.lax.scan(step, (head, tx.init(head)), None, length=steps)[0][0]


train.__signature__ = with_options(train, supervised.train)
