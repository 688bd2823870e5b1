"""AVATAR: noise that drowns the perturbation, and a diffusion model that takes both away again.

Source: Dolatabadi, Erfani, Leckie, "The Devil's Advocate: Shattering the Illusion of Unexploitable Data using Diffusion
Models" (2023). A picture x in [-1, 1] is brought to the time t of a diffusion, sqrt(a_t) x + sqrt(1 - a_t) e, and from
there back to 0 by a model of pictures, step by step (Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models",
2020; a_t the product of 1 - beta from 1e-4 to .02 in 1000 steps). Published is t = 60 for
perturbations of 8/255: the noise there has a deviation of .2, about 26/255.

The authors take a released model of clean pictures. Here it is trained on the spot, and only at the times that are
needed: on `train_set="known"`, clean pictures that the thief has, or on the protected ones themselves, which shows it
the perturbations, too.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import mean_term
from ue_jax.models.denoiser import denoiser
from ue_jax.models.model import Model
from ue_jax.protect.publish import repaint, set_rows
from ue_jax.train import batches, descend, optim
from ue_jax.train.pgd import of_pictures

TIMES = 1000
BETAS = np.linspace(1e-4, 0.02, TIMES)
KEPT = np.cumprod(1 - BETAS)  # a_t for t = 1, 2, ...


def defend(
  time: int = 60,
  back: int = 0,
  train_set: str = "train",
  width: int = 32,
  blocks: int = 2,
  steps: int = 2000,
  batch_size: int = 128,
  rate: Any = 2e-3,
) -> Procedure:
  """Trains the model and purifies the pictures of `train`: Data -> Data.

  Args:
    time: how far pictures are taken into the noise, a whole number of 1 to 1000 steps.
    back: of how many steps the way back is, evenly spread over `time`; 0: one for each.
    train_set: the set that the model of pictures learns.
    width, blocks: of the network, see `models.denoiser`.
    steps: of Adam.
    batch_size: pictures a step.
    rate: of Adam, falling to nothing by half a cosine; may be traced.

  Returns:
    Data with `info["avatar"]`: `deviation` of the noise at `time` in units of [0, 1], and `distance`, the mean L2
    between a purified picture and the one that it was made from.

  Raises:
    Invalid: for arguments out of range; at `init` for data without pictures, `train` or the other set.
  """
  good = isinstance(time, int) and 1 <= time <= TIMES
  require(good, "defend.time", time, f"give a whole number from 1 to {TIMES}")
  good = isinstance(back, int) and 0 <= back <= time
  require(good, "defend.back", back, f"give a whole number, at most {time} (`time`)")
  require(isinstance(steps, int) and steps >= 0, "defend.steps", steps, "give a whole number, 0 or more")
  require(isinstance(batch_size, int) and batch_size >= 1, "defend.batch_size", batch_size, "give a number above 0")
  number = isinstance(rate, (int, float, np.number, jax.Array)) and np.ndim(rate) == 0
  good = number and (isinstance(rate, jax.core.Tracer) or 0 <= rate < float("inf"))
  require(good, "defend.rate", rate, "give a number, 0 or more")
  net = denoiser(width, blocks)

  def start(key, data: Data):
    set_rows(data, "train"), set_rows(data, train_set)
    learns, draws = jax.random.split(key)
    example = to_float(jnp.asarray(data.arrays["image"][:1])), jnp.zeros(1)
    # the draws of the purification go with the state: `finish` has no key
    return net.init(learns, example)[0], {"draws": jax.random.key_data(draws)}, {}

  def objective(params, state, frozen, batch, key):
    del frozen
    of_time, of_noise = jax.random.split(key)
    x = 2 * to_float(batch["image"]) - 1
    t = jax.random.randint(of_time, (len(x),), 1, time + 1)
    noise = jax.random.normal(of_noise, x.shape)
    seen = net.apply(params, (noised(x, t, noise), t / TIMES)).logits
    return {"noise": mean_term(jnp.mean((seen - noise) ** 2, axis=(1, 2, 3)), batch["mask"])}, state

  def finish(params, state, data: Data) -> Data:
    return published(net, params, data, way(time, back), jax.random.wrap_key_data(state["draws"]))

  return descend.descend(
    objective, optim.make("adam", rate, max(steps, 1), schedule="cosine"), start=start, finish=finish,
    batch=batches.epochs(train_set, batch_size, ("image",)), steps=steps, convolutional=True,
  )  # fmt: skip


def noised(x: jax.Array, t: jax.Array, noise: jax.Array) -> jax.Array:
  """Pictures at times t (equation 4): sqrt(a_t) x + sqrt(1 - a_t) noise.

  Args:
    x: float `[b, h, w, c]` in [-1, 1].
    t: int `[b]`, from 1.
    noise: standard normal, like `x`.
  """
  kept = of_pictures(jnp.asarray(KEPT, jnp.float32)[t - 1])
  return jnp.sqrt(kept) * x + jnp.sqrt(1 - kept) * noise


def way(time: int, back: int = 0) -> tuple[int, ...]:
  """The times of the way back, from `time` to 0: `back` steps, or all."""
  return tuple(int(t) for t in np.round(np.linspace(time, 0, (back or time) + 1)))


def earlier(net: Model, params: Any, x: jax.Array, t, before, noise: jax.Array) -> jax.Array:
  """One step from time t to an earlier one (equations 6 and 7 of "Denoising Diffusion Probabilistic Models").

  Over several times at once beta is what they take together, 1 - a_t / a_before (Nichol, Dhariwal, "Improved Denoising
  Diffusion Probabilistic Models", 2021, section 4).

  Args:
    net, params: see `models.denoiser`.
    x: float `[b, h, w, c]`.
    t, before: int scalars, t > before >= 0.
    noise: standard normal, like `x`; none is added at the end, where `before` is 0.
  """
  kept = jnp.asarray(np.concatenate([[1.0], KEPT]), jnp.float32)
  now, then = kept[t], kept[before]
  beta = 1 - now / then
  seen = net.apply(params, (x, jnp.full(len(x), t / TIMES))).logits
  mean = (x - beta / jnp.sqrt(1 - now) * seen) / jnp.sqrt(1 - beta)
  return mean + jnp.sqrt(beta * (1 - then) / (1 - now)) * noise


def purified(net: Model, params: Any, x: jax.Array, times: tuple[int, ...], keys: jax.Array) -> jax.Array:
  """Pictures taken to the first of `times` and back through the others; `[b, h, w, c]` float32 in [0, 1], as `x` is.

  Args:
    net, params: see `models.denoiser`.
    x: the pictures.
    times: from `way`, static.
    keys: `[b]`, one a picture.
  """
  draw = lambda i: jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, i), x.shape[1:]))(keys)
  far = noised(2 * x - 1, jnp.full(len(x), times[0]), draw(0))
  at = jnp.asarray(times)
  step = lambda i, x: earlier(net, params, x, at[i], at[i + 1], draw(i + 1))
  return jnp.clip((jax.lax.fori_loop(0, len(times) - 1, step, far) + 1) / 2, 0, 1)


def published(net: Model, params: Any, data: Data, times: tuple[int, ...], key: jax.Array) -> Data:
  """The data with the pictures of `train` purified, as bytes; a picture's noise hangs on the key and its row."""
  train, image = set_rows(data, "train"), data.arrays["image"].copy()
  run, moved = _painter(net, params, times, key), np.zeros(data.n, np.float32)

  def paint(x, rows):
    out, moved[rows] = run(x, rows)
    return out

  repaint(image, data.arrays["image"], paint, train, train, "round", 1024)
  info = {"deviation": math.sqrt(1 - KEPT[times[0] - 1]) / 2, "distance": float(moved[train].mean())}
  return Data({**data.arrays, "image": image}, data.sets, {**data.info, "avatar": info})


def _painter(net: Model, params: Any, times: tuple[int, ...], key: jax.Array):
  """Bytes and rows to purified pictures and how far each was moved, L2 in units of [0, 1]."""

  @jax.jit
  def run(x, rows):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    out = purified(net, params, to_float(x), times, keys)
    return out, jnp.sqrt(jnp.sum((out - to_float(x)) ** 2, axis=(1, 2, 3)))

  return run
