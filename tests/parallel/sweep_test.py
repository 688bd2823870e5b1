"""A grid of hyper-parameters as one program equals single runs."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.parallel import sweep


class State(NamedTuple):
  w: jax.Array
  key: jax.Array
  step: jax.Array


def factory(rate, decay=0.0):
  """Noisy descent on a least-squares problem that changes with every batch."""

  def init(key, problem):
    return State(jax.random.normal(key, (3,)) * (1 + decay), key, jnp.zeros((), jnp.int32))

  def step(state, batch, axis=None):
    noise = 0.01 * jax.random.normal(jax.random.fold_in(state.key, state.step), (3,))
    loss, grad = jax.value_and_grad(lambda w: jnp.mean((batch["x"] @ w - batch["y"]) ** 2))(state.w)
    w = state.w - rate * (grad + decay * state.w + noise)
    return State(w, state.key, state.step + 1), {"loss": loss, "fit": Tally(loss * 4, jnp.float32(4))}

  def batch(seed, problem, t):
    rng = np.random.default_rng([seed, t])
    x = rng.normal(size=(4, 3)).astype(np.float32)
    return {"x": x, "y": (x @ problem).astype(np.float32)}

  return Procedure(init, step, lambda state, problem: Subject(None, {"w": state.w}), batch, steps=7)


PROBLEM = np.float32([1, -2, 0.5])
GRID = sweep.grid(rate=[0.3, 0.1, 0.02], decay=[0.0, 0.1])


def single(rate, decay, seed):
  procedure = factory(float(rate), float(decay))
  state, step = procedure.init(jax.random.key(seed), PROBLEM), jax.jit(procedure.step)
  losses = []
  for t in range(procedure.steps):
    state, metrics = step(state, procedure.batch(seed, PROBLEM, t))
    losses.append(float(metrics["loss"]))
  return np.asarray(state.w), losses


@pytest.mark.parametrize("per_call", [1, 3])
@pytest.mark.parametrize("mode", ["loop", "vmap", "pmap", "auto"])
def test_every_mode_equals_single_runs(mode, per_call):
  found = sweep.sweep(factory, GRID, PROBLEM, seed=5, mode=mode, steps_per_call=per_call)
  assert len(found) == 6
  for i, subject in enumerate(found):
    w, losses = single(GRID["rate"][i], GRID["decay"][i], 5)
    np.testing.assert_allclose(subject.params["w"], w, atol=1e-5)
    np.testing.assert_allclose(subject.history["loss"], losses, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(subject.history["fit"], losses, rtol=1e-4, atol=1e-6)
    assert subject.history["step"].tolist() == list(range(1, 8))


def test_settings_and_seeds_make_a_difference():
  a, b = (sweep.sweep(factory, GRID, PROBLEM, seed=s) for s in (0, 1))
  ends = np.stack([r.params["w"] for r in [*a, *b]])
  assert len(np.unique(ends.round(4), axis=0)) == 12


@pytest.mark.parametrize("mode", ["loop", "vmap", "pmap"])
def test_one_compilation_serves_all_settings_and_the_next_sweep(mode):
  traces = []

  def counted(rate):
    procedure = factory(rate)

    def step(state, batch, axis=None):
      traces.append(1)
      return procedure.step(state, batch)

    return procedure._replace(step=step)

  sweep.sweep(counted, sweep.grid(rate=[0.1, 0.2, 0.3]), PROBLEM, mode=mode)
  assert len(traces) == 1
  sweep.sweep(counted, sweep.grid(rate=[0.01, 0.02, 0.03]), PROBLEM, mode=mode)
  assert len(traces) == 1


def test_auto_loops_over_convolutions_on_the_processor(monkeypatch):
  used = []
  for name in ("_loop", "_vmap"):
    real = getattr(sweep, name)
    monkeypatch.setattr(sweep, name, lambda *a, name=name, real=real: used.append(name) or real(*a))
  monkeypatch.setattr(sweep.mesh, "on_accelerator", lambda: False)
  conv = lambda rate: factory(rate)._replace(convolutional=True)
  for f in (factory, conv):
    sweep.sweep(f, sweep.grid(rate=[0.1, 0.2]), PROBLEM)
  monkeypatch.setattr(sweep.mesh, "on_accelerator", lambda: True)
  sweep.sweep(conv, sweep.grid(rate=[0.1, 0.2]), PROBLEM)
  assert used == ["_vmap", "_loop", "_vmap"]


def is_key(x):
  return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


class Keeper:
  """Keeps what it is given, as host arrays."""

  def __init__(self):
    self.kept = {}

  def save(self, step, tree, extra):
    host = lambda x: np.asarray(jax.random.key_data(x) if is_key(x) else x)
    self.kept[step] = jax.tree.map(host, tree), dict(extra)

  def latest(self, like):
    revive = lambda old, x: jax.random.wrap_key_data(jnp.asarray(x)) if is_key(old) else jnp.asarray(x)
    step = max(self.kept, default=None)
    return None if step is None else (step, jax.tree.map(revive, like, self.kept[step][0]))

  def extra(self, step):
    return self.kept[step][1]


@pytest.mark.parametrize("per_call", [1, 3])
@pytest.mark.parametrize("mode", ["loop", "vmap", "pmap"])
def test_stopped_and_asked_again_a_sweep_ends_with_the_same_bits(mode, per_call):
  run = functools.partial(sweep.sweep, factory, GRID, PROBLEM, mode=mode, steps_per_call=per_call)
  whole, keeper, at = run(seed=5), Keeper(), []
  for taken in (per_call, 2 * per_call):
    with pytest.raises(sweep.Stopped) as stopped:
      run(seed=5, keeper=keeper, progress=lambda t, steps, metrics: at.append((t, steps)), stop=lambda: True)
    assert stopped.value.step == max(keeper.kept) == taken
  total = 7 * (6 if mode == "loop" else 1)
  assert at == [(per_call, total), (2 * per_call, total)], "it ended after one call, and did not begin anew"
  again = run(seed=5, keeper=keeper)
  assert max(keeper.kept) == total
  for a, b in zip(whole, again):
    assert np.asarray(a.params["w"]).tobytes() == np.asarray(b.params["w"]).tobytes()
    assert {n: x.tobytes() for n, x in a.history.items()} == {n: x.tobytes() for n, x in b.history.items()}
  with pytest.raises(Invalid, match="seed"):
    run(seed=6, keeper=keeper)


def test_a_sweep_that_has_taken_its_last_step_is_not_stopped():
  found = sweep.sweep(factory, GRID, PROBLEM, mode="vmap", steps_per_call=7, stop=lambda: True)
  assert len(found) == 6


def test_progress_is_given_the_metrics_of_the_step():
  seen = []
  found = sweep.sweep(factory, GRID, PROBLEM, mode="vmap", progress=lambda t, steps, metrics: seen.append(metrics))
  np.testing.assert_array_equal([m["loss"] for m in seen], np.stack([r.history["loss"] for r in found], axis=1))


class Falling(NamedTuple):
  x: jax.Array
  step: jax.Array
  done: jax.Array


@pytest.mark.parametrize("mode", ["loop", "vmap", "pmap"])
def test_settings_that_are_done_stay_while_others_go_on(mode):
  def fall(by):
    def step(state, batch):
      x = state.x - by
      return Falling(x, state.step + 1, x <= 0), {"x": x}

    init = lambda key, problem: Falling(jnp.float32(10), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    return Procedure(init, step, lambda state, problem: (float(state.x), int(state.step)), steps=50)

  found = sweep.sweep(fall, sweep.grid(by=[5.0, 3.0, 1.0]), None, mode=mode)
  assert found == [(0.0, 2), (-2.0, 4), (0.0, 10)]
  keeper, asked = Keeper(), []
  with pytest.raises(sweep.Stopped):  # when the second of `loop` is falling, the first is done
    stop = lambda: asked.append(1) or len(asked) == 3
    sweep.sweep(fall, sweep.grid(by=[5.0, 3.0, 1.0]), None, mode=mode, keeper=keeper, stop=stop)
  assert sweep.sweep(fall, sweep.grid(by=[5.0, 3.0, 1.0]), None, mode=mode, keeper=keeper) == found


def test_grid_is_the_cartesian_product_with_the_last_name_fastest():
  out = sweep.grid(a=[1, 2], b=[0.5, 0.25, 0.125])
  assert out["a"].tolist() == [1, 1, 1, 2, 2, 2] and out["a"].dtype == np.int32
  assert out["b"].tolist() == [0.5, 0.25, 0.125] * 2 and out["b"].dtype == np.float32


@pytest.mark.parametrize("values", [{"a": []}, {"a": ["adam", "sgd"]}, {"a": [[1, 2]]}])
def test_grids_that_cannot_be_traced_are_refused(values):
  with pytest.raises(Invalid, match=r"grid\.a"):
    sweep.grid(**values)


@pytest.mark.parametrize("grid, mode, field", [
  ({}, "vmap", "grid"), ({"rate": np.ones(2), "decay": np.ones(3)}, "vmap", "grid"), (GRID, "threads", "sweep.mode"),
])  # fmt: skip
def test_ragged_or_empty_grids_and_unknown_modes_are_refused(grid, mode, field):
  with pytest.raises(Invalid, match=field):
    sweep.sweep(factory, grid, PROBLEM, mode=mode)
