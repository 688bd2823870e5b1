"""A grid of hyper-parameters as one program: the factory is called inside the mapped function with traced scalars."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import keys
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Subject
from ue_jax.core.procedure import Procedure, convolves
from ue_jax.core.tally import Tally
from ue_jax.parallel import mesh

MODES = ("auto", "loop", "vmap", "pmap")
CHUNK = 25  # steps in one compiled call on an accelerator, and between two checkpoints


class Stopped(Exception):
  """The sweep was asked to stop, and its keeper has what it had; `step` is the number of steps taken."""

  def __init__(self, step: int):
    self.step = step
    super().__init__(f"stopped after step {step}")


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
  keeper: Any = None,
  progress: Callable[[int, int, dict], None] | None = None,
  stop: Callable[[], bool] | None = None,
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
    keeper: holds checkpoints as `train.checkpoint.Keeper` does: `latest(like)`, `extra(step)` and
      `save(step, tree, extra)`, called about every 25 steps, at the end, and before `Stopped`. If it has a checkpoint
      of the same sweep, the sweep goes on from there, with the same bits.
    progress: called with (step, total, metrics of the last step) after every call of the program. In mode `loop` steps
      are counted over all settings, in the others the metrics have leading axes for the settings.
    stop: polled after every call of the program; when it returns True, `Stopped` is raised.

  Returns:
    A list with one noun per setting, in the grid's order. A Subject's `history` gets the metrics of every step.
    States with `done` stop by themselves.

  Raises:
    Stopped: because `stop()` said so before the last step.
    Invalid: for an unknown mode, a grid that is empty or ragged, or a checkpoint of another sweep.
  """
  require(mode in MODES, "sweep.mode", mode, f"choose one of {list(MODES)}")
  hp = _check_grid(grid)
  settings = len(next(iter(hp.values())))
  picks = [{name: jnp.asarray(column[i]) for name, column in hp.items()} for i in range(settings)]
  first = factory(**picks[0])
  if mode == "auto":
    mode = "loop" if convolves(first, problem) and not mesh.on_accelerator() else "vmap"
  size = steps_per_call or (CHUNK if mesh.on_accelerator() else 1)
  lanes = {"loop": _loop, "vmap": _vmap, "pmap": _pmap}[mode](factory, hp, picks, problem, seed)
  states, curves = _go(lanes, first, problem, seed, size, _Watch(keeper, progress, stop))
  each = zip(picks, lanes.rows(states), lanes.rows(curves))
  return [_finish(factory(**pick), state, curve, problem) for pick, state, curve in each]


class _Lanes(NamedTuple):
  """What runs one after another: in mode `loop` a lane is one setting, in the other modes there is one lane of all.

  Attributes:
    chunks: a `(state, batches) -> (state, metrics)` for each lane.
    states: where each lane begins.
    lead: how many axes of settings come before the axis of steps.
    place: puts a state that was read from a checkpoint where the lane expects it.
    rows: from a list with one tree a lane to a list with one tree a setting.
  """

  chunks: Sequence[Callable]
  states: Sequence[Any]
  lead: int
  place: Callable[[Any], Any]
  rows: Callable[[list], list]


class _Watch(NamedTuple):
  """Who looks on between two calls of the program; each may be None."""

  keeper: Any
  progress: Callable | None
  stop: Callable | None


def _loop(factory, hp, picks, problem, seed):
  chunk = _program(factory, "loop", 1)
  states = [_strong(factory(**pick).init(keys.key(seed), problem)) for pick in picks]
  return _Lanes([functools.partial(chunk, pick) for pick in picks], states, 0, lambda state: state, list)


def _vmap(factory, hp, picks, problem, seed):
  hp = {name: jnp.asarray(column) for name, column in hp.items()}
  states = _strong(jax.vmap(lambda hp: factory(**hp).init(keys.key(seed), problem))(hp))
  states = jax.tree.map(jnp.copy, states)  # the program overwrites them, and no two may be one array
  chunk = functools.partial(_program(factory, "vmap", 1), hp)
  return _Lanes([chunk], [states], 1, lambda state: state, lambda trees: _rows(trees[0], len(picks)))


def _pmap(factory, hp, picks, problem, seed):
  devices = jax.local_devices()[: len(picks)]
  each = -(-len(picks) // len(devices))
  rows = np.minimum(np.arange(each * len(devices)), len(picks) - 1)  # the last setting fills what is left over
  folded = {name: jnp.asarray(column[rows]).reshape(len(devices), each) for name, column in hp.items()}
  init = jax.vmap(jax.vmap(lambda hp: factory(**hp).init(keys.key(seed), problem)))
  chunk = functools.partial(_program(factory, "pmap", len(devices)), folded)
  # Placed as they will come back, or the second call would trace again; what that is differs between JAX versions.
  placed = jax.pmap(lambda states: states, axis_name=mesh.AXIS, devices=devices)
  flat = lambda tree: jax.tree.map(lambda x: _host(x).reshape((-1,) + x.shape[2:]), tree)
  return _Lanes([chunk], [placed(_strong(init(folded)))], 2, placed, lambda trees: _rows(flat(trees[0]), len(picks)))


@functools.lru_cache(maxsize=8)
def _program(factory: Callable[..., Procedure], mode: str, devices: int) -> Callable:
  """The compiled chunk of a factory, kept so that a second sweep of the same factory compiles nothing."""
  if mode == "loop":
    return jax.jit(_chunk(factory))
  many = jax.vmap(_chunk(factory), in_axes=(0, 0, None))
  if mode == "vmap":
    return jax.jit(many, donate_argnums=1)
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


def _go(lanes: _Lanes, first: Procedure, problem, seed, size, watch: _Watch) -> tuple[list, list]:
  """All steps of all lanes; returns the state and the curves of each, with the steps on the axis after the settings."""
  at, states, seen = _resume(watch.keeper, lanes, seed)
  total, watched = first.steps * len(states), any(one is not None for one in watch)
  for lane, chunk in enumerate(lanes.chunks):
    t = min(max(0, at - lane * first.steps), first.steps)
    while t < first.steps and not _is_done(states[lane]):
      end = min(t - t % size + size, first.steps)
      states[lane], metrics = chunk(states[lane], [first.batch(seed, problem, i) for i in range(t, end)])
      seen[lane].append(_curves([metrics], lanes.lead) if watched else metrics)  # a look waits for the step to end
      t, before = end, at
      at = lane * first.steps + (first.steps if _is_done(states[lane]) else t)
      if watched:
        _look(watch, before, at, total, states, seen, lanes.lead, seed)
  return states, [_curves(pieces, lanes.lead) for pieces in seen]


def _look(watch: _Watch, before: int, at: int, total: int, states: list, seen: list, lead: int, seed: int) -> None:
  """Shows and saves where the sweep is, and raises Stopped if that was asked for."""
  if watch.progress:
    last = next(pieces[-1] for pieces in reversed(seen) if pieces)
    watch.progress(at, total, {name: x.take(-1, lead) for name, x in last.items()})
  stop = watch.stop is not None and at < total and watch.stop()
  if watch.keeper is not None and (stop or at == total or at // CHUNK > before // CHUNK):
    seen[:] = [[_curves(pieces, lead)] if pieces else [] for pieces in seen]
    extra = {f"{lane}/{name}": x for lane, pieces in enumerate(seen) if pieces for name, x in pieces[0].items()}
    watch.keeper.save(at, list(states), {**extra, "seed": np.asarray(seed)})
  if stop:
    raise Stopped(at)


def _resume(keeper: Any, lanes: _Lanes, seed: int) -> tuple[int, list, list]:
  """The steps taken, the states, and the curves so far of every lane as a list of pieces."""
  found = keeper.latest(list(lanes.states)) if keeper is not None else None
  if found is None:
    return 0, list(lanes.states), [[] for _ in lanes.states]
  at, states = found
  extra = keeper.extra(at)
  fix = f"this directory holds a sweep with seed {int(extra['seed'])}: choose another"
  require(int(extra["seed"]) == seed, "seed", seed, fix)
  seen: list[dict] = [{} for _ in states]
  for place, x in extra.items():
    lane, _, name = place.partition("/")
    if name:
      seen[int(lane)][name] = x
  return at, [lanes.place(state) for state in states], [[curves] if curves else [] for curves in seen]


def _is_done(state: Any) -> bool:
  """Whether all settings of a state are done."""
  return hasattr(state, "done") and bool(np.all(np.asarray(state.done)))


def _curves(pieces: list, lead: int) -> dict[str, np.ndarray]:
  """Name -> float32 values of metrics of one call after another, joined along the steps."""
  seen = [{name: _values(metric) for name, metric in piece.items()} for piece in jax.device_get(pieces)]
  return {name: np.concatenate([piece[name] for piece in seen], axis=lead) for name in seen[0]} if seen else {}


def _finish(procedure: Procedure, state: Any, curves: Mapping[str, Any], problem: Any) -> Any:
  result = procedure.finish(state, problem)
  if not isinstance(result, Subject) or not curves:
    return result
  curves = {name: np.asarray(values) for name, values in curves.items() if np.ndim(values) == 1}
  steps = np.arange(1, 1 + max((len(v) for v in curves.values()), default=0), dtype=np.int32)
  return result._replace(history={**result.history, **curves, "step": steps})


def _values(metric: Any) -> np.ndarray:
  if isinstance(metric, Tally):
    total, weight = (np.asarray(x, np.float64) for x in metric)
    metric = np.where(weight == 0, np.nan, total / np.where(weight == 0, 1, weight))
  return np.asarray(metric, np.float32)


def _rows(tree: Any, n: int) -> list[Any]:
  """The slices 0..n-1 of the leading axis of all leaves, which are all on the device or all on the host."""
  if any(isinstance(x, jax.Array) for x in jax.tree.leaves(tree)):
    return [_row(tree, i) for i in range(n)]
  return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(n)]


@jax.jit
def _row(tree: Any, i: Any) -> Any:
  """Slice i of every leaf: one small program for all n, where a list of each leaf takes one a shape, of n results."""
  return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree)


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
