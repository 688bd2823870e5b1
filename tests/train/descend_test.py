"""An objective and a transformation, made into a Procedure; devices are the parity test's business."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.terms import Term
from ue_jax.core.tree import fingerprint, shapes
from ue_jax.train.descend import descend


def objective(params, state, frozen, batch, key):
  near = jnp.sum((params["w"] - batch["x"]) ** 2)
  far = jnp.sum(params["w"] * frozen["c"])
  noise = jax.random.normal(key, ())
  terms = {"near": Term(near, jnp.float32(2)), "far": Term(far, jnp.float32(4), -0.5)}
  return terms, {"seen": state["seen"] + 1, "noise": noise}


def procedure(tx=None):
  def start(key, problem):
    return {"w": jnp.float32(problem)}, {"seen": jnp.float32(0), "noise": jnp.float32(0)}, {"c": jnp.float32([1, 2])}

  finish = lambda params, state, problem: (params, state, problem)
  batch = lambda seed, problem, t: {"x": np.float32([t, seed])}
  return descend(objective, tx or optax.sgd(0.1), start=start, finish=finish, batch=batch, steps=3)


BATCH = {"x": np.float32([0.5, 2.0])}


def test_one_step_is_the_gradient_of_the_scaled_means():
  p = procedure()
  state, metrics = p.step(p.init(jax.random.key(0), [1.0, -1.0]), BATCH)
  w, c = np.float64([1, -1]), np.float64([1, 2])
  grad = 2 * (w - BATCH["x"]) / 2 - 0.5 * c / 4
  np.testing.assert_allclose(state.params["w"], w - 0.1 * grad, rtol=1e-6)
  near, far = ((w - BATCH["x"]) ** 2).sum() / 2, (w * c).sum() / 4
  np.testing.assert_allclose(metrics["loss"], near - 0.5 * far, rtol=1e-6)
  assert float(metrics["near"].weight) == 2 and float(metrics["far"].total) == -1.0


def test_frozen_trees_keep_their_bits_and_the_model_state_moves_on():
  p = procedure()
  state = first = p.init(jax.random.key(0), [1.0, -1.0])
  for _ in range(3):
    state, _ = p.step(state, BATCH)
  assert fingerprint(state.frozen) == fingerprint(first.frozen)
  assert float(state.state["seen"]) == 3 and int(state.step) == 3


def test_shapes_and_dtypes_do_not_change():
  p = procedure(optax.sgd(0.1, momentum=0.9))
  state = p.init(jax.random.key(0), [1.0, -1.0])
  assert shapes(p.step(state, BATCH)[0]) == shapes(state)


def test_randomness_is_a_function_of_key_and_step():
  p = procedure()
  draw = lambda state: float(p.step(state, BATCH)[0].state["noise"])
  a, b = (p.init(jax.random.key(k), [1.0, -1.0]) for k in (0, 1))
  later = p.step(a, BATCH)[0]
  assert draw(a) == draw(a) and len({draw(a), draw(b), draw(later)}) == 3


def test_finish_gets_parameters_model_state_and_problem():
  p = procedure()
  params, state, problem = p.finish(p.init(jax.random.key(0), [1.0, -1.0]), "problem")
  assert params["w"].tolist() == [1, -1] and float(state["seen"]) == 0 and problem == "problem"
