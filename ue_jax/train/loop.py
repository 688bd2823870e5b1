"""The only loop: takes a Procedure from `init` to `finish`, with curves, probes, checkpoints and a way to stop.

The steps are cut into chunks at fixed absolute step numbers, so an interrupted and resumed run takes the same
compiled programs over the same steps as an uninterrupted one, and ends with the same bits.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import keys, tree
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Subject
from ue_jax.core.procedure import Procedure, convolves
from ue_jax.core.tally import Tally
from ue_jax.parallel import mesh, spread

CHUNK = 25  # steps in one compiled call, and between two looks at the metrics
LARGE = 30_000_000  # numbers in a state: with Adam, a network of ten million parameters
_DONE = "done before"


class Interrupted(Exception):
  """The run was asked to stop and has saved what it had; `step` is the number of steps taken."""

  def __init__(self, step: int):
    self.step = step
    super().__init__(f"interrupted after step {step}")


class Diverged(Invalid):
  """The loss is NaN or infinite; names the step and the first term that is."""

  def __init__(self, step: int, term: str, value: float):
    self.step, self.term = step, term
    fix = f"the loss is not finite at step {step}, first in '{term}': lower the rate, or clip the gradient"
    super().__init__(term, float(value), fix)


def fit(
  procedure: Procedure,
  problem: Any,
  *,
  seed: int = 0,
  mode: str = "auto",
  devices: Sequence[Any] | None = None,
  steps_per_call: int = 0,
  keeper: Any = None,
  save_every: int = 0,
  log: Callable[[int, dict], None] | None = None,
  progress: Callable[[int, int, dict], None] | None = None,
  stop: Callable[[], bool] | None = None,
) -> Any:
  """Runs `procedure` on `problem` and returns its noun.

  Args:
    seed: of the key and of the batches, >= 0.
    mode, devices: see `spread.spread`.
    steps_per_call: steps scanned in one compiled call; 0 chooses up to 25, on CPU 1 for convolutions and large states.
    keeper: a `checkpoint.Keeper`; if it holds a checkpoint, the run goes on from there.
    save_every: steps between two saves (each at the next end of a chunk); 0 saves only when interrupted.
    log: called with (step, metrics of that step and what was probed) at the end of every chunk; `train.log` makes such
      functions (JSON lines, TensorBoard).
    progress: called with (step, total, metrics) at the end of every chunk.
    stop: polled between calls; when it returns True, state and curves are saved and `Interrupted` is raised.

  Returns:
    What `finish` returns. If that is a Subject, its `history` holds one float32 array per metric and per probe (NaN
    at the steps where it was not looked at), all as long as `step`, the number of steps taken before the look.

  Raises:
    Interrupted: after saving, because `stop()` said so.
    Diverged: if the metric `loss` is NaN or infinite.
    Invalid: if the keeper's checkpoint is damaged or belongs to another seed or procedure, or to one that
      looked at other numbers (`frozen`).
  """
  require(steps_per_call >= 0, "steps_per_call", steps_per_call, "give 0 (automatic) or a number of steps >= 1")
  state = _own(procedure.init(keys.key(seed), problem))
  still = spread.parted(state)[1]
  signs = {} if keeper is None else {"seed": np.asarray(seed), **_signs(still)}  # of what is not in a checkpoint
  state, t, curves = _resume(keeper, state, signs)
  whole = lambda state: spread.joined(spread.collect(spread.parted(state)[0]), still)
  size = steps_per_call or _chunk_size(convolves(procedure, problem), procedure, state)
  runner = _Runner(procedure, problem, seed, size, mode, devices)
  saved, done, stop = t, _is_done(state), _latch(stop)
  while t < procedure.steps and not done:
    state, taken, rows, done = runner.chunk(state, t, stop)
    _check_finite(t, rows)
    t += taken
    metrics = {name: values[-1] for name, values in rows.items()}
    last = done or t >= procedure.steps
    if procedure.probe and taken and (last or (procedure.every and t % procedure.every == 0)):
      probed = procedure.probe(whole(state), problem)
      metrics.update({name: np.float32(value) for name, value in probed.items()})
    curves = _extend(curves, t, taken, rows, metrics)
    if log and taken:
      log(t, {name: float(value) for name, value in metrics.items()})
    if progress:
      progress(t, procedure.steps, metrics)
    if keeper is not None and save_every and (t // save_every > saved // save_every or last):
      _save(keeper, t, state, curves, signs)
      saved = t
    if not last and stop():
      if keeper is not None and saved != t:
        _save(keeper, t, state, curves, signs)
      raise Interrupted(t)
  result = procedure.finish(whole(state), problem)
  return result._replace(history={**result.history, **curves}) if isinstance(result, Subject) and curves else result


class _Runner:
  """The compiled calls of one run: a scan over a chunk, or single steps."""

  def __init__(self, procedure: Procedure, problem: Any, seed: int, size: int, mode: str, devices: Any):
    self.batch = functools.partial(procedure.batch, seed, problem)
    self.steps, self.every, self.size = procedure.steps, procedure.every if procedure.probe else 0, size
    devices = None if devices is None else tuple(devices)
    self.single, self.moving, self.fixed = _programs(procedure.step, mode, devices, spread.Axes(procedure.axes))

  def chunk(self, state: Any, t: int, stop: Callable) -> tuple[Any, int, dict, bool]:
    """Steps to the next boundary; returns (state, steps taken, name -> values `[taken]`, whether done)."""
    end = self._end(t)
    if self.size == 1:
      return self._one_by_one(state, t, end, stop)
    batches, clock = [self.batch(i) for i in range(t, end)], np.zeros(end - t, np.int32)
    if _all_same(batches):
      state, metrics = self.fixed(state, (batches[0], clock))
    else:
      state, metrics = self.moving(state, (_stack(batches), clock))
    return (state, *_read(metrics, state))

  def _one_by_one(self, state, t, end, stop):
    seen = []
    for i in range(t, end):
      state, metrics = self.single(state, self.batch(i))
      seen.append(metrics)
      if i + 1 < end and stop():
        break
    return (state, *_read(jax.tree.map(lambda *x: np.stack(x), *jax.device_get(seen)), state))

  def _end(self, t: int) -> int:
    """The next boundary: a multiple of the chunk size counted from the last multiple of `every`, or the end."""
    size = self.size if self.size > 1 else CHUNK
    period = self.every or self.steps
    start = t - t % period
    return min(start + (t - start) // size * size + size, start + period, self.steps)


@functools.lru_cache(maxsize=8)
def _programs(step: Callable, mode: str, devices: tuple | None, axes: spread.Axes) -> tuple[Callable, ...]:
  """One step, steps over moving batches, and steps over one batch: a procedure that runs again compiles nothing."""
  step, to = _guarded(step), dict(mode=mode, devices=devices, axes=axes.map(lambda axis: axis), donate=True)
  moving, fixed = _scanned(step, moving=True), _scanned(step, moving=False)
  many = spread.spread(moving, batch_axes=(1, None), **to), spread.spread(fixed, batch_axes=(0, None), **to)
  return spread.spread(step, **to), *many


def _chunk_size(convolutional: bool, procedure: Procedure, state: Any) -> int:
  """1 for convolutions or large states on CPU; else up to `CHUNK`, such that the period divides well.

  Each size compiles once. A step of a large state takes seconds there: a call of many could not be stopped.
  """
  if not mesh.on_accelerator() and (convolutional or tree.size(state) > LARGE):
    return 1
  period = (procedure.every if procedure.probe else 0) or procedure.steps
  return next((k for k in range(CHUNK, CHUNK // 2, -1) if period % k == 0), CHUNK)


def _guarded(step: Callable) -> Callable:
  """The step that leaves a state whose `done` is True as it is, and reports it."""

  def run(state, batch, **axis):
    new, metrics = step(state, batch, **axis)
    if not hasattr(state, "done"):
      return new, {**metrics, _DONE: jnp.zeros((), bool)}
    new = jax.tree.map(lambda old, x: jnp.where(state.done, old, x), state, new)
    return new, {**metrics, _DONE: state.done}

  run.__signature__ = inspect.signature(step)  # whether it takes `axis` is read from it
  return run


def _scanned(step: Callable, moving: bool) -> Callable:
  """Many steps: `(state, (batches, clock)) -> (state, metrics [k])`.

  `clock` `[k]` gives the number of steps; `batches` has a leading axis `[k]`, or, if not `moving`, is the batch of all.
  """

  def run(state, batch, **axis):
    (batches, clock), (changed, still) = batch, spread.parted(state)

    def one(changed, now):  # what stays is no part of what is carried on: it would be copied
      state, metrics = step(spread.joined(changed, still), now if moving else batches, **axis)
      return spread.parted(state)[0], metrics

    changed, metrics = jax.lax.scan(one, changed, batches if moving else clock, length=clock.shape[0])
    return spread.joined(changed, still), metrics

  run.__signature__ = inspect.signature(step)
  return run


def _all_same(batches: list) -> bool:
  """True if all are one and the same arrays (full-batch procedures): they then need not be stacked."""
  first = jax.tree.leaves(batches[0])
  return all(x is y for other in batches[1:] for x, y in zip(first, jax.tree.leaves(other)))


def _stack(batches: list) -> Any:
  def stack(*x):
    return np.stack(x) if all(isinstance(one, (np.ndarray, np.generic)) for one in x) else jnp.stack(x)

  return jax.tree.map(stack, *batches)


def _own(state: Any) -> Any:
  """The state in memory of its own, which steps overwrite: `init` may have taken parts of it from the problem.

  What stays (`spread.parted`) is not overwritten, and may be the problem's own. Without weak types, which would compile
  everything twice and not survive a restore.
  """

  def own(x):
    if isinstance(x, np.ndarray) or _is_key(x):
      return x.copy()
    plain = isinstance(x, jax.Array) and not x.weak_type  # put again it is a copy for which nothing is compiled
    return jax.device_put(x, may_alias=False) if plain else jnp.array(x, x.dtype)

  kept = lambda x: x if _is_key(x) else jnp.asarray(x, x.dtype)
  moving, still = spread.parted(state)
  return spread.joined(jax.tree.map(own, moving), jax.tree.map(kept, still))


def _latch(stop: Callable[[], bool] | None) -> Callable[[], bool]:
  """`stop` that stays True once it was."""
  said = []

  def asked():
    if not said and stop is not None and stop():
      said.append(True)
    return bool(said)

  return asked


def _is_key(x: Any) -> bool:
  return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _is_done(state: Any) -> bool:
  return bool(np.asarray(state.done)) if hasattr(state, "done") else False


def _read(metrics: dict, state: Any) -> tuple[int, dict, bool]:
  """Fetches stacked metrics: (steps taken, name -> float32 `[taken]`, whether the state is done)."""
  metrics = jax.device_get(metrics)
  taken = int(np.sum(~metrics.pop(_DONE)))
  return taken, {name: _values(m)[:taken] for name, m in metrics.items()}, _is_done(state)


def _values(metric: Any) -> np.ndarray:
  """One float32 per step: the mean of a Tally (NaN where nothing was seen), or of an array."""
  if isinstance(metric, Tally):
    total, weight = (np.asarray(x, np.float64) for x in metric)
    metric = np.where(weight == 0, np.nan, total / np.where(weight == 0, 1, weight))
  values = np.asarray(metric, np.float32)
  return values.reshape(len(values), -1).mean(axis=1, dtype=np.float32) if values.ndim > 1 else values


def _check_finite(t: int, rows: dict) -> None:
  bad = ~np.isfinite(rows.get("loss", np.zeros(0)))
  if bad.any():
    i = int(np.argmax(bad))
    term = next((name for name, v in rows.items() if name != "loss" and not np.isfinite(v[i])), "loss")
    raise Diverged(t + i + 1, term, rows[term][i])


def _extend(curves: dict, t: int, taken: int, rows: dict, last: dict) -> dict:
  """The curves with `taken` more points that end at step `t`; what is only in `last` is NaN before the last point."""
  new = {"step": np.arange(t - taken + 1, t + 1, dtype=np.int32), **rows}
  for name, value in last.items():
    if name not in rows and taken:
      new[name] = np.full(taken, np.nan, np.float32)
      new[name][-1] = value
  if not curves:
    return new
  blank = lambda length: np.full(length, np.nan, np.float32)
  old = len(curves["step"])
  names = list(dict.fromkeys([*curves, *new]))
  return {n: np.concatenate([curves.get(n, blank(old)), new.get(n, blank(taken))]) for n in names}


def _save(keeper: Any, t: int, state: Any, curves: dict, signs: dict) -> None:
  extra = {f"curve/{name}": values for name, values in curves.items()}
  keeper.save(t, spread.parted(state)[0], {**extra, **signs})  # the rest is made by `init` again


def _signs(still: Any) -> dict[str, np.ndarray]:
  """By what a checkpoint knows again what stays and is not in it; `still/<name of shape and dtype>` -> numbers."""
  kinds = {name: f"{name} {dtype}{list(shape)}" for name, (shape, dtype) in tree.shapes(still).items()}
  return {f"still/{kinds[name]}": values for name, values in tree.sketch(still).items()}


def _check_signs(extra: dict, signs: dict) -> None:
  """Rounding may differ from machine to machine, so numbers of what `init` computes may differ by a thousandth."""
  fix = f"this directory holds a run with seed {int(extra['seed'])}: choose another"
  require(int(extra["seed"]) == int(signs["seed"]), "seed", int(signs["seed"]), fix)
  fix = "this directory holds a run that looked at other weights or data: choose another"
  mine, saved = ({name for name in part if name.startswith("still/")} for part in (signs, extra))
  require(mine == saved, "frozen", sorted(mine ^ saved)[:3], fix)
  for name in sorted(mine):
    a, b = np.float64(signs[name]), np.float64(extra[name])
    slack = np.append(np.full(8, 1e-3 * np.abs(a[:8]).mean()), np.full(2, 1e-5 * a[9]))  # values, sums
    near = np.array_equal(a, b, equal_nan=True) or np.allclose(a, b, rtol=0, atol=slack)
    require(near, "frozen", name.removeprefix("still/"), fix)


def _resume(keeper: Any, state: Any, signs: dict) -> tuple[Any, int, dict]:
  moving, still = spread.parted(state)
  found = keeper.latest(moving) if keeper is not None else None
  if found is None:
    return state, 0, {}
  t, state = found[0], spread.joined(found[1], still)
  extra = keeper.extra(t)
  _check_signs(extra, signs)
  curves = {name.removeprefix("curve/"): x for name, x in extra.items() if name.startswith("curve/")}
  return state, t, curves
