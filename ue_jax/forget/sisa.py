"""SISA: sharded, isolated, sliced, aggregated training, which forgets exactly by training one shard again.

Source: Bourtoule et al., "Machine Unlearning", IEEE S&P 2021. The members of `models.ensemble` are the shards: each
learns from its own part of the data, in R stages: stage r trains on its slices 0 ... r, with a fresh optimiser, after
the parameters have been put aside. What is to be forgotten was not seen before the stage of its slice, so its shard
goes back to there and trains on without it; all others keep their bits. The result is, to the bit, that of SISA without
the sample. One deletion costs about (1 / S)(1 / 2 + 1 / (2 R)) of a training.

`train` gives the ensemble, with the past of each shard in the Subject's state; `method` takes samples out of it. Both
must be given the same settings. All shards are one vmapped network, divided over the devices where there are several;
so shards that stand are computed, too, and left as they are: `retrained` counts the samples that were learned again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import safe
from ue_jax.forget import retrain, shards, vision
from ue_jax.models.model import Model
from ue_jax.parallel import spread
from ue_jax.train import losses, optim, supervised


class Sharded(NamedTuple):
  """The state; all but the last three have a leading axis `[shards]`.

  Attributes:
    params, state: of the members.
    opt: of each member's optimiser.
    past: (params, state) with which each stage began, `[shards, slices, ...]`.
    begin: int32 `[shards]`, the first stage to be trained; all stages before it stand.
    apply: of the model, without leaves.
    key, step: as in every state.
  """

  params: Any
  state: Any
  opt: Any
  past: Any
  begin: jax.Array
  apply: Any
  key: jax.Array
  step: jax.Array


AXES = Sharded(0, 0, 0, 0, 0, None, None, None)


def settings(
  *,
  slices: int = 4,
  slice_steps: int = 100,
  batch_size: int = 64,
  rate: Any = 1e-3,
  optimizer: str = "adam",
  weight_decay: Any = 0.0,
  schedule: str = "constant",
  label: str = "label",
) -> dict[str, Any]:
  """What `train` and `method` share: how one shard learns.

  Args:
    slices: R, stages of a shard.
    slice_steps: optimiser steps of each stage.
    batch_size: samples a step and shard.
    rate, optimizer, weight_decay, schedule: see `train.optim.make`; the schedule begins anew in every stage.
    label: the labelling.

  Raises:
    Invalid: for numbers out of range.
  """
  for field, value in (("slices", slices), ("slice_steps", slice_steps), ("batch_size", batch_size)):
    require(isinstance(value, int) and value >= 1, f"train.{field}", value, "give a whole number >= 1")
  tx = optim.make(optimizer, rate, slice_steps, weight_decay=weight_decay, schedule=schedule)
  return dict(tx=tx, slices=slices, slice_steps=slice_steps, size=batch_size, label=label)


def train(
  model: Model, *, train_set: str = "train", probe_sets: Sequence[str] = ("test",), **options: Any
) -> Procedure:
  """Data -> Subject: an ensemble whose members know one shard each.

  Args:
    model: from `models.ensemble`.
    train_set: the set that is dealt out.
    probe_sets: sets whose accuracy is looked at in the end.
    options: those of `settings`.

  Raises:
    Invalid: for a model that is no ensemble, or as `supervised.train`.
  """
  own = settings(**options)

  def init(key, data):
    supervised.check_labels(model, data, own["label"], train_set)
    params, state = model.init(key, data.arrays["image"][:1])
    require("members" in state, "train.model", type(model).__name__, "use config.model = dict(name='models.ensemble')")
    begin = jnp.zeros(_members(model, data), jnp.int32)
    repeated = jax.tree.map(lambda x: jnp.stack([x] * own["slices"], 1), (params, state))
    return _begin(own, model, params, state, repeated, begin, key)

  def finish(state, data):
    del data
    return _subject(model, state)

  def probe(state, data):
    return supervised.accuracies(model, state.params, state.state, data, own["label"], probe_sets)

  find = shards.remembering(lambda data: shards.dealt(data, train_set, _members(model, data), own["slices"]))
  draw = _draws(own, lambda data: (data, find(data)))
  steps = own["slices"] * own["slice_steps"]
  return Procedure(init, _step(own), finish, draw, steps, probe, 0, AXES, model.convolutional)


train.__signature__ = with_options(train, settings)


def method(keep: Sequence[str] = ("retain",), **options: Any) -> Procedure:
  """Request -> Subject: the ensemble without the set `forget`, exactly. For subjects that `train` made.

  The metric `retrained` is the number of samples that a step trained on.

  Args:
    keep: the sets that are kept, taken together: all that was trained on but `forget`.
    options: those of `settings`, with the values that the training had.

  Raises:
    Invalid: at `init` for another sort of subject, or one of other slices.
  """
  own = settings(**options)
  rest = lambda request: retrain.without_forget(request, keep)

  def init(key, request):
    vision.check(request, ("forget", *keep), own["label"])
    subject, past = request.subject, _past(request.subject, own["slices"])
    n = jax.tree.leaves(subject.params)[0].shape[0]
    gone = request.data.arrays["index"][request.data.sets["forget"]]
    shard, part = shards.places(gone, n, own["slices"])
    begin = np.full(n, own["slices"], np.int32)
    np.minimum.at(begin, shard, part.astype(np.int32))
    state = {name: tree for name, tree in subject.state.items() if name != "past"}
    return _begin(own, subject.model, subject.params, state, past, jnp.asarray(begin), key)

  members = lambda request: jax.tree.leaves(request.subject.params)[0].shape[0]
  find = shards.remembering(lambda request: shards.dealt(rest(request), "train", members(request), own["slices"]))
  draw = _draws(own, lambda request: (request.data, find(request)))
  steps = own["slices"] * own["slice_steps"]
  finish = lambda state, request: _subject(request.subject.model, state)
  return Procedure(init, _step(own), finish, draw, steps, axes=AXES)


method.__signature__ = with_options(method, settings)


def _members(model: Model, data: Any) -> int:
  params, _ = jax.eval_shape(model.init, jax.random.key(0), data.arrays["image"][:1])
  return jax.tree.leaves(params)[0].shape[0]


def _past(subject: Subject, slices: int) -> Any:
  """The past of an ensemble that `train` made."""
  there = isinstance(subject.state, dict) and {"members", "past"} <= set(subject.state)
  require(there, "config.train", "no past", "train with dict(name='forget.sisa') and a models.ensemble")
  kept = jax.tree.leaves(subject.state["past"])[0].shape[1]
  require(kept == slices, "method.slices", slices, f"the ensemble was trained in {kept} slices: give that number")
  return subject.state["past"]


def _begin(own: dict, model: Model, params: Any, state: Any, past: Any, begin: jax.Array, key: jax.Array) -> Sharded:
  apply = jax.tree_util.Partial(model.apply)
  return Sharded(params, state, jax.vmap(own["tx"].init)(params), past, begin, apply, key, jnp.zeros((), jnp.int32))


def _subject(model: Model, state: Sharded) -> Subject:
  return Subject(model, state.params, {**state.state, "past": state.past})


def _draws(own: dict, look: Any) -> Any:
  """The `batch` of a Procedure; `look(problem)` gives the Data and the rows of every shard."""

  def batch(seed, problem, t):
    """What the shards see at step `t`."""
    data, rows = look(problem)
    t = min(t, own["slices"] * own["slice_steps"] - 1)  # a look beyond the end
    return shards.draw(data, rows, seed, t, own["slice_steps"], own["size"], own["label"])

  return batch


def _step(own: dict) -> Any:
  """One step of all shards whose time has come; `slice_steps` of them make a stage."""
  tx, slice_steps = own["tx"], own["slice_steps"]

  def step(state: Sharded, batch, axis=None):
    """`(state, metrics)`."""
    batch = spread.own(batch, state.begin.shape[0], axis)
    stage, first = state.step // slice_steps, state.step % slice_steps == 0
    active = stage >= state.begin
    state = _entered(state, tx, stage, active & first)
    key = spread.local_key(jax.random.fold_in(state.key, state.step), axis)
    weight = jnp.sum(batch["mask"], axis=1)

    def loss(params):
      out = state.apply(params, to_float(batch["image"]), state=state.state, train=True, key=key)
      totals = jnp.sum(losses.cross_entropy(out.logits, batch["label"]) * batch["mask"], axis=1)
      return jnp.sum(totals / safe(weight)), (totals, out.state)

    (_, (totals, after)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, opt = jax.vmap(tx.update)(grads, state.opt, state.params)
    moved = (optax.apply_updates(state.params, updates), after, opt)
    params, inner, opt = _where(active & (weight > 0), moved, (state.params, state.state, state.opt))
    seen, total = (spread.allsum(jnp.sum(jnp.where(active, x, 0)), axis) for x in (weight, totals))
    metrics = {"cross_entropy": Tally(total, seen), "loss": total / safe(seen), "retrained": seen}
    return state._replace(params=params, state=inner, opt=opt, step=state.step + 1), metrics

  return step


def _entered(state: Sharded, tx: Any, stage: jax.Array, enter: jax.Array) -> Sharded:
  """The state in which shards that `enter` a stage have put their parameters aside and have a fresh optimiser.

  Those for which it is the first go back to their past before.
  """
  stand = jax.tree.map(lambda x: x[:, jnp.minimum(stage, x.shape[1] - 1)], state.past)
  params, inner = _where(enter & (stage == state.begin), stand, (state.params, state.state))
  put = jax.tree.map(lambda all, x: all.at[:, jnp.minimum(stage, all.shape[1] - 1)].set(x), state.past, (params, inner))
  past = _where(enter, put, state.past)
  opt = _where(enter, jax.vmap(tx.init)(params), state.opt)
  return state._replace(params=params, state=inner, opt=opt, past=past)


def _where(hit: jax.Array, a: Any, b: Any) -> Any:
  """Shard by shard, the tree `a` where `hit` `[shards]`, else `b`."""
  return jax.tree.map(lambda x, y: jnp.where(hit.reshape(-1, *[1] * (x.ndim - 1)), x, y), a, b)
