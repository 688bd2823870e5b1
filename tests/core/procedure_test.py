"""Procedures and the two ways to run them without the loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.procedure import Procedure, once, run_scan, run_until


class State(NamedTuple):
  x: jax.Array
  step: jax.Array
  done: jax.Array


def halving(limit=1.0):
  def init(key, problem):
    return State(jnp.float32(problem), jnp.zeros((), jnp.int32), jnp.zeros((), bool))

  def step(state, batch):
    x = state.x / 2 + batch
    return State(x, state.step + 1, x < limit), {"x": x}

  return Procedure(init, step, lambda state, problem: (float(state.x), int(state.step)))


def test_once_calls_the_function_with_the_key_and_the_problem():
  procedure = once(lambda key, problem: (jax.random.uniform(key), problem))
  key = jax.random.key(3)
  value, problem = procedure.finish(procedure.init(key, "p"), "p")
  assert problem == "p" and value == jax.random.uniform(key) and procedure.steps == 0


def test_the_state_of_once_counts_its_steps():
  procedure = once(lambda key, problem: None)
  state, metrics = procedure.step(procedure.init(jax.random.key(0), None), {})
  assert int(state.step) == 1 and metrics == {}


def test_run_scan_equals_single_steps():
  procedure, batches = halving(), jnp.arange(5, dtype=jnp.float32)
  state, metrics = run_scan(procedure, procedure.init(None, 8.0), batches)
  single, seen = procedure.init(None, 8.0), []
  for b in batches:
    single, m = procedure.step(single, b)
    seen.append(float(m["x"]))
  np.testing.assert_array_equal(metrics["x"], seen)
  assert float(single.x) == float(state.x)


def test_run_until_stops_when_done():
  procedure = halving()
  state = jax.jit(lambda s: run_until(procedure, s, jnp.float32(0), 100))(procedure.init(None, 8.0))
  assert procedure.finish(state, None) == (0.5, 4)


def test_run_until_stops_at_the_limit():
  procedure = halving()
  assert procedure.finish(run_until(procedure, procedure.init(None, 8.0), jnp.float32(0), 2), None) == (2.0, 2)
