"""Trains a variational auto-encoder on rows that fit memory: all steps are one compiled scan."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ue_jax.core.errors import require
from ue_jax.models.model import Model
from ue_jax.train import optim


def fit(
  net: Model,
  rows: jax.Array,
  key: jax.Array,
  *,
  steps: int = 1000,
  batch_size: int = 32,
  rate: Any = 1e-3,
  kl: Any = 0.025,
) -> tuple[Any, jax.Array]:
  """Adam from a fresh initialisation; returns the parameters and the loss of every step, float32 `[steps]`.

  Args:
    net: from `models.vae.model`.
    rows: float `[n, d]`.
    key: for the initialisation, the order of the rows (a permutation an epoch) and the samples z.
    steps: gradient steps.
    batch_size: rows a step; at most all of them.
    rate: learning rate; may be traced, like `kl`.
    kl: weight of the divergence.

  Raises:
    Invalid: for no row or a number of steps below 0.
  """
  require(len(rows) > 0, "vae.rows", jnp.shape(rows), "give at least one row")
  require(isinstance(steps, int) and steps >= 0, "vae.steps", steps, "give a whole number >= 0")
  return _fit(net, jnp.asarray(rows, jnp.float32), key, rate, kl, steps, min(batch_size, len(rows)))


def loss(net: Model, params: Any, rows: jax.Array, key: jax.Array, kl: Any) -> jax.Array:
  """Mean over rows of the squared error of the reconstruction plus `kl` times KL(N(mean, sigma^2) || N(0, 1)).

  As released with label-agnostic forgetting: KL = -1/2 sum(log(sigma^2 + 1e-8) + 1 - mean^2 - sigma^2).
  """
  out = net.apply(params, rows, key=key)
  mean, spread = jnp.split(out.features, 2, axis=-1)
  variance = jnp.exp(spread)
  divergence = -0.5 * jnp.sum(jnp.log(variance + 1e-8) + 1 - mean**2 - variance, axis=-1)
  return jnp.mean(jnp.sum((out.logits - rows) ** 2, axis=-1) + kl * divergence)


@functools.partial(jax.jit, static_argnames=("net", "steps", "size"))
def _fit(net: Model, rows: jax.Array, key: jax.Array, rate: Any, kl: Any, steps: int, size: int) -> Any:
  start, order, draws = jax.random.split(key, 3)
  params, _ = net.init(start, rows[:1])
  tx = optim.make("adam", rate, max(steps, 1))
  epochs = -(-steps * size // len(rows))
  orders = jax.vmap(lambda k: jax.random.permutation(k, len(rows)))(jax.random.split(order, max(epochs, 1)))
  at = orders.reshape(-1)[: steps * size].reshape(steps, size)

  def step(carry, now):
    params, opt = carry
    t, mine = now
    value, grads = jax.value_and_grad(lambda p: loss(net, p, rows[mine], jax.random.fold_in(draws, t), kl))(params)
    updates, opt = tx.update(grads, opt, params)
    return (optax.apply_updates(params, updates), opt), value

  (params, _), curve = jax.lax.scan(step, (params, tx.init(params)), (jnp.arange(steps), at))
  return params, curve
