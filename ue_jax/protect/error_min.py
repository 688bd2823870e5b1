"""Error-minimising noise: pictures on which a network finds its error small already (Huang et al., ICLR 2021).

"Unlearnable Examples: Making Personal Data Unexploitable", equation 2: min over the network, min over the noise, of the
loss on the noisy pictures. Class-wise noise is one pattern a class of ONE labelling: the baseline against which
label-agnostic methods are held.

Departures from the reference: noise and network take turns batch by batch unless `network_steps` is given, and
class-wise noise, too, is made of all pictures of `train` and not of a fifth of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import safe
from ue_jax.models.model import Model, classes_of
from ue_jax.parallel.spread import allmean, allsum, gather
from ue_jax.protect import publish
from ue_jax.train import losses, optim, pgd
from ue_jax.train.batches import shuffled

KINDS = ("class", "sample")


class State(NamedTuple):
  """The network and the noise.

  Attributes:
    params, model, opt: of the network that is trained on the noisy pictures.
    delta: float32 `[groups, h, w, c]` in units of [0, 1].
    groups: int32 `[n]`, the pattern of every row of the Data; the number of patterns stands for none.
    eps, most: the budget, and in whole grey levels.
    right, seen: float32, of the current pass over `train`: pictures that the network recognises by now, and all.
    done: bool, whether the error of a whole pass was small enough.
  """

  key: jax.Array
  step: jax.Array
  params: Any
  model: Any
  opt: Any
  delta: jax.Array
  groups: jax.Array
  eps: jax.Array
  most: jax.Array
  right: jax.Array
  seen: jax.Array
  done: jax.Array


def protect(
  model: Model,
  kind: str = "class",
  label: str = "label",
  eps=8 / 255,
  step_size=None,
  noise_steps: int = 1,
  network_steps: int = 0,
  stop=0.01,
  steps: int = 1000,
  batch_size: int = 128,
  rate=1e-3,
  optimizer: str = "adam",
  momentum=0.9,
  weight_decay=0.0,
  clip=0.0,
) -> Procedure:
  """Noise that lowers the loss of a network trained on it: Data -> Data with changed `train` and `test_protected`.

  Args:
    model: the network, for pictures of the Data and the classes of `label`.
    kind: `class`: one pattern a class; `sample`: one a picture of `train` (test pictures then stay as they are).
    label: the labelling that the noise is tied to.
    eps: largest change of a value in units of [0, 1]; may be traced, as may step_size, stop and rate.
    step_size: of a signed step of the noise; None: eps / 10, as published.
    noise_steps: of the noise of a batch at a time; published: 20 for `sample`, 1 for `class`.
    network_steps: 0: every step moves the noise of a batch and then trains the network on it. Above 0, the published
      schedule: in a round so many steps of the network (published: 10), then a pass over `train` for the noise alone.
    stop: crafting ends when a pass over `train` has at most this share of errors on noisy pictures; below 0: never.
    steps: batches at most, of either sort.
    batch_size, rate, optimizer, momentum, weight_decay, clip: of the network's training.

  Metrics: `loss` (nats) and `accuracy` of the network on the noisy pictures of the batch.

  Raises:
    Invalid: for values out of range, or (from init) what the Data lacks.
  """
  _check(kind, eps, noise_steps, network_steps, steps, batch_size)
  tx = optim.make(optimizer, rate, max(steps, 1), momentum=momentum, weight_decay=weight_decay, clip=clip)
  how = Recipe(model, tx, kind, label, eps, step_size, stop, noise_steps, network_steps, batch_size)
  bind = lambda fn: functools.partial(fn, how)
  return Procedure(bind(begin), bind(advance), finish, bind(draw), steps, convolutional=model.convolutional)


class Recipe(NamedTuple):
  """What `protect` was asked for: its arguments, and `tx`, the network's optimiser."""

  model: Model
  tx: optax.GradientTransformation
  kind: str
  label: str
  eps: Any
  step_size: Any
  stop: Any
  noise_steps: int
  network_steps: int
  batch_size: int


def begin(how: Recipe, key: jax.Array, data: Data) -> State:
  """A fresh network, and no noise yet."""
  labels, classes = publish.labels_of(data, how.label)
  require(classes > 1, "protect.label", how.label, "choose a labelling of two classes or more: of one there is no loss")
  train, image = publish.set_rows(data, "train"), data.arrays["image"]
  of_model, key = jax.random.split(key)
  groups, count = labels, classes
  if how.kind == "sample":
    count = len(train)
    groups = np.full(data.n, count, np.int32)
    groups[train] = np.arange(count)
  params, state = how.model.init(of_model, image[train[:1]])
  got = classes_of(how.model, params, state, image[:1])
  require(got == classes, "model.classes", got, f"'{how.label}' has {classes} classes: set it to {classes}")
  budget, zero = jnp.asarray(how.eps, jnp.float32), jnp.float32(0)
  delta = jnp.zeros((count, *image.shape[1:]), jnp.float32)
  return State(
    key, jnp.int32(0), params, state, how.tx.init(params), delta, jnp.asarray(groups), budget,
    publish.most_levels(budget), zero, zero, jnp.zeros((), bool),
  )  # fmt: skip


def advance(how: Recipe, state: State, batch, axis=None) -> tuple[State, dict]:
  """The noise of a batch moves, and the network is trained on it; in the published schedule one of the two."""
  x, mask = to_float(batch["image"]), batch["mask"].astype(jnp.float32)
  group, learns = state.groups[batch["row"]], batch["learns"]
  count = safe(allsum(jnp.sum(mask), axis))
  cost = functools.partial(cost_of, how, state, batch, count)
  still = lambda noised: cost(state.params, noised, False)[0]
  craft = functools.partial(lowered, how, state, x, group, mask, still, axis)
  delta = jax.lax.cond(learns, lambda delta: delta, craft, state.delta) if how.network_steps else craft(state.delta)
  (_, (each, right, after)), slope = jax.value_and_grad(cost, has_aux=True)(state.params, noisy(x, delta, group), True)
  updates, opt = how.tx.update(allsum(slope, axis), state.opt, state.params)
  learned = optax.apply_updates(state.params, updates), allmean(after, jnp.sum(mask), axis), opt
  if how.network_steps:
    before = state.params, state.model, state.opt
    learned = jax.tree.map(lambda new, old: jnp.where(learns, new, old), learned, before)
  params, model, opt = learned
  hits = allsum(jnp.sum(right), axis)
  judged = jnp.logical_not(learns) if how.network_steps else True  # only passes over all of train are
  metrics = {"loss": Tally(allsum(jnp.sum(each), axis), count), "accuracy": Tally(hits, count)}
  state = state._replace(step=state.step + 1, params=params, model=model, opt=opt, delta=delta)
  return count_pass(how, state, jnp.where(judged, hits, 0), jnp.where(judged, count, 0), batch["last"]), metrics


def cost_of(how: Recipe, state: State, batch, count, params, noised: jax.Array, train: bool) -> tuple:
  """This device's part of the mean loss on noisy pictures; with it the losses, the hits and the model state."""
  mask = batch["mask"].astype(jnp.float32)
  out = how.model.apply(params, noised, state=state.model, train=train, key=jax.random.fold_in(state.key, state.step))
  each = losses.cross_entropy(out.logits, batch["label"]) * mask
  return jnp.sum(each) / count, (each, losses.correct(out.logits, batch["label"]) * mask, out.state)


def noisy(x: jax.Array, delta: jax.Array, group: jax.Array) -> jax.Array:
  """Pictures `[b, h, w, c]` with the patterns of their groups `[b]`, in [0, 1]."""
  return jnp.clip(x + delta[group], 0, 1)


def lowered(how: Recipe, state: State, x, group, mask, cost, axis, delta: jax.Array) -> jax.Array:
  """The patterns after `noise_steps` signed steps of a batch down the slope of `cost` (noisy pictures -> scalar)."""
  size = state.eps / 10 if how.step_size is None else how.step_size

  def one(_, delta):
    slope = jax.grad(cost)(noisy(x, delta, group))
    moved = pgd.move(delta[group], -slope, state.eps, size)
    return settle(delta, *gather((group, moved, mask), axis))

  return pgd.repeat(one, delta, how.noise_steps, how.model.convolutional)


def count_pass(how: Recipe, state: State, right, seen, last) -> State:
  """The state with `right` of `seen` pictures counted, judged and set back to none if the pass ends (`last`)."""
  right, seen = state.right + right, state.seen + seen
  done = last & (right >= (1 - how.stop) * seen)
  return state._replace(right=jnp.where(last, 0, right), seen=jnp.where(last, 0, seen), done=done)


def draw(how: Recipe, seed: int, data: Data, t: int) -> dict:
  """The rows of step t: of a shuffled pass, or in the published schedule of a pass in order for the noise alone."""
  train, network_steps = publish.set_rows(data, "train"), how.network_steps
  count = min(how.batch_size, len(train))
  passing = -(-len(train) // count)
  lap, turn = divmod(t, network_steps + passing)
  if network_steps == 0 or turn < network_steps:
    places = shuffled(seed, len(train), count, lap * network_steps + turn if network_steps else t)
  else:  # a pass in order, its last batch filled up
    places = (turn - network_steps) * count + np.arange(count)
  rows = train[np.minimum(places, len(train) - 1)]
  return {
    "image": data.arrays["image"][rows], "label": np.asarray(data.arrays[how.label][rows], np.int32), "row": rows,
    "mask": (places < len(train)).astype(np.float32), "learns": np.bool_(turn < network_steps),
    "last": np.bool_(turn == network_steps + passing - 1),
  }  # fmt: skip


def finish(state: State, data: Data) -> Data:
  """The pictures with their patterns in whole grey levels."""
  return publish.add_patterns(data, state.delta, grey_levels(state), np.asarray(state.groups))


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the pattern of that row of `data`; see `publish.pattern_painter`."""
  require(len(state.groups) == data.n, "data", f"{data.n} rows", f"give the Data of init, {len(state.groups)} rows")
  return publish.pattern_painter(grey_levels(state), np.asarray(state.groups))


def grey_levels(state: State) -> np.ndarray:
  """The patterns in whole grey levels, int16 `[groups, h, w, c]`, none beyond floor(255 eps)."""
  most = int(state.most)
  return np.clip(publish.levels(state.delta, 1.0), -most, most)


def settle(delta: jax.Array, group: jax.Array, moved: jax.Array, mask: jax.Array) -> jax.Array:
  """The patterns after a batch: each the mean of what its pictures ask for; patterns without a picture stay.

  Args:
    delta: float32 `[groups, h, w, c]`.
    group: int32 `[b]`, the pattern of each picture.
    moved: float32 `[b, h, w, c]`, what each picture would have in its place.
    mask: float32 `[b]`, 0 for pictures that do not count.
  """
  together = (group[:, None] == group).astype(jnp.float32) * mask
  count = pgd.of_pictures(safe(jnp.sum(together, axis=1)))
  exact = jax.lax.Precision.HIGHEST
  asked = jnp.tensordot(together, moved, 1, precision=exact) / count
  return delta.at[jnp.where(mask > 0, group, len(delta))].set(asked, mode="drop")


def _check(kind, eps, noise_steps, network_steps, steps, batch_size) -> None:
  require(kind in KINDS, "protect.kind", kind, f"choose one of {list(KINDS)}")
  publish.check_budget(eps, "linf")
  require(noise_steps >= 1, "protect.noise_steps", noise_steps, "use at least 1")
  require(network_steps >= 0, "protect.network_steps", network_steps, "use 0, or a number of steps such as 10")
  require(steps >= 0, "protect.steps", steps, "use 0 or more")
  require(batch_size >= 1, "protect.batch_size", batch_size, "use at least 1")
