"""Multinomial logistic regression: a convex problem, so the answer depends on nothing but the data.

Minimises mean over samples of the nll + penalty / 2 |weights|^2 (biases are free) by accelerated gradient steps of
length one over a bound of the curvature, starting again where they would climb: Beck and Teboulle, "A Fast Iterative
Shrinkage-Thresholding Algorithm", 2009; O'Donoghue and Candes, "Adaptive Restart for Accelerated Gradient Schemes",
2015.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

ABSENT = -1e9  # logit of a class that cannot be


class Linear(NamedTuple):
  """Logits are `x @ weights + bias`: float32 `[d, classes]`, `[classes]`."""

  weights: jax.Array
  bias: jax.Array


def fit(
  x: jax.Array, y: jax.Array, mask: jax.Array, present: jax.Array, penalty: jax.Array | float, steps: int = 300
) -> Linear:
  """The regression after `steps` steps; traceable, so it can be mapped over problems and penalties.

  Args:
    x: float32 `[n, d]`; columns of like size (standardised) converge fastest.
    y: int32 `[n]`, classes.
    mask: float32 `[n]`, 1 for samples that count; at least one does.
    present: bool `[classes]`, which classes can be; each `y` that counts is one of them.
    penalty: > 0, may be traced.
    steps: how many.
  """
  d, classes, total = x.shape[1], present.shape[0], jnp.sum(mask)
  wanted = jax.nn.one_hot(y, classes, dtype=jnp.float32) * mask[:, None]
  ones = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1) * jnp.sqrt(mask)[:, None]
  bound = 0.5 * jnp.linalg.eigvalsh(ones.T @ ones)[-1] / total + penalty  # softmax curves at most by a half

  def slope(at: Linear) -> Linear:
    p = jax.nn.softmax(jnp.where(present, x @ at.weights + at.bias, ABSENT), axis=-1) * mask[:, None]
    far = (p - wanted) / total
    return Linear(x.T @ far + penalty * at.weights, jnp.sum(far, axis=0))

  def step(carry, _):
    at, ahead, t = carry
    grad = slope(ahead)
    new = jax.tree.map(lambda a, g: a - g / bound, ahead, grad)
    climbs = sum(jnp.vdot(g, n - a) for g, n, a in zip(grad, new, at)) > 0
    t = jnp.where(climbs, 1.0, t)
    after = 0.5 * (1 + jnp.sqrt(1 + 4 * t * t))
    ahead = jax.tree.map(lambda n, a: jnp.where(climbs, n, n + (t - 1) / after * (n - a)), new, at)
    return (new, ahead, after), None

  begin = Linear(jnp.zeros((d, classes), jnp.float32), jnp.zeros(classes, jnp.float32))
  return jax.lax.scan(step, (begin, begin, jnp.float32(1)), length=steps)[0][0]


def predict(x: jax.Array, found: Linear, present: jax.Array) -> jax.Array:
  """The most likely class of each row of `x` `[n, d]`, int32 `[n]`."""
  return jnp.argmax(jnp.where(present, x @ found.weights + found.bias, ABSENT), axis=-1).astype(jnp.int32)
