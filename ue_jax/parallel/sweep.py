"""A grid of hyper-parameters as one program: the factory is called inside the mapped function with traced scalars."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.parallel import mesh

MODES = ("auto", "loop", "vmap", "pmap")
CHUNK = 25


def grid(**values: Any) -> dict[str, np.ndarray]:
  """The Cartesian product of the given sequences of numbers, the last name fastest: name -> `[settings]`.

  Example: `grid(rate=[0.1, 0.01], beta=[1.0, 2.0, 3.0])` has 6 settings. Floats become float32, whole numbers int32.

  Raises:
    Invalid: for an empty sequence, or for values that are not numbers: structure cannot be traced.
  """
  columns = {name: np.atleast_1d(np.asarray(v)) for name, v in values.items()}
  for name, column in columns.items():
    _check_column(f"grid.{name}", column)
  settings = zip(*itertools.product(*columns.values()))
  return {name: np.asarray(values, _dtype(columns[name])) for name, values in zip(columns, settings)}


def sweep(
  factory: Callable[..., Procedure],
  grid: Mapping[str, np.ndarray],
  problem: Any,
  *,
  seed: int = 0,
  mode: str = "auto",
  steps_per_call: int = 0,
) -> list[Any]:
  """The result of `factory(**setting)` on `problem` for every setting, equal to that of single runs.

  Args:
    factory: `(**setting) -> Procedure`; it is traced, so it may not branch on the swept numbers. Batches, the number
      of steps and all shapes must be the same for all settings.
    grid: name -> `[settings]`, from `grid`.
    seed: of the key and of the batches, common to all settings.
    mode: `loop`: one setting after another through one compiled step; `vmap`: all at once; `pmap`: the settings
      divided over the devices, those of one device by vmap; `auto`: `loop` for convolutions on CPU (which vmap slows
      down), else `vmap`.
    steps_per_call: steps scanned in one call; 0 chooses 1 on CPU (where a scan gains nothing), else up to 25.

  Returns:
    A list with one noun per setting, in the grid's order. A Subject's `history` gets the metrics of every step.
    States with `done` stop by themselves.

  Raises:
    Invalid: for an unknown mode or a grid that is empty or ragged.
  """
  require(mode in MODES, "sweep.mode", mode, f"choose one of {list(MODES)}")
  hp = _check_grid(grid)
  settings = len(next(iter(hp.values())))
  picks = [{name: jnp.asarray(column[i]) for name, column in hp.items()} for i in range(settings)]
  first = factory(**picks[0])
  if mode == "auto":
    mode = "loop" if first.convolutional and not mesh.on_accelerator() else "vmap"
  size = steps_per_call or (CHUNK if mesh.on_accelerator() else 1)
  run = {"loop": _loop, "vmap": _vmap, "pmap": _pmap}[mode]
  states, curves = run(factory, hp, picks, first, problem, seed, size)
  return [_finish(factory(**pick), state, curve, problem) for pick, state, curve in zip(picks, states, curves)]


def _loop(factory, hp, picks, first, problem, seed, size):
  chunk = _program(factory, "loop", 1)
  states, curves = [], []
  for pick in picks:
    state = _strong(factory(**pick).init(jax.random.key(seed), problem))
    state, metrics = _go(functools.partial(chunk, pick), state, first, problem, seed, size)
    states.append(state)
    curves.append(metrics)
  return states, curves


def _vmap(factory, hp, picks, first, problem, seed, size):
  hp = {name: jnp.asarray(column) for name, column in hp.items()}
  states = _strong(jax.vmap(lambda hp: factory(**hp).init(jax.random.key(seed), problem))(hp))
  chunk = _program(factory, "vmap", 1)
  states, metrics = _go(lambda states, batches: chunk(hp, states, batches), states, first, problem, seed, size)
  return _rows(states, len(picks)), _rows(metrics, len(picks))


def _pmap(factory, hp, picks, first, problem, seed, size):
  devices = jax.local_devices()[: len(picks)]
  each = -(-len(picks) // len(devices))
  rows = np.minimum(np.arange(each * len(devices)), len(picks) - 1)  # the last setting fills what is left over
  folded = {name: jnp.asarray(column[rows]).reshape(len(devices), each) for name, column in hp.items()}
  init = jax.vmap(jax.vmap(lambda hp: factory(**hp).init(jax.random.key(seed), problem)))
  chunk = _program(factory, "pmap", len(devices))
  # Placed as they will come back, or the second call would trace again; what that is differs between JAX versions.
  placed = jax.pmap(lambda states: states, axis_name=mesh.AXIS, devices=devices)
  states = placed(_strong(init(folded)))
  states, metrics = _go(lambda s, b: chunk(folded, s, b), states, first, problem, seed, size)
  flat = lambda tree: jax.tree.map(lambda x: _host(x).reshape((-1,) + x.shape[2:]), tree)
  return _rows(flat(states), len(picks)), _rows(flat(metrics), len(picks))


@functools.lru_cache(maxsize=8)
def _program(factory: Callable[..., Procedure], mode: str, devices: int) -> Callable:
  """The compiled chunk of a factory, kept so that a second sweep of the same factory compiles nothing."""
  if mode == "loop":
    return jax.jit(_chunk(factory))
  many = jax.vmap(_chunk(factory), in_axes=(0, 0, None))
  if mode == "vmap":
    return jax.jit(many)
  return jax.pmap(many, axis_name=mesh.AXIS, in_axes=(0, 0, None), devices=jax.local_devices()[:devices])


def _chunk(factory: Callable[..., Procedure]) -> Callable:
  """`(setting, state, batches [k]) -> (state, metrics [k])` for one setting; a state that is `done` stays."""

  def run(hp, state, batches):
    procedure = factory(**hp)

    def step(state, batch):
      new, metrics = procedure.step(state, batch)
      if hasattr(state, "done"):
        new = jax.tree.map(lambda old, x: jnp.where(state.done, old, x), state, new)
      return new, metrics

    if len(batches) > 1:
      return jax.lax.scan(step, state, jax.tree.map(lambda *x: jnp.stack(x), *batches))
    state, metrics = step(state, batches[0])
    return state, jax.tree.map(lambda x: x[None], metrics)

  return run


def _go(chunk, state, first: Procedure, problem, seed, size):
  """All steps; returns the state and the metrics with the steps on the axis after those of the settings."""
  seen = []
  for t in range(0, first.steps, size):
    batches = [first.batch(seed, problem, i) for i in range(t, min(t + size, first.steps))]
    state, metrics = chunk(state, batches)
    seen.append(metrics)
    if hasattr(state, "done") and bool(np.all(np.asarray(state.done))):
      break
  seen = jax.device_get(seen)
  lead = np.ndim(state.step) if hasattr(state, "step") else 0
  return state, jax.tree.map(lambda *x: np.concatenate(x, axis=lead), *seen) if seen else {}


def _finish(procedure: Procedure, state: Any, metrics: Mapping[str, Any], problem: Any) -> Any:
  result = procedure.finish(state, problem)
  if not isinstance(result, Subject) or not metrics:
    return result
  curves = {name: _values(m) for name, m in metrics.items()}
  curves = {name: values for name, values in curves.items() if values.ndim == 1}
  steps = np.arange(1, 1 + max((len(v) for v in curves.values()), default=0), dtype=np.int32)
  return result._replace(history={**result.history, **curves, "step": steps})


def _values(metric: Any) -> np.ndarray:
  if isinstance(metric, Tally):
    total, weight = (np.asarray(x, np.float64) for x in metric)
    metric = np.where(weight == 0, np.nan, total / np.where(weight == 0, 1, weight))
  return np.asarray(metric, np.float32)


def _rows(tree: Any, n: int) -> list[Any]:
  """The slices 0..n-1 of the leading axis."""
  return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(n)]


def _host(x: Any) -> Any:
  """The array on the default device, so that results of different devices can be used together."""
  if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(_host(jax.random.key_data(x)), impl=jax.random.key_impl(x))
  return jnp.asarray(np.asarray(x)) if isinstance(x, jax.Array) else x


def _strong(state: Any) -> Any:
  """The state without weak types, which would compile everything twice."""
  keys = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return jax.tree.map(lambda x: x if keys(x) else jnp.asarray(x, x.dtype), state)


def _dtype(column: np.ndarray) -> Any:
  return {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.bool_}[column.dtype.kind]


def _check_column(field: str, column: np.ndarray) -> None:
  if column.dtype.kind not in "fiub":
    raise Invalid(field, column.tolist(), "give numbers; sweep names and sizes by separate runs")
  require(column.ndim == 1 and len(column) > 0, field, column.tolist(), "give at least one number, in a flat list")


def _check_grid(grid: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  require(len(grid) > 0, "grid", dict(grid), "name at least one hyper-parameter")
  columns = {name: np.asarray(values) for name, values in grid.items()}
  for name, column in columns.items():
    _check_column(f"grid.{name}", column)
  lengths = {name: len(column) for name, column in columns.items()}
  require(len(set(lengths.values())) == 1, "grid", lengths, "give all hyper-parameters the same number of settings")
  return {name: column.astype(_dtype(column)) for name, column in columns.items()}
