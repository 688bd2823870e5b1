import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import tree
from ue_jax.forget import capped, gradient_ascent
from ue_jax.train import loop


def test_the_ascent_ends_before_the_step_that_begins_above_the_cap(pictures):
  """Chance is log 3; without a cap the loss goes far beyond, with it one more step crosses it and none follows."""
  cap, how = float(np.log(3)), dict(rate=1e-2, steps=60, forget_batch=30)
  free = loop.fit(gradient_ascent.method(**how), pictures, mode="one")
  held = loop.fit(gradient_ascent.method(cap=cap, **how), pictures, mode="one")
  assert free.history["forget"].max() > 3 * cap
  curve = held.history["forget"]
  assert len(curve) < 40 and np.all(curve[:-1] < cap) and cap <= curve[-1] < 3 * cap
  same = loop.fit(gradient_ascent.method(**{**how, "steps": len(curve) - 1}), pictures, mode="one", steps_per_call=1)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), held.params, same.params)


def test_caps_of_many_settings_run_in_one_program(pictures):
  batch = gradient_ascent.method(forget_batch=30).batch(0, pictures, 0)

  def run(cap):
    method = gradient_ascent.method(cap=cap, rate=2e-2, forget_batch=30)
    many = jax.tree.map(lambda x: jnp.stack([x] * 15), batch)
    state, metrics = jax.lax.scan(method.step, method.init(jax.random.key(0), pictures), many)
    return state, metrics["loss"]

  state, loss = jax.jit(jax.vmap(run))(jnp.array([0.2, 1.0, 1e9]))
  assert state.done.tolist() == [True, True, False] and state.step[0] < state.step[1] < state.step[2] == 15
  assert np.isfinite(loss).all()


def test_what_is_done_keeps_its_bits(pictures):
  method = capped.capped(gradient_ascent.method(), lambda metrics: jnp.ones((), bool))
  state = method.init(jax.random.key(0), pictures)
  after, _ = jax.jit(method.step)(state, method.batch(0, pictures, 0))
  assert bool(after.done) and tree.fingerprint(after.inner) == tree.fingerprint(state.inner)
