"""What is optimised to become one perturbation: its pixels, or the weights of a generator.

All functions are for ONE perturbation; callers vmap them over many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ue_jax.models.model import Model
from ue_jax.train import optim, pgd


class Perturbation(NamedTuple):
  """A parametrisation.

  Attributes:
    init: `(key, eps) -> carry`, a pytree.
    trainable: `carry -> tree` of what the loss is differentiated by.
    value: `(tree, carry, eps) -> delta` float32 `[h, w, c]`, within the budget.
    update: `(carry, gradient tree, eps, step) -> carry`.
  """

  init: Callable[..., Any]
  trainable: Callable[..., Any]
  value: Callable[..., jax.Array]
  update: Callable[..., Any]


def direct(shape: tuple[int, int, int], step_size=None, norm: str = "linf", start: str = "zeros") -> Perturbation:
  """The pixels themselves, by projected descent: signed steps for `linf`, steps of fixed length for `l2`.

  Args:
    shape: `(h, w, c)`.
    step_size: in units of [0, 1]; None: eps / 10. May be traced.
    norm: `linf` or `l2`.
    start: `zeros`, or `sign` for random signs at the edge of the budget.
  """

  def init(key, eps):
    if start == "zeros":
      return jnp.zeros(shape, jnp.float32)
    signs = jax.random.rademacher(key, shape, jnp.float32)
    return signs * eps if norm == "linf" else _rescaled(signs, eps)

  def update(delta, gradient, eps, step):
    del step
    length = eps / 10 if step_size is None else step_size
    return pgd.move(delta, -gradient, eps, length, norm)

  return Perturbation(init, lambda delta: delta, lambda tree, carry, eps: tree, update)


class Carry(NamedTuple):
  """A generator's weights, its optimiser's moments and its fixed latent picture `[h, w, c]`."""

  params: Any
  opt: Any
  latent: jax.Array


def generated(
  net: Model,
  shape: tuple[int, int, int],
  steps: int,
  rate=1e-4,
  weight_decay=5e-4,
  norm: str = "linf",
  squash: str = "clamp",
  final=1e-6,
) -> Perturbation:
  """The output of a generator on a fixed uniform latent, by Adam with a cosine schedule.

  Args:
    net: `apply(params, [1, h, w, c]).features` in (-1, 1), `[1, h, w, c]`.
    shape: `(h, w, c)`.
    steps: length of the schedule, which goes from `rate` to `final`.
    rate, weight_decay, final: may be traced; the decay is added to the gradient (L2), as in the paper's code.
    norm: `l2` rescales the output to norm eps exactly.
    squash: for `linf`: `clamp` cuts the output at eps (as published; where it is cut the gradient is 0), `tanh`
      multiplies it by eps.
  """
  tx = optim.make("adam", rate, steps, schedule="cosine", final=final / rate, weight_decay=weight_decay)

  def init(key, eps):
    del eps
    key_latent, key_net = jax.random.split(key)
    latent = jax.random.uniform(key_latent, shape, jnp.float32)
    params, _ = net.init(key_net, jnp.zeros((1, *shape), jnp.float32))
    return Carry(params, tx.init(params), latent)

  def value(params, carry, eps):
    out = net.apply(params, carry.latent[None], train=True).features[0]
    if norm == "l2":
      return _rescaled(out, eps)
    return jnp.clip(out, -eps, eps) if squash == "clamp" else out * eps

  def update(carry, gradient, eps, step):
    del eps, step  # the optimiser counts its own steps
    change, opt = tx.update(gradient, carry.opt, carry.params)
    return carry._replace(params=optax.apply_updates(carry.params, change), opt=opt)

  return Perturbation(init, lambda carry: carry.params, value, update)


def _rescaled(x: jax.Array, size) -> jax.Array:
  return x * (size / jnp.maximum(jnp.sqrt(jnp.sum(x * x)), jnp.finfo(jnp.float32).tiny))
