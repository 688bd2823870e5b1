"""Robust error-minimising noise: the loss stays small where an attack moves the noisy pictures (Fu et al., ICLR 2022).

"Robust Unlearnable Examples: Protecting Data Against Adversarial Learning", equation 4: min over the network, min over
the noise d of size `eps`, of the mean over transforms t of the max over attacks a of size `radius`, of the loss on
t(x + d) + a. It is made for trainers that train adversarially, at a radius no larger than that.

As in the paper's algorithm an attack is a constant for the gradient of the noise: only t is differentiated through.
The noise of the end is made for all pictures by the finished network; nothing is kept of that of the steps. It is a
function of the key, the network and the picture with its `index`, not of its neighbours: augmentations that mix
pictures (`mixup`, `cutmix`) change nothing there.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.data import augment as augments
from ue_jax.data.augment import Augment
from ue_jax.models.model import Model, classes_of
from ue_jax.parallel import spread
from ue_jax.protect import publish
from ue_jax.train import adversarial, losses, pgd
from ue_jax.train.descend import Descent

AT_THE_END = np.uint32(2**32 - 1)  # no step has this number


class State(NamedTuple):
  """`network`: the state of the adversarial training on noisy pictures; `eps`: the budget, float32."""

  key: jax.Array
  step: jax.Array
  network: Descent
  eps: jax.Array


class Recipe(NamedTuple):
  """What the noise is made against: arguments of `protect`, and `change`, the augmentation or None."""

  model: Model
  change: Augment | None
  radius: Any = None
  step_size: Any = None
  noise_steps: int = 10
  samples: int = 5
  attack_size: Any = None
  attack_steps: int = 10
  start: str = "uniform"


def protect(
  model: Model,
  label: str = "label",
  eps=8 / 255,
  radius=None,
  step_size=None,
  noise_steps: int = 10,
  samples: int = 5,
  attack_size=None,
  attack_steps: int = 10,
  augment: Sequence[str | Augment] = ("crop", "flip"),
  start: str = "uniform",
  steps: int = 1000,
  batch_size: int = 128,
  rate=1e-3,
  optimizer: str = "adam",
  schedule: str = "constant",
  milestones: tuple[float, ...] = (0.4, 0.8),
  momentum=0.9,
  weight_decay=0.0,
  clip=0.0,
) -> Procedure:
  """One perturbation a picture, of `train` and of the copies `test_protected`: Data -> Data.

  A step makes the noise of a batch, then trains the network adversarially on it. It costs
  `samples * noise_steps * (attack_steps + 1)` passes through the network; unrolled on CPUs for networks that convolve.

  Args:
    model: the network, for pictures of the Data and the classes of `label`.
    label: the labelling that the noise is tied to.
    eps: largest change of a value in units of [0, 1]; may be traced, as may radius, step_size, attack_size and rate.
    radius: largest change of a value by an attack; None: eps / 2, as published. At 0 there is no attack.
    step_size: of a signed step of the noise; None: eps / 5, as published.
    noise_steps: of the noise of a batch.
    samples: draws of the augmentation, and attacks, that a step of the noise takes the mean of.
    attack_size: of a signed step of an attack; None: radius / 5, as published.
    attack_steps: of an attack, each from a random start.
    augment: names for `data.augment`, differentiated through; empty for none.
    start: where noise begins: `uniform`, as published, or `zeros`.
    steps: batches. Published: 5000, with optimizer `sgd`, rate 0.1, schedule `step`, weight decay 5e-4.
    batch_size, rate, optimizer, schedule, milestones, momentum, weight_decay, clip: of the network's training.

  Metrics: those of `train.adversarial`, on the noisy pictures of the batch.

  Raises:
    Invalid: for values out of range, or (from init) what the Data lacks.
  """
  _check(eps, radius, start, noise_steps, samples, attack_steps, steps, batch_size)
  radius = eps / 2 if radius is None else radius
  change = augments.build(augment) if augment else None
  how = Recipe(model, change, radius, step_size, noise_steps, samples, attack_size, attack_steps, start)
  crafted = jax.jit(functools.partial(craft_each, how))  # here, so that a second `finish` compiles nothing
  trainer = adversarial.train(
    model, label=label, eps=radius, step_size=attack_size, attack_steps=attack_steps, augment=augment, steps=steps,
    batch_size=batch_size, rate=rate, optimizer=optimizer, schedule=schedule, milestones=milestones, momentum=momentum,
    weight_decay=weight_decay, clip=clip,
  )  # fmt: skip

  def init(key, data: Data) -> State:
    publish.labels_of(data, label)
    publish.set_rows(data, "train")
    key, key_network = jax.random.split(key)
    return State(key, jnp.int32(0), trainer.init(key_network, data), jnp.asarray(eps, jnp.float32))

  def step(state: State, batch, axis=None):
    key = spread.local_key(jax.random.fold_in(state.key, state.step), axis)
    x, net = to_float(batch["image"]), state.network
    delta = craft(how, net.params, net.state, x, batch[label], state.eps, key)
    network, metrics = trainer.step(net, {**batch, "image": x + delta}, axis)
    return state._replace(step=state.step + 1, network=network), metrics

  def finish(state: State, data: Data) -> Data:
    labels, net = publish.labels_of(data, label)[0], state.network
    key, index = jax.random.fold_in(state.key, AT_THE_END), np.asarray(data.arrays["index"], np.int32)

    def paint(image, rows):
      delta = crafted(net.params, net.state, to_float(image), labels[rows], index[rows], state.eps, key)
      return publish.noised(image, delta, publish.levels(delta, state.eps))

    return publish.publish(data, paint, quantise="none", chunk=batch_size)

  return Procedure(init, step, finish, trainer.batch, steps, convolutional=model.convolutional)


def craft(how: Recipe, params: Any, state: Any, x: jax.Array, labels: jax.Array, eps, key: jax.Array) -> jax.Array:
  """The noise of pictures against a network that stands still, float32 `[b, h, w, c]`, x + noise in [0, 1].

  Args:
    params, state: of the network, in evaluation mode.
    x: float32 `[b, h, w, c]` in [0, 1].
    labels: int32 `[b]`.
    eps: the budget.
  """
  loss = functools.partial(robust_loss, how, params, state, x, labels)
  size = eps / 5 if how.step_size is None else how.step_size
  convolutional = how.model.convolutional
  return pgd.descend(loss, x, how.start, eps, size, how.noise_steps, key=key, convolutional=convolutional)


def craft_each(how: Recipe, params: Any, state: Any, x, labels, index: jax.Array, eps, key: jax.Array) -> jax.Array:
  """`craft` with draws that belong to each picture alone, whatever pictures are crafted beside it.

  Args:
    index: int32 `[b]`: with `key` it names a picture's start, views and attacks.
  """

  def one(x, label, index):
    return craft(how, params, state, x[None], label[None], eps, jax.random.fold_in(key, index))[0]

  return jax.vmap(one)(x, labels, index)


def robust_loss(how: Recipe, params, state, x: jax.Array, labels: jax.Array, delta: jax.Array, key) -> jax.Array:
  """The mean over draws t of the cross entropy at t(x + delta) + a, float32 `[b]`, a the attack found there.

  Its gradient by delta is that at t(x + delta) + a pulled back through t: attacks are constants.
  """
  classes = classes_of(how.model, params, state, x)

  def one(key):
    """The losses of one draw."""
    key_view, key_attack = jax.random.split(key)
    moved, targets = x + delta, labels
    if how.change:
      moved, targets = how.change(key_view, moved, jax.nn.one_hot(labels, classes))
    fixed = jax.lax.stop_gradient((moved, targets))  # what is found there is a constant, too
    attack = adversarial.perturb(
      how.model, params, state, *fixed, how.radius, key_attack, how.attack_size, how.attack_steps
    )  # fmt: skip
    out = how.model.apply(params, moved + attack, state=state, train=False)
    return losses.cross_entropy(out.logits, targets)

  return jnp.mean(jax.vmap(one)(jax.random.split(key, how.samples)), axis=0)


def _check(eps, radius, start, noise_steps, samples, attack_steps, steps, batch_size) -> None:
  publish.check_budget(eps, "linf")
  if isinstance(radius, (int, float)):
    require(0 <= radius <= 1, "protect.radius", radius, "give a number in [0, 1], such as 4/255, half of eps")
  require(start in ("zeros", "uniform"), "protect.start", start, "choose one of ['zeros', 'uniform']")
  counts = {"noise_steps": noise_steps, "samples": samples, "attack_steps": attack_steps, "batch_size": batch_size}
  for name, value in {**counts, "steps": steps}.items():
    least = int(name != "steps")
    fix = f"use a whole number, at least {least}"
    require(isinstance(value, int) and value >= least, f"protect.{name}", value, fix)
