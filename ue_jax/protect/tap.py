"""Targeted adversarial poisons: pictures that a trained network takes for the next class (Fowl et al., NeurIPS 2021).

"Adversarial Examples Make Strong Poisons". Each picture is attacked on its own against a frozen network and published
under its true label: who trains on it learns classes that are shifted by one. The same steps towards other goals are
- `target="true"`: hypocritical perturbations (Tao et al., NeurIPS 2021), best against a robust network
  (`train.adversarial`);
- `loss="features"`: entangled features (Wen et al., ICLR 2023), made for trainers that are robust themselves: with
  `target="next"` towards the mean features of another class, with `target="away"` away from those of the own;
- `checkpoints`: self-ensemble protection (Chen et al., ICLR 2023), with an offset of half the classes: against several
  points of one training at once.

Departures from the references: random starts are uniform in the ball, and the gradients of several points are averaged
plainly, without the reduction of their variance.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import safe
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model, classes_of
from ue_jax.parallel import spread
from ue_jax.protect import parted, publish
from ue_jax.protect import surrogate as surrogates
from ue_jax.train import losses, pgd

LOSSES, TARGETS = ("cross_entropy", "features"), ("next", "true", "away")
LEAST = np.finfo(np.float32).min


class State(NamedTuple):
  """Where crafting stands; `m` pictures are in a part.

  Attributes:
    delta: float32 `[m, h, w, c]`, of the part and run at hand; best, value: the best of its runs, and how good each is.
    finished: float32 `[parts * m, h, w, c]`, the finished perturbations.
    eps, most: the budget, and in whole grey levels.
    surrogate: frozen (params, state), of all networks on a leading axis.
    centers: float32 `[networks, classes, d]`, mean features of the classes; zeros with d = 1 for the cross entropy.
  """

  key: jax.Array
  step: jax.Array
  delta: jax.Array
  best: jax.Array
  value: jax.Array
  finished: jax.Array
  eps: jax.Array
  most: jax.Array
  surrogate: Any
  centers: jax.Array


def protect(
  surrogate: Subject,
  target: str = "next",
  loss: str = "cross_entropy",
  label: str = "label",
  eps=8 / 255,
  step_size=None,
  steps: int = 250,
  restarts: int = 1,
  start: str = "uniform",
  offset: int = 1,
  norm: str = "linf",
  augment: Sequence[str | Augment] = (),
  parts: int = 10,
  copies: bool = True,
  checkpoints: Sequence[Subject] = (),
) -> Procedure:
  """One perturbation a picture against a frozen network: Data -> Data with changed `train` and `test_protected`.

  Args:
    surrogate: a classifier of `label`, in evaluation mode.
    target: `next`: towards class (label + offset) mod classes; `true`: towards the own; `away`: from the own.
    loss: `cross_entropy`, or `features`: mean square distance to the mean features of that class.
    eps: budget in units of [0, 1]; may be traced, as may step_size.
    step_size: None: eps / 20, as published.
    steps: of each picture. restarts: each picture keeps the best of so many runs, published: 8; all begin at random
      places of the ball, or the first at `zeros` with that `start`.
    norm: `linf`, or `l2` of a whole picture.
    augment: names for `data.augment`, differentiated through; published: `crop:4` and `flip`. What a picture keeps of
      its runs is judged without.
    parts: pictures are crafted in so many parts one after another, to bound the memory.
    copies: True crafts the test pictures of `test_protected`, too; False leaves them as they are.
    checkpoints: further networks of the surrogate's model: all are followed at once, by the mean of their gradients.
      Published: 15 or 30 points of one training. In a config: the steps of the surrogate's training.

  Metrics: `loss`, and `reached`: share of pictures that the surrogate takes for the target class (with `away`: for any
  but the own); means over the networks.

  Raises:
    Invalid: for values out of range, or (from init) what the Data or the surrogate lacks.
  """
  _check(target, loss, eps, norm, steps, restarts, start, parts)
  change = augments.build(augment) if augment else None
  networks = (surrogate, *checkpoints)
  how = Recipe(
    networks, target, loss, label, eps, step_size, steps, restarts, start, offset, norm, change, parts, copies
  )  # fmt: skip
  bind = lambda fn: functools.partial(fn, how)
  turns = parts * how.turns
  return Procedure(bind(begin), bind(advance), bind(finish), bind(draw), turns, convolutional=how.model.convolutional)


class Recipe(NamedTuple):
  """What `protect` was asked for: its arguments, `networks`, and `change`, the augmentation or None."""

  networks: tuple[Subject, ...]
  target: str
  loss: str
  label: str
  eps: Any
  step_size: Any
  steps: int
  restarts: int
  start: str
  offset: Any
  norm: str
  change: Augment | None
  parts: int
  copies: bool

  @property
  def model(self) -> Model:
    """The network that is attacked."""
    return self.networks[0].model

  @property
  def sign(self) -> int:
    """1 to go up the distance to the aim, -1 to go down."""
    return 1 if self.target == "away" else -1

  @property
  def lap(self) -> int:
    """Turns of a run; the last turn of several runs compares them."""
    return self.steps + (self.restarts > 1)

  @property
  def turns(self) -> int:
    """Turns of a part."""
    return self.lap * self.restarts

  def aim(self, labels: jax.Array, classes: int) -> jax.Array:
    """The class towards which, or away from which, pictures of `labels` int32 `[b]` are moved."""
    return (labels + self.offset) % classes if self.target == "next" else labels


def begin(how: Recipe, key: jax.Array, data: Data) -> State:
  """No picture is crafted yet."""
  labels, classes = publish.labels_of(data, how.label)
  train, image = publish.set_rows(data, "train"), data.arrays["image"]
  if isinstance(how.offset, int) and how.target == "next":
    require(how.offset % classes != 0, "protect.offset", how.offset, f"use 1 to {classes - 1}: not the class itself")
  given = all(isinstance(net, Subject) for net in how.networks)
  fix = "give Subjects; in a config, steps of config.surrogate.train"
  require(given, "protect.checkpoints", how.networks[1:], fix)
  surrogates.check_size(how.networks[0], image.shape)
  nets = [(net.params, net.state) for net in how.networks]
  got = classes_of(how.model, *nets[0], image[:1])
  require(got == classes, "protect.surrogate", f"{got} classes", f"train one on '{how.label}', which has {classes}")
  like = all(tree.shapes(net) == tree.shapes(nets[0]) for net in nets)
  require(like, "protect.checkpoints", "other parameters", "give points of the training of the surrogate")
  centers = jnp.zeros((len(nets), classes, 1))
  if how.loss == "features":
    seen = [surrogates.features(net, image[train], surrogates.View()) for net in how.networks]
    centers = jnp.asarray(np.stack([class_means(each, labels[train], classes) for each in seen]))
  size, shape = parted.size(len(parted.rows(data, how.copies)), how.parts), image.shape[1:]
  budget = jnp.asarray(how.eps, jnp.float32)
  most = publish.most_levels(budget) if how.norm == "linf" else jnp.int32(255)
  zeros, none = jnp.zeros((size, *shape), jnp.float32), jnp.zeros((size * how.parts, *shape), jnp.float32)
  worst = jnp.full(size, LEAST)
  frozen = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
  return State(key, jnp.int32(0), zeros, zeros, worst, none, budget, most, frozen, centers)


def advance(how: Recipe, state: State, batch, axis=None) -> tuple[State, dict]:
  """A step of the part at hand, or the comparison of a run with those before it."""
  x, mask, at = to_float(batch["image"]), batch["mask"].astype(jnp.float32), batch["at"]
  number, within = state.step // how.turns, state.step % how.turns
  turn, first, judged = within % how.lap, within == 0, within % how.lap == how.steps
  key_start, key_view = jax.random.split(spread.local_key(jax.random.fold_in(state.key, state.step), axis))

  begun = pgd.inside(pgd.uniform(key_start, x.shape, state.eps, how.norm), x)
  begun = jnp.where(first, 0, begun) if how.start == "zeros" else begun
  delta = jnp.where(turn == 0, begun, state.delta[at])
  aim = how.aim(batch["label"], state.centers.shape[1])
  gradient, far, hit = mean_slope(how, state, x, aim, judged, key_view, delta)
  length = state.eps / 20 if how.step_size is None else how.step_size
  moved = pgd.inside(pgd.move(delta, how.sign * gradient, state.eps, length, how.norm), x)
  delta = jnp.where(judged, delta, moved)
  best, value = keep_best(how, delta, how.sign * far, judged, first, state.best[at], state.value[at])

  at, *new = spread.gather((jnp.where(mask > 0, at, state.delta.shape[0]), delta, best, value), axis)
  state = store(state, number, within == how.turns - 1, at, *new)
  count = safe(spread.allsum(jnp.sum(mask), axis))
  reached = 1 - hit if how.target == "away" else hit
  total = lambda values: Tally(spread.allsum(jnp.sum(values * mask), axis), count)
  return state, {"loss": total(far), "reached": total(reached)}


def mean_slope(how: Recipe, state: State, x, aim, judged, key, delta: jax.Array) -> tuple:
  """Means over the networks: the gradient `[b, h, w, c]`, the distances and the hits `[b]` of `distance`."""

  def add(i, total):
    """The sums with those of network i."""
    net = jax.tree.map(lambda leaves: leaves[i], (state.surrogate, state.centers))
    gradient, seen = jax.grad(functools.partial(distance, how, *net, x, aim, judged, key), has_aux=True)(delta)
    return jax.tree.map(jnp.add, total, (gradient, *seen))

  count, none = len(how.networks), jnp.zeros(len(x))
  total = pgd.repeat(add, (jnp.zeros_like(delta), none, none), count, how.model.convolutional)
  return jax.tree.map(lambda sums: sums / count, total)


def distance(how: Recipe, net, centers, x, aim, judged, key, delta: jax.Array) -> tuple:
  """The sum of the distances to the aim, and per picture the distances and whether the network sees the aim.

  Args:
    net: its (params, state); centers: float32 `[classes, d]`, where its features of the classes are.
    judged: True looks without the augmentation.
    key: of the augmentation.
  """
  moved = x + delta
  if how.change:
    moved = jnp.where(judged, moved, how.change(key, moved, jax.nn.one_hot(aim, len(centers)))[0])
  out = how.model.apply(net[0], moved, state=net[1], train=False)
  far = losses.cross_entropy(out.logits, aim) if how.loss == "cross_entropy" else apart(out.features, centers[aim])
  return jnp.sum(far), (far, losses.correct(out.logits, aim))


def keep_best(how: Recipe, delta, height, judged, first, best, value) -> tuple[jax.Array, jax.Array]:
  """The best perturbations of the runs so far and how good they are: with several runs, judged at their ends."""
  value = jnp.where(first, LEAST, value)
  better = (judged & (height > value)) if how.restarts > 1 else jnp.ones_like(height, bool)
  best = jnp.where(pgd.of_pictures(better), delta, jnp.where(first, 0, best))
  return best, jnp.where(better, height, value)


def draw(how: Recipe, seed: int, data: Data, t: int) -> dict:
  """The part of step t."""
  del seed
  rows = parted.rows(data, how.copies)
  size = parted.size(len(rows), how.parts)
  places = min(t // how.turns, how.parts - 1) * size + np.arange(size)
  rows_now = rows[np.minimum(places, len(rows) - 1)]
  return {
    "image": data.arrays["image"][rows_now], "label": np.asarray(data.arrays[how.label][rows_now], np.int32),
    "at": np.arange(size, dtype=np.int32), "mask": (places < len(rows)).astype(np.float32),
  }  # fmt: skip


def finish(how: Recipe, state: State, data: Data) -> Data:
  """The pictures with their perturbations in whole grey levels."""
  rows = parted.rows(data, how.copies)
  place = np.full(data.n, len(rows), np.int32)
  place[rows] = np.arange(len(rows))
  return publish.add_patterns(data, np.asarray(state.finished)[: len(rows)], grey_levels(state)[: len(rows)], place)


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the noise of that row of `train`; see `publish.pattern_painter`."""
  train = publish.set_rows(data, "train")
  place = np.full(data.n, len(train), np.int32)
  place[train] = np.arange(len(train))
  return publish.pattern_painter(grey_levels(state)[: len(train)], place)


def grey_levels(state: State) -> np.ndarray:
  """The finished perturbations in whole grey levels, int16, none beyond floor(255 eps) under `linf`."""
  most = int(state.most)
  return np.clip(np.round(np.asarray(state.finished) * np.float32(255)), -most, most).astype(np.int16)


def store(state: State, number, last, at, delta, best, value) -> State:
  """The state after a step on part `number`: its new rows written to `at`, and to `finished` if it was the `last`."""
  put = lambda old, new: old.at[at].set(new, mode="drop")
  delta, best, value = put(state.delta, delta), put(state.best, best), put(state.value, value)
  size = len(delta)
  before = jax.lax.dynamic_slice_in_dim(state.finished, number * size, size)
  finished = jax.lax.dynamic_update_slice_in_dim(state.finished, jnp.where(last, best, before), number * size, 0)
  return state._replace(step=state.step + 1, delta=delta, best=best, value=value, finished=finished)


def apart(features: jax.Array, centers: jax.Array) -> jax.Array:
  """Mean square difference of features `[b, d]` to a centre each `[b, d]`, float32 `[b]`."""
  return jnp.mean(jnp.square(features.astype(jnp.float32) - centers), axis=-1)


def class_means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
  """Mean features of the classes, float32 `[classes, d]`; 0 for classes without a picture."""
  sums = np.zeros((classes, features.shape[1]), np.float64)
  np.add.at(sums, labels, features)
  return (sums / np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]).astype(np.float32)


def _check(target, loss, eps, norm, steps, restarts, start, parts) -> None:
  publish.check_budget(eps, norm)
  options = {"target": (target, TARGETS), "loss": (loss, LOSSES), "start": (start, ("zeros", "uniform"))}
  for name, (value, known) in options.items():
    require(value in known, f"protect.{name}", value, f"choose one of {list(known)}")
  for name, value in {"steps": steps, "restarts": restarts, "parts": parts}.items():
    require(isinstance(value, int) and value >= 1, f"protect.{name}", value, "use a whole number, at least 1")
