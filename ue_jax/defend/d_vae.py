"""D-VAE: an auto-encoder with little room for detail keeps the picture, a side branch that knows the class the noise.

Source: Yu, Wang, Xia, Yang, Lu, Tan, Kot, "Purify Unlearnable Examples via Rate-Constrained Variational Autoencoders"
(ICML 2024). A variational auto-encoder x -> z -> x^ whose rate is held at a target cannot keep all of a picture, and
noise that a shortcut needs is what a class predicts best; a second decoder sees z and a learned grid of the class and
learns what x^ leaves out, p. The loss is

  |x - x^|^2 + lam max(KL(z), target) + |x - x^ - p|^2.

Two passes: with a small target first, x1 = x - p; a second network with a larger one on x1, x2 = x1 - p; and what is
published is its decoding of x2. After the paper; its code was not at hand. Here KL is in nats a picture (the size of
the target depends on it), x^ is fixed in the last term, and networks are smaller.

The thief needs no clean picture. He has to know the labelling that the noise was made for.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term
from ue_jax.models import disentangled
from ue_jax.protect.publish import labels_of, repaint, set_rows
from ue_jax.train import batches, descend, optim

PASSES = ("first", "second")


def defend(
  label: str = "label",
  first: Any = 3.0,
  second: Any = 40.0,
  lam: Any = 0.1,
  latent: int = 8,
  width: int = 32,
  steps: int = 2000,
  batch_size: int = 128,
  rate: Any = 2e-3,
) -> Procedure:
  """Trains both networks and purifies the pictures of `train`: Data -> Data.

  Args:
    label: the labelling whose noise the side branch is to absorb.
    first, second: targets of the rate in both passes, in nats a picture; may be traced, like `lam` and `rate`.
    lam: weight of a nat above the target, against squared differences of a picture summed over its values.
    latent, width: sizes of the networks, see `models.disentangled`.
    steps: of Adam, half of them a pass.
    batch_size: pictures a step.
    rate: of Adam; it falls to nothing by half a cosine in each pass.

  Every step computes what both passes need: one program serves both.

  Returns:
    Data with `info["d_vae"]`: `rates`, the mean nats a picture of both passes, and `distance`, the mean L2 between a
    purified picture and the one it was made from.

  Raises:
    Invalid: for arguments out of range; at `init` for data without pictures, the labelling or `train`.
  """
  require(isinstance(steps, int) and steps >= 2, "defend.steps", steps, "give a whole number above 1")
  require(isinstance(batch_size, int) and batch_size >= 1, "defend.batch_size", batch_size, "give a number above 0")
  for name, value in dict(first=first, second=second, lam=lam, rate=rate).items():
    good = isinstance(value, jax.core.Tracer) or (np.ndim(value) == 0 and 0 <= float(value) < float("inf"))
    require(good, f"defend.{name}", value, "give a number, 0 or more")
  for name, value in dict(latent=latent, width=width).items():
    require(isinstance(value, int) and value >= 1, f"defend.{name}", value, "give a whole number above 0")
  net, half = disentangled.auto_encoder(latent, width), steps // 2
  rows = batches.epochs("train", batch_size, ("image", label))

  def start(key, data: Data):
    set_rows(data, "train")
    classes = labels_of(data, label, "defend.label")[1]
    example = to_float(jnp.asarray(data.arrays["image"][:1])), jnp.zeros((1, classes))
    return {name: net.init(k, example)[0] for name, k in zip(PASSES, jax.random.split(key), strict=True)}, {}, {}

  def batch(seed, problem, t):
    out = rows(seed, problem, t)
    return {**out, "late": np.full(len(out["mask"]), t >= half)}  # a value a row: cut over devices like the pictures

  def objective(params, state, frozen, batch, key):
    del frozen
    late = batch["late"][0]
    mine = jax.tree.map(lambda a, b: jnp.where(late, b, a), params["first"], params["second"])
    x, classes = to_float(batch["image"]), _one_hot(params, batch[label])
    x = jnp.where(late, x - jax.lax.stop_gradient(_seen(net, params["first"], x, classes)[1]), x)
    target = jnp.where(late, jnp.asarray(second, jnp.float32), jnp.asarray(first, jnp.float32))
    terms = loss(net, mine, x, classes, target, lam, key)
    return {name: mean_term(value, batch["mask"]) for name, value in terms.items()}, state

  def finish(params, state, data: Data) -> Data:
    del state
    return published(net, params, data, label)

  tx = _one_after_the_other(half, steps, rate)
  return descend.descend(objective, tx, start=start, finish=finish, batch=batch, steps=steps)


def loss(net, params, x: jax.Array, classes: jax.Array, target, lam, key) -> dict[str, jax.Array]:
  """The three parts of the loss of each picture, float32 `[b]`: `distortion`, `held` (the rate's) and `rest`.

  Args:
    net: from `models.disentangled`.
    params: of it.
    x: float pictures `[b, h, w, c]`.
    classes: float `[b, k]`, rows of an identity matrix.
    target: nats a picture that cost nothing.
    lam: weight of every further one.
    key: for the draw of z.
  """
  picture, added, nats = _seen(net, params, x, classes, key)
  squared = lambda d: jnp.sum(jnp.square(d), axis=(1, 2, 3))
  return {
    "distortion": squared(x - picture),
    "held": lam * jnp.maximum(nats, target),
    "rest": squared(x - jax.lax.stop_gradient(picture) - added),
  }


def _seen(net, params, x, classes, key=None):
  """What the network makes of pictures: as decoded, what the class adds, nats `[b]`."""
  out = net.apply(params, (x, classes), key=key)
  picture, added = jnp.split(out.logits, 2, axis=-1)
  mean, log_variance = jnp.split(out.features, 2, axis=-1)
  return picture, added, 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1)


def _one_hot(params, labels) -> jax.Array:
  return jax.nn.one_hot(labels, params["first"]["classes"]["kernel"].shape[0])


def _one_after_the_other(half: int, steps: int, rate) -> optax.GradientTransformation:
  """Adam for the first network up to step `half`, and anew for the second from there; the other keeps its bits."""
  turns = tuple(optim.make("adam", rate, n, schedule="cosine") for n in (half, steps - half))
  pick = lambda late, first, second: jax.tree.map(lambda a, b: jnp.where(late, b, a), first, second)

  def init(params):
    return jnp.zeros((), jnp.int32), turns[0].init(params["first"])

  def update(grads, state, params=None):
    t, opt = state
    late, mine = t >= half, pick(t >= half, *(params[name] for name in PASSES))
    opt = pick(t == half, opt, turns[1].init(mine))
    gradient = pick(late, *(grads[name] for name in PASSES))
    (one, _), (two, opt) = (tx.update(gradient, opt, mine) for tx in turns)  # their states are alike, the rates are not
    still = jax.tree.map(jnp.zeros_like, one)
    return {"first": pick(late, one, still), "second": pick(late, still, two)}, (t + 1, opt)

  return optax.GradientTransformation(init, update)


def published(net, params, data: Data, label: str) -> Data:
  """The data with the pictures of `train` purified, as bytes."""
  train, image = set_rows(data, "train"), data.arrays["image"].copy()
  run, seen = jax.jit(lambda x, y: purified(net, params, to_float(x), _one_hot(params, y))), []

  def paint(x, rows):
    out, nats, distance = run(jnp.asarray(x), jnp.asarray(data.arrays[label][rows]))
    seen.append((rows, np.asarray(nats), np.asarray(distance)))
    return out

  repaint(image, data.arrays["image"], paint, train, train, "round", 1024)
  own = np.unique(np.concatenate([rows for rows, _, _ in seen]), return_index=True)[1]  # the last block is filled up
  nats, distance = (np.concatenate([part[i] for part in seen])[own] for i in (1, 2))
  info = {"rates": [float(r) for r in nats.mean(0)], "distance": float(distance.mean())}
  return Data({**data.arrays, "image": image}, data.sets, {**data.info, "d_vae": info})


def purified(net, params, x: jax.Array, classes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Both passes with z at its mean.

  Args:
    net: from `models.disentangled`.
    params: of both passes, by name.
    x: float pictures `[b, h, w, c]`.
    classes: float `[b, k]`, rows of an identity matrix.

  Returns:
    Pictures like `x`, in (0, 1); nats of both passes `[b, 2]`; the L2 between picture and `x`, `[b]`.
  """
  _, added, before = _seen(net, params["first"], x, classes)
  once = x - added
  _, added, after = _seen(net, params["second"], once, classes)
  picture = _seen(net, params["second"], once - added, classes)[0]
  return picture, jnp.stack([before, after], -1), jnp.sqrt(jnp.sum(jnp.square(picture - x), axis=(1, 2, 3)))
