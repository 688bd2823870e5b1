"""What the tests of several networks do."""

import jax
import jax.numpy as jnp
import optax
import pytest

from ue_jax.train import losses


@pytest.fixture
def descended():
  """`fn(net, params, state, images, labels, rate, steps)` -> the losses before each step of SGD, and the last state."""

  def run(net, params, state, images, labels, rate, steps):
    tx = optax.sgd(rate)

    @jax.jit
    def step(params, state):
      def loss(p):
        out = net.apply(p, images, state=state, train=True)
        return jnp.mean(losses.cross_entropy(out.logits, labels)), out.state

      (value, after), slope = jax.value_and_grad(loss, has_aux=True)(params)
      return optax.apply_updates(params, tx.update(slope, tx.init(params))[0]), after, value

    seen = []
    for _ in range(steps):
      params, state, value = step(params, state)
      seen.append(float(value))
    return seen, state

  return run
