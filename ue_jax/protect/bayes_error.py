"""Perturbations that raise the estimated Bayes error of the published set.

"Towards Provably Unlearnable Examples via Bayes Error Optimisation" (AAAI 2026; arXiv 2025). Every picture has a
perturbation of its own. All are moved together, up the gradient of the estimate of `bayes_estimate` in the features of
a network that is trained on the pictures as they are at the time.

Departures from the published development script, which trains a new network for 30 epochs a round, over 2000 rounds:
the network goes on from round to round with a few epochs each; it pauses while it is right on nearly all pictures,
because features that separate the classes wholly leave no similarity across them, an estimate of 0 and a gradient of
noise; batches are shuffled; and by default pixels take signed steps of eps / 10 along an average of the gradients.
`optimizer="adamw"` takes the published steps (with rate 1e-3 some 0.26 grey levels a round at most). What raises this
estimate need not hurt a learner: look at what a training on the published pictures, alone and mixed, gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import mean_term
from ue_jax.models.model import Model, classes_of
from ue_jax.protect import bayes_estimate, publish
from ue_jax.train import losses, optim, pgd
from ue_jax.train.batches import shuffled
from ue_jax.train.descend import Descent, descent_step

SPACES, OPTIMIZERS, UNROLLED = ("features", "raw"), ("sign", "adamw"), 4


class State(NamedTuple):
  """What crafting carries; `n` pictures of `train`.

  Attributes:
    image: uint8 `[n, h, w, c]`, label: int32 `[n]`, share: float32 `[classes]`: the clean pictures, their classes, and
      how many of the pictures are of each.
    eps, most: the budget, and in whole grey levels.
    delta: float32 `[n, h, w, c]`.
    moment, square: running means of the gradient and (`adamw`) of its square.
    net: the network and its optimiser, a Descent; `()` in raw space.
    accuracy: running mean of the network's accuracy on its batches.
    rounds: ascents so far; error: the estimate before the last of them (0 before the first).
  """

  key: jax.Array
  step: jax.Array
  image: jax.Array
  label: jax.Array
  share: jax.Array
  eps: jax.Array
  most: jax.Array
  delta: jax.Array
  moment: jax.Array
  square: jax.Array
  net: Any
  accuracy: jax.Array
  rounds: jax.Array
  error: jax.Array


def protect(
  model: Model | None = None, space: str = "features", eps=8 / 255, label: str = "label", steps: int = 1000,
  inner: int = 32, sigma=None, similarity: str = "rbf", floor=1e-8, optimizer: str = "sign",
  step_size=None, average=0.9, decay=0.01, norm: str = "linf", anchors: int = 8192, batch_size: int = 128, rate=0.02,
  momentum=0.9, weight_decay=5e-4, enough=0.95, chunk: int = 1024, block: int = 1024, every: int = 0,
) -> Procedure:
  """Perturbations up the gradient of the estimated Bayes error: Data -> Data with changed `train`.

  Rows of `test_protected` bear the perturbation of a picture of `train` of the same class: what a network gains from
  them was learned from the perturbations.

  Args:
    model: an untrained network, which is trained along; raw space has none.
    space: `features` (the input of the last layer, divided by the largest of all) or `raw` (the pixels in [0, 1]).
    eps: budget in units of [0, 1]; may be traced, as may sigma, step_size, average, decay, rate, momentum,
      weight_decay, floor and enough.
    label: the labelling whose Bayes error is raised.
    steps: gradient steps of the network, with an ascent of all pictures after each `inner` of them; in raw space
      the ascents themselves.
    inner: twice the train pictures over batch_size makes two epochs a round.
    sigma: width of the similarity, None: 0.3; or `median`: the median distance, anew in every round.
    similarity: `rbf` or `logistic`.
    floor: added to the sum of the votes. 1e-8 as published rewards pictures that are far from all others; 0 does not.
    optimizer: of the pixels: `sign`, or `adamw` with betas `average` and 0.999 and a weight `decay` of the pixels.
    step_size: in units of [0, 1]; None: eps / 10 for `sign`, 1e-3 for `adamw`.
    average: share of the old in the running mean of the gradient; 0: the gradient of this round alone.
    norm: `linf`, or `l2` of a picture.
    anchors: most pictures that vote; of more, each round draws some.
    batch_size, rate, momentum, weight_decay: of the network, trained by SGD at a constant rate.
    enough: the network pauses while its running accuracy on the protected pictures is at least this; 1.1: never.
    chunk: rows of the similarities in memory together. block: pictures that pass the network together in an ascent;
      more than four blocks are a compiled loop, which is slow for convolutions on a CPU.
    every: steps between two probes of `bayes_error`, the estimate of the pictures as they are, with all that vote.

  Metrics of a step: `loss` and `accuracy` of the network, `trained` (whether it did not pause), and `bayes_error`.

  Raises:
    Invalid: for values out of range, or (from init) without that labelling, or for a model with fewer logits.
  """
  publish.check_budget(eps, norm)
  sigma = 0.3 if sigma is None else sigma
  bayes_estimate.check(sigma, similarity, chunk)
  _check(model, space, optimizer, steps, inner, anchors, batch_size, block)
  raw, adamw = space == "raw", optimizer == "adamw"
  tx = optim.make("sgd", rate, max(steps, 1), weight_decay=weight_decay, momentum=momentum)

  def init(key, data: Data) -> State:
    rows = publish.set_rows(data, "train")
    labels, classes = publish.labels_of(data, label)
    image, budget = jnp.asarray(data.arrays["image"][rows]), jnp.asarray(eps, jnp.float32)
    share = jnp.asarray(np.bincount(labels[rows], minlength=classes) / len(rows), jnp.float32)
    most = publish.most_levels(budget) if norm == "linf" else jnp.int32(255)
    still, zero = jnp.zeros(image.shape, jnp.float32), jnp.float32(0)
    net = () if raw else _network(model, tx, key, image[:1], classes)
    square = jnp.zeros_like(still) if adamw else zero
    return State(
      key, jnp.int32(0), image, jnp.asarray(labels[rows]), share, budget, most, still, jnp.zeros_like(still), square,
      net, zero, jnp.int32(0), zero,
    )  # fmt: skip

  def represent(net, x):
    """`[b, h, w, c]` -> float32 `[b, d]`."""
    out = x if raw else model.apply(net.params, x, state=net.state, train=False).features
    return out.reshape(len(x), -1)

  def estimate(state: State, u):
    n = len(u)
    key = jax.random.fold_in(state.key, state.rounds)
    voters = None if n <= anchors else jax.random.choice(key, n, (anchors,), replace=False).astype(jnp.int32)
    how = dict(anchors=voters, similarity=similarity, chunk=chunk, floor=floor)
    return bayes_estimate.error(u, state.label, len(state.share), sigma, **how)

  def points(state: State):
    """What the estimate looks at, and what it was divided by."""
    look = lambda image, delta: represent(state.net, to_float(image) + delta)
    u = _blockwise(look, block, state.image, state.delta)
    scale = jnp.float32(1) if raw else jnp.maximum(jnp.max(jnp.abs(u)), 1e-12)
    return u / scale, scale

  def ascend(state: State) -> State:
    u, scale = points(state)
    error, slope = jax.value_and_grad(lambda u: estimate(state, u))(u)
    state = state._replace(rounds=state.rounds + 1, error=error)

    def average_in(means, still):  # of some pictures
      (moment, square), (image, delta, slope) = means, still
      gradient = jax.vjp(lambda y: represent(state.net, y), to_float(image) + delta)[1](slope)[0]
      moment = average * moment + (1 - average) * gradient
      return moment, 0.999 * square + 0.001 * gradient**2 if adamw else square

    square = state.square if adamw else jnp.zeros((len(u), 0))
    still = (state.image, state.delta, slope / scale)
    moment, square = _in_place(average_in, block, (state.moment, square), still)
    x, state = to_float(state.image), state._replace(moment=moment, square=square if adamw else state.square)
    if not adamw:
      length = state.eps / 10 if step_size is None else step_size
      return state._replace(delta=pgd.inside(pgd.move(state.delta, moment, state.eps, length, norm), x))
    length, count = 1e-3 if step_size is None else step_size, state.rounds.astype(jnp.float32)
    mean = moment / (1 - jnp.float32(average) ** count)
    way = mean / (jnp.sqrt(square / (1 - jnp.float32(0.999) ** count)) + _SMALL) - decay * (x + state.delta)
    return state._replace(delta=pgd.inside(pgd.project(state.delta + length * way, state.eps, norm), x))

  def objective(params, before, frozen, batch, key):
    del frozen
    out = model.apply(params, batch["image"], state=before, train=True, key=key)
    fit, right = losses.cross_entropy(out.logits, batch["label"]), losses.correct(out.logits, batch["label"])
    mask = batch["mask"]
    return {"fit": mean_term(fit, mask), "accuracy": mean_term(right.astype(fit.dtype), mask, 0.0)}, out.state

  def train(state: State, batch, axis):
    rows = batch["row"]
    seen = dict(image=to_float(state.image[rows]) + state.delta[rows], label=state.label[rows], mask=batch["mask"])
    net, metrics = descent_step(objective, tx, state.net, seen, axis)
    hit = metrics["accuracy"]
    accuracy = 0.9 * state.accuracy + 0.1 * hit.total / jnp.maximum(hit.weight, 1)
    on = accuracy < enough
    kept = jax.tree.map(lambda new, old: jnp.where(on, new, old), net._replace(key=()), state.net._replace(key=()))
    net = kept._replace(key=state.net.key, step=net.step)
    shown = {"loss": metrics["loss"], "accuracy": hit, "trained": Tally(on.astype(jnp.float32), jnp.float32(1))}
    return state._replace(net=net, accuracy=accuracy), shown

  def step(state: State, batch, axis=None):
    state, shown = (ascend(state), {}) if raw else train(state, batch, axis)
    if not raw:
      state = jax.lax.cond((state.step + 1) % inner == 0, ascend, lambda same: same, state)
    return state._replace(step=state.step + 1), {**shown, "bayes_error": state.error}

  def batch(seed, data: Data, t):
    if raw:
      return {}
    n = len(publish.set_rows(data, "train"))
    rows = shuffled(seed, n, min(batch_size, n), t)
    return {"row": rows, "mask": np.ones(len(rows), np.float32)}

  def finish(state: State, data: Data) -> Data:
    return publish.add_patterns(data, state.delta, grey_levels(state), _sources(data, label))

  @jax.jit
  def look(state: State):
    return estimate(state, points(state)[0])

  loops = not raw and model.convolutional
  return Procedure(init, step, finish, batch, steps, lambda state, _: {"bayes_error": look(state)}, every, None, loops)


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the noise of that row of `train`; see `publish.pattern_painter`."""
  train = publish.set_rows(data, "train")
  place = np.full(data.n, len(train), np.int32)
  place[train] = np.arange(len(train))
  return publish.pattern_painter(grey_levels(state), place)


_SMALL = 1e-12  # of Adam: where gradients are those of a mean over thousands of pictures, 1e-8 is not small


def grey_levels(state: State) -> np.ndarray:
  """The perturbations in whole grey levels, int16 `[n, h, w, c]`, none beyond floor(255 eps) under `linf`."""
  most = int(state.most)
  return np.clip(publish.levels(state.delta, 1.0), -most, most)


def _network(model: Model, tx, key, image, classes: int) -> Descent:
  start, on = jax.random.split(key)
  params, before = model.init(start, image)
  logits = classes_of(model, params, before, image)
  require(logits >= classes, "model.classes", logits, f"the labelling has {classes} classes: set it to {classes}")
  return Descent(params, before, tx.init(params), {}, on, jnp.int32(0))


def _sources(data: Data, label: str) -> np.ndarray:
  """For every row of the Data the row within `train` whose perturbation it bears: its own, or one of its class."""
  train, labels = publish.set_rows(data, "train"), publish.labels_of(data, label)[0]
  out = np.zeros(data.n, np.int32)
  for value in np.unique(labels):
    rows = np.flatnonzero(labels == value)
    same = np.flatnonzero(labels[train] == value)
    out[rows] = np.resize(same if len(same) else np.arange(len(train)), len(rows))
  out[train] = np.arange(len(train))
  return out


def _blockwise(fn: Callable, block: int, *arrays):
  """`fn` of the arrays in blocks of their leading axis."""
  n = len(arrays[0])
  part = lambda start, size: fn(*_rows(arrays, start, size))
  if n <= UNROLLED * block:
    return jnp.concatenate([part(start, min(block, n - start)) for start in range(0, n, block)])
  whole = n - n % block
  out = jax.lax.map(lambda start: part(start, block), np.arange(0, whole, block))
  out = out.reshape(-1, *out.shape[2:])
  return out if whole == n else jnp.concatenate([out, part(whole, n - whole)])


def _in_place(fn: Callable, block: int, moved: tuple, still: tuple) -> tuple:
  """`moved` with `fn(moved, still)` of a block of rows in the place of those rows, block by block.

  Nothing but a block is in memory a second time, if what is given is not needed any more and each of the new arrays
  hangs on the old of its own alone.
  """

  def one(start, moved, size):
    new = fn(_rows(moved, start, size), _rows(still, start, size))
    return tuple(jax.lax.dynamic_update_slice_in_dim(a, b, start, 0) for a, b in zip(moved, new, strict=True))

  n = len(moved[0])
  looped = n // block if n > UNROLLED * block else 0
  moved = jax.lax.fori_loop(0, looped, lambda i, moved: one(i * block, moved, block), moved) if looped else moved
  for start in range(looped * block, n, block):
    moved = one(start, moved, min(block, n - start))
  return moved


def _rows(arrays: tuple, start, size: int) -> tuple:
  return tuple(jax.lax.dynamic_slice_in_dim(a, start, size) for a in arrays)


def _check(model, space, optimizer, steps, inner, anchors, batch_size, block) -> None:
  require(space in SPACES, "protect.space", space, f"choose one of {list(SPACES)}")
  require(optimizer in OPTIMIZERS, "protect.optimizer", optimizer, f"choose one of {list(OPTIMIZERS)}")
  require(space == "raw" or model is not None, "protect.model", model, "give a model, or space='raw'")
  require(isinstance(steps, int) and steps >= 0, "protect.steps", steps, "use 0 or more")
  for field, value in dict(inner=inner, batch_size=batch_size, block=block).items():
    require(isinstance(value, int) and value >= 1, f"protect.{field}", value, "use at least 1")
  require(isinstance(anchors, int) and anchors >= 2, "protect.anchors", anchors, "use at least 2")
