"""Amnesiac unlearning: what batches with samples to forget changed is written down while training, and taken back.

Source: Graves, Nagisetty and Ganesh, "Amnesiac Machine Learning", AAAI 2021. With d_t the change of the parameters in
step t,

  theta <- theta - sum of d_t over the steps whose batch held a sample of D_f,

then a few steps on D_r to repair. Only the sum is needed. It is found here by training again with the same seed, step
by step as the subject was trained: exact, in no more memory than one more network, and as dear as a training. Where the
set to forget is large, nearly every batch holds some of it, and what is left is near the initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.procedure import Procedure, convolves, run_scan
from ue_jax.forget import fine_tune, vision
from ue_jax.parallel import mesh


class Logged(NamedTuple):
  """The state.

  Attributes:
    inner: of the training.
    log: the sum of the changes by steps that saw something to forget, a tree like the parameters.
    touched: int32 scalar, how many such steps there were.
    key, step: as in every state.
  """

  inner: Any
  log: Any
  touched: jax.Array
  key: jax.Array
  step: jax.Array


def method(
  train: Procedure,
  repair_steps: int = 50,
  repair_rate: Any = 1e-3,
  retain_batch: int = 64,
  keep: Sequence[str] = ("retain",),
  label: str = "label",
) -> Procedure:
  """Request -> Subject: trained as the subject was, less what batches with samples of `forget` did, then repaired.

  With the seed of the training, the subject's own history. For picture classifiers.

  Args:
    train: the procedure that trained the subject, with the same settings.
    repair_steps: Adam steps on what is kept; 0 for none.
    repair_rate: of these steps; may be traced.
    retain_batch: samples in each of them.
    keep: the sets of the repair, taken together.
    label: the labelling.

  Raises:
    Invalid: for a negative number of steps; at `init` for data without the sets.
  """
  good = isinstance(repair_steps, int) and repair_steps >= 0
  require(good, "method.repair_steps", repair_steps, "give a whole number >= 0")
  mend = fine_tune.method(retain_batch=retain_batch, keep=keep, label=label, steps=repair_steps, rate=repair_rate)

  def init(key, request):
    vision.check(request, ("forget", *keep), label)
    inner, zero = train.init(key, request.data), jnp.zeros((), jnp.int32)
    return Logged(inner, jax.tree.map(jnp.zeros_like, inner.params), zero, inner.key, zero)

  def step(state, batch, axis=None):
    inner, metrics = train.step(state.inner, batch["train"], axis)
    hit = batch["touched"] > 0
    add = lambda log, new, old: log + jnp.where(hit, new - old, jnp.zeros_like(log))
    log = jax.tree.map(add, state.log, inner.params, state.inner.params)
    touched = state.touched + hit.astype(jnp.int32)
    return Logged(inner, log, touched, state.key, state.step + 1), metrics | {"log": tree.norm(log)}

  def finish(state, request):
    base = train.finish(state.inner, request.data)
    params = jax.tree.map(jnp.subtract, base.params, state.log)
    left = request._replace(subject=base._replace(params=params))
    return repaired(mend, jax.random.fold_in(state.key, 1), left)

  def draw(seed, request, t):
    part = train.batch(seed, request.data, t)
    gone = request.data.arrays["index"][request.data.sets["forget"]]
    return {"train": part, "touched": np.float32(np.isin(part["index"], gone).any())}

  return train._replace(init=init, step=step, finish=finish, batch=draw, probe=None)


def repaired(mend: Procedure, key: jax.Array, request: Any) -> Any:
  """The subject after all steps of the procedure `mend`, in one compiled scan.

  Convolutions lose their threads in a scan on a CPU: there they take a step a call.
  """
  state = mend.init(key, request)
  if mend.steps == 0:
    return mend.finish(state, request)
  seed = int(jax.random.bits(jax.random.fold_in(key, 1)))
  parts = [mend.batch(seed, request, t) for t in range(mend.steps)]
  if convolves(mend, request) and not mesh.on_accelerator():
    step = jax.jit(mend.step)
    for part in parts:
      state, _ = step(state, part)
  else:
    state, _ = jax.jit(lambda state, parts: run_scan(mend, state, parts))(
      state, jax.tree.map(lambda *x: np.stack(x), *parts))
  return mend.finish(state, request)
