"""Optimisers: unit schedules scaled by a (possibly traced) rate, on the leaves that a regular expression names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ue_jax.core import tree
from ue_jax.core.errors import Invalid, require

OPTIMIZERS = ("adam", "adamw", "sgd", "lion", "rmsprop", "sign", "normalised")
SCHEDULES = ("constant", "cosine", "linear", "step")


def make(
  name: str = "adam",
  rate: Any = 1e-3,
  steps: int = 1,
  *,
  schedule: str = "constant",
  warmup: int = 0,
  final: Any = 0.0,
  weight_decay: Any = 0.0,
  momentum: Any = 0.9,
  nesterov: bool = False,
  b1: Any = 0.9,
  b2: Any = 0.999,
  eps: Any = 1e-8,
  clip: Any = 0.0,
  milestones: tuple[float, ...] = (0.5, 0.75),
  drop: Any = 0.1,
  train: str = ".*",
) -> optax.GradientTransformation:
  """An optax transformation; every number but `steps`, `warmup` and `milestones` may be a traced scalar.

  Args:
    name: `adam`, `adamw`, `sgd`, `lion`, `rmsprop`, and, without momentum, `sign` (of the gradient) and `normalised`
      (the gradient over its global norm: every step is `rate` long). `weight_decay` is decoupled (added to the update
      before the rate) for `adamw` and `lion`, and added to the gradient for the others.
    rate: the learning rate at the top of the schedule, >= 0.
    steps, schedule, warmup, final, milestones, drop: see `unit`.
    weight_decay: >= 0.
    momentum, nesterov: of `sgd`; `momentum` is also the average of squares of `rmsprop`.
    b1, b2, eps: of `adam`, `adamw`, `lion`.
    clip: the largest global norm of the gradient of the trained leaves; 0 means no clipping.
    train: regular expression: leaves in whose name it is found are trained, all others keep their bits.

  Raises:
    Invalid: for an unknown name, a number out of range, or a `train` that matches no leaf (at `init`).
  """
  _check(name, rate, weight_decay, clip)
  # a traced clip may be 0 in some settings of a grid: no clipping there, as for a plain 0
  bound = clip if isinstance(clip, (int, float)) else jnp.where(jnp.asarray(clip) > 0, clip, jnp.inf)
  parts = [] if _is_zero(clip) else [optax.clip_by_global_norm(bound)]
  decay = [] if _is_zero(weight_decay) else [optax.add_decayed_weights(weight_decay)]
  core = _core(name, momentum, nesterov, b1, b2, eps)
  parts += [core, *decay] if name in ("adamw", "lion") else [*decay, core]
  shape = unit(schedule, steps, warmup=warmup, final=final, milestones=milestones, drop=drop)
  parts.append(optax.scale_by_learning_rate(lambda count: rate * shape(count)))
  return only(relaxed(optax.chain(*parts)), train)


def relaxed(tx: optax.GradientTransformation) -> optax.GradientTransformation:
  """`tx` that also runs under strict dtype promotion, where optax's `decay ** count` does not."""

  def update(grads, state, params=None):
    with jax.numpy_dtype_promotion("standard"):
      return tx.update(grads, state, params)

  return optax.GradientTransformation(tx.init, update)


def unit(
  schedule: str,
  steps: int,
  *,
  warmup: int = 0,
  final: Any = 0.0,
  milestones: tuple[float, ...] = (0.5, 0.75),
  drop: Any = 0.1,
) -> Callable[[jax.Array], jax.Array]:
  """A schedule with its top at 1: `count` int32 -> float32.

  It rises linearly from 0 over `warmup` steps, then over the other `steps - warmup` follows `constant`; `cosine` or
  `linear` down to `final` (a share of the top); or `step`: times `drop` at each of `milestones` (shares of the way).

  Raises:
    Invalid: for an unknown schedule or a warm-up that is not shorter than the run.
  """
  require(schedule in SCHEDULES, "train.schedule", schedule, f"choose one of {list(SCHEDULES)}")
  require(0 <= warmup < max(steps, 1), "train.warmup", warmup, f"give a number of steps in 0..{max(steps, 1) - 1}")
  span = max(steps - warmup, 1)

  def at(count):
    """The share of the top rate after `count` steps, float32 in [0, 1]."""
    count = jnp.asarray(count).astype(jnp.float32)
    way = jnp.clip((count - warmup) / span, 0.0, 1.0)
    if schedule == "cosine":
      value = final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * way))
    elif schedule == "linear":
      value = final + (1 - final) * (1 - way)
    elif schedule == "step":
      passed = jnp.sum(way >= jnp.asarray(milestones, jnp.float32)).astype(jnp.float32)
      value = jnp.asarray(drop, jnp.float32) ** passed
    else:
      value = jnp.ones_like(way)
    return jnp.where(count < warmup, count / max(warmup, 1), value)

  return at


def only(tx: optax.GradientTransformation, pattern: str) -> optax.GradientTransformation:
  """`tx` on the leaves whose name matches `pattern`; all others keep their bits.

  Raises:
    Invalid: at `init`, if no leaf matches; the message names some that exist.
  """
  if pattern == ".*":
    return tx
  inside = optax.masked(tx, lambda params: tree.mask(params, pattern))

  def init(params):
    if not any(jax.tree.leaves(tree.mask(params, pattern))):
      names = [name for name, _ in tree.named_leaves(params)]
      raise Invalid("train.trainable", pattern, f"it must match some of the {len(names)} leaves, such as {names[:4]}")
    return inside.init(params)

  def update(grads, state, params=None):
    grads, state = inside.update(grads, state, params)
    # minus zero: the only addend that keeps every float, -0.0 included
    still = lambda hit, u: u if hit else -jnp.zeros_like(u)
    return jax.tree.map(still, tree.mask(grads, pattern), grads), state

  return optax.GradientTransformation(init, update)


def where(tx: optax.GradientTransformation, hit: Any) -> optax.GradientTransformation:
  """`tx` on the entries where `hit` is True; all others keep their bits, whatever `tx` adds (decay, momentum).

  Args:
    tx: what makes updates of gradients; it sees zeros for the others.
    hit: tree of the parameters' structure with bool arrays that broadcast against them; may be traced.
  """

  def update(grads, state, params=None):
    grads = jax.tree.map(lambda h, g: jnp.where(h, g, jnp.zeros_like(g)), hit, grads)
    updates, state = tx.update(grads, state, params)
    return jax.tree.map(lambda h, u: jnp.where(h, u, -jnp.zeros_like(u)), hit, updates), state  # see `only`

  return optax.GradientTransformation(tx.init, update)


def _core(name, momentum, nesterov, b1, b2, eps) -> optax.GradientTransformation:
  if name in ("adam", "adamw"):
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)
  if name == "lion":
    return optax.scale_by_lion(b1=b1, b2=b2)
  if name == "rmsprop":
    return optax.scale_by_rms(decay=momentum, eps=eps)
  if name == "sign":
    return optax.scale_by_sign()
  if name == "normalised":
    return optax.normalize_by_update_norm(eps=1e-20)  # a gradient of zeros moves nothing
  return optax.identity() if _is_zero(momentum) else optax.trace(decay=momentum, nesterov=nesterov)


def _is_zero(x: Any) -> bool:
  """True for the number 0; a traced scalar never counts as 0."""
  return isinstance(x, (int, float)) and x == 0


def _check(name, rate, weight_decay, clip) -> None:
  require(name in OPTIMIZERS, "train.optimizer", name, f"choose one of {list(OPTIMIZERS)}")
  for field, value, least in (("rate", rate, 0), ("weight_decay", weight_decay, 0), ("clip", clip, 0)):
    if isinstance(value, (int, float)):
      require(least <= value < float("inf"), f"train.{field}", value, "give a finite number >= 0")
