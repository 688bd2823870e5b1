"""Projected gradient steps on pictures: signed steps in a cube, steps of one length in a Euclidean ball.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, section 2.1. The one
primitive of everything that moves pixels along a gradient: adversarial training here, protections two floors above.
All functions are pure and run under jit and vmap; budgets and step sizes may be traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.core.pictures import to_float
from ue_jax.parallel import mesh

NORMS = ("linf", "l2")
PICTURE = (-3, -2, -1)  # the axes of one picture

# (delta float32 [b, h, w, c], key) -> float32 [b]; the value of a picture depends on its own delta only
Loss = Callable[[jax.Array, Any], jax.Array]


def ascend(
  loss: Loss,
  x: jax.Array,
  start: jax.Array | str,
  eps,
  step_size,
  steps: int,
  norm: str = "linf",
  key: jax.Array | None = None,
  restarts: int = 1,
  box: tuple[float, float] = (0, 1),
  sign: int = 1,
  convolutional: bool = False,
) -> jax.Array:
  """Perturbations that make the loss large: float32 `[b, h, w, c]`, each in the ball and x + delta in the box.

  Args:
    loss: see `Loss`; each step calls it with a key of its own (None if there is no key).
    x: pictures `[b, h, w, c]`, bytes or floats within the box.
    start: the perturbations to begin with, or `zeros`, or `uniform` for random ones. Only the first of several
      restarts begins there: the others begin at random.
    eps, step_size: radius of the ball and length of a step in `norm`, in units of [0, 1].
    steps: static, >= 0.
    norm: `linf` or `l2` (of a whole picture).
    restarts: of several runs every picture keeps the best by the loss at their ends.
    sign: 1, or -1 to make the loss small.
    convolutional: True unrolls the steps on CPUs, where convolutions inside loops lose their threads.

  Raises:
    Invalid: for an unknown norm or start, numbers out of range, or random starts without a key.
  """
  drawn = isinstance(start, str) and start == "uniform"
  _check(norm, steps, restarts, start)
  require(key is not None or (restarts == 1 and not drawn), "key", key, "give a key: starts are drawn at random")
  x = to_float(x)
  first = inside(jnp.zeros_like(x) if isinstance(start, str) else project(start, eps, norm), x, box)
  key_last, key_runs = (None, None) if key is None else jax.random.split(key)

  def run(r):
    """One run; `r` is its number."""
    key_start, key_steps = (None, None) if key is None else jax.random.split(jax.random.fold_in(key_runs, r))
    begin = first
    if drawn or restarts > 1:
      begin = inside(uniform(key_start, x.shape, eps, norm), x, box)
      begin = begin if drawn else jnp.where(r == 0, first, begin)

    def one(t, delta):
      now = None if key is None else jax.random.fold_in(key_steps, t)
      return advance(loss, x, delta, eps, step_size, norm, now, box, sign)[0]

    return repeat(one, begin, steps, convolutional)

  if restarts == 1:
    return run(0)

  def better(r, carry):
    """The best of the runs so far, and how good each picture's is."""
    best, height = carry
    delta = run(r)
    values = sign * loss(delta, key_last)
    return jnp.where(of_pictures(values > height), delta, best), jnp.maximum(values, height)

  none = (jnp.zeros_like(x), jnp.full(x.shape[0], -jnp.inf, jnp.float32))
  return repeat(better, none, restarts, convolutional)[0]


def descend(loss: Loss, *args, **kwargs) -> jax.Array:
  """`ascend` with the sign turned: perturbations that make the loss small."""
  return ascend(loss, *args, **kwargs, sign=-1)


def advance(
  loss: Loss, x, delta, eps, step_size, norm: str = "linf", key=None, box=(0, 1), sign: int = 1
) -> tuple[jax.Array, jax.Array]:
  """One step of `ascend`: (the moved perturbations, the losses float32 `[b]` before the step)."""

  def total(delta):
    values = loss(delta, key)
    return jnp.sum(values), values

  gradient, values = jax.grad(total, has_aux=True)(delta)
  return inside(move(delta, sign * gradient, eps, step_size, norm), x, box), values


def move(delta: jax.Array, gradient: jax.Array, eps, step_size, norm: str = "linf") -> jax.Array:
  """One step up the gradient, then projected on the ball of radius eps; `[..., h, w, c]`.

  Give minus the gradient to go down.
  """
  return project(delta + step_size * direction(gradient, norm), eps, norm)


def direction(gradient: jax.Array, norm: str = "linf") -> jax.Array:
  """The steepest direction of length 1 in `norm` for every picture `[..., h, w, c]`; 0 where the gradient is 0."""
  if norm == "linf":
    return jnp.sign(gradient)
  top = jnp.max(jnp.abs(gradient), axis=PICTURE, keepdims=True)
  scaled = gradient / _or_one(top)  # squares of small gradients would vanish
  return scaled / _or_one(jnp.sqrt(jnp.sum(scaled * scaled, axis=PICTURE, keepdims=True)))


def project(delta: jax.Array, eps, norm: str = "linf") -> jax.Array:
  """The nearest point of the ball of radius eps (units of [0, 1]) around 0; the last three axes are one picture.

  Args:
    delta: float32 `[..., h, w, c]`.
    eps: radius; may be traced.
    norm: `linf` (largest absolute value) or `l2` (Euclidean norm of the picture).
  """
  if norm == "linf":
    return jnp.clip(delta, -eps, eps)
  size = jnp.sqrt(jnp.sum(delta * delta, axis=PICTURE, keepdims=True))
  return delta * jnp.minimum(1, eps / jnp.maximum(size, jnp.finfo(jnp.float32).tiny))


def inside(delta: jax.Array, x: jax.Array, box=(0, 1)) -> jax.Array:
  """The perturbation cut so that x + delta lies in the box. No value grows, so it stays in its ball, too."""
  return jnp.clip(delta, box[0] - x, box[1] - x)


def uniform(key: jax.Array, shape: tuple[int, ...], eps, norm: str = "linf") -> jax.Array:
  """Perturbations drawn evenly from the ball, float32 `[..., h, w, c]`."""
  if norm == "linf":
    return jax.random.uniform(key, shape, jnp.float32, -1, 1) * eps
  key_way, key_far = jax.random.split(key)
  far = jax.random.uniform(key_far, (*shape[:-3], 1, 1, 1), jnp.float32)
  values = shape[-3] * shape[-2] * shape[-1]
  return direction(jax.random.normal(key_way, shape, jnp.float32), norm) * far ** (1 / values) * eps


def repeat(fn: Callable, carry: Any, count: int, convolutional: bool = False) -> Any:
  """`carry = fn(i, carry)` for i in 0..count - 1: a compiled loop, but unrolled for convolutions on CPUs."""
  if count > 1 and not (convolutional and not mesh.on_accelerator()):
    return jax.lax.fori_loop(0, count, fn, carry)
  for i in range(count):
    carry = fn(i, carry)
  return carry


def of_pictures(values: jax.Array) -> jax.Array:
  """Values of pictures `[b]` as `[b, 1, 1, 1]`, to meet `[b, h, w, c]`."""
  return values[:, None, None, None]


def _or_one(size):
  return jnp.where(size > 0, size, jnp.ones_like(size))


def _check(norm, steps, restarts, start) -> None:
  require(norm in NORMS, "norm", norm, f"choose one of {list(NORMS)}")
  require(isinstance(steps, int) and steps >= 0, "steps", steps, "give a whole number >= 0")
  require(isinstance(restarts, int) and restarts >= 1, "restarts", restarts, "give a whole number >= 1")
  require(not isinstance(start, str) or start in ("zeros", "uniform"), "start", start, "give 'zeros' or 'uniform'")
