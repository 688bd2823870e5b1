"""Runs an experiment over a grid of settings, and puts the scores of all settings into one table.

  python -m experiments.sweep --config FILE[:size] [--workdir DIR] [--sweep_mode MODE] [--show PATTERN] ...

The grid is `config.sweep`, which mirrors the config with a tuple in the place of each swept value:
`sweep=dict(method=dict(beta=(0.05, 0.1, 0.2)))`; from the command line `--config.sweep.method.beta="(0.1, 0.2)"`.
Swept floats of one stage are run together as one program; other fields (names, whole numbers) as separate runs.

  --sweep_mode MODE    auto, loop, vmap, or pmap (one setting a device)
  --show PATTERN       regular expression: which scores are shown in the table; sweep.jsonl holds all
  other flags          as in `python -m experiments.run --help`

A config with `thieves` and no `sweep` is a grid by itself (protections, countermeasures, networks, labellings, seeds),
and so is one with several methods of forgetting: it is run as by `experiments.run`, which shows it as one table and on
one page.

Settings share all stages that do not depend on them; what is stored already is not made again. Stopped or killed, the
same command goes on from where it was, also in the middle of a program that settings share.
"""

from __future__ import annotations

import itertools
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experiments import command
from ue_jax.core.errors import Invalid, require

ORDER = ("data", "surrogate", "protect", "defend", "train", "select", "method", "attack", "cluster", "measure")
MODES = ("auto", "loop", "vmap", "pmap")
SHOWN = r"test/accuracy$|forget/|retain/|auc$|acc$|nmi$|cost$"


def main(argv: Sequence[str]) -> list[dict[str, Any]]:
  """Runs the sweep of a command line; returns one dict a setting: the setting, and its figures."""
  options = command.read(argv, _define, "experiments.sweep")
  mode = options.flags.sweep_mode
  require(mode in MODES, "sweep_mode", mode, f"choose one of {', '.join(MODES)}")
  from experiments import folder, plan
  from experiments import run as single

  plan.unknown_fields(options.config)
  folder.outside(options.config, options.workdir)
  several = "name" not in options.config.get("method", {"name": ""})  # as it is with `requests`
  alone = ("thieves" in options.config or several) and not options.config.get("sweep")
  if alone:
    folder.check(options.config, options.workdir)
  with command.locked(options.workdir), command.Signals() as asked:
    if alone:
      return [{"setting": {}, "figures": dict(single.run(options, asked).figures)}]
    return run(options, asked)


def _define(values: Any) -> None:
  from absl import flags

  flags.DEFINE_string("sweep_mode", "auto", "how settings share a program: " + ", ".join(MODES), flag_values=values)
  flags.DEFINE_string("show", SHOWN, "which scores the table shows", flag_values=values)


def fields(config: Mapping[str, Any]) -> dict[str, tuple]:
  """Dotted name -> values, of `config.sweep`.

  Raises:
    Invalid: if there is none, or a swept field is not in the config, or has no list of values.
  """
  found = dict(_leaves(config.get("sweep", {}), ""))
  require(bool(found), "config.sweep", "(missing)", "give sweep=dict(method=dict(beta=(0.1, 0.2)))")
  for name, values in found.items():
    some = isinstance(values, (tuple, list)) and len(values) > 0
    require(some, f"config.sweep.{name}", values, "give a tuple of values")
    _within(config, name)
  return {name: tuple(values) for name, values in found.items()}


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
  for key, value in tree.items():
    name = f"{prefix}{key}"
    if isinstance(value, Mapping):
      yield from _leaves(value, f"{name}.")
    else:
      yield name, value


def _within(config: Mapping[str, Any], name: str) -> None:
  """Raises Invalid unless the config has the stage that the dotted name is a field of."""
  at: Any = config
  for part in name.split(".")[:-1]:
    if not isinstance(at, Mapping) or part not in at:
      raise Invalid(f"config.sweep.{name}", part, "the config has no such stage; sweep a field of one that it has")
    at = at[part]


def change(config: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any]:
  """A copy of the config with the fields of `setting` (dotted names) replaced."""
  out = {key: value for key, value in config.items() if key != "sweep"}
  for name, value in setting.items():
    *path, last = name.split(".")
    at = out
    for part in path:
      at[part] = dict(at[part])
      at = at[part]
    at[last] = value
  return out


def groups(grid: Mapping[str, tuple]) -> list[list[dict[str, Any]]]:
  """The settings of a grid, those that may share one program together.

  They differ only in floats of one stage, the last one that has any.
  """
  floats = [name for name, values in grid.items() if all(isinstance(v, float) for v in values)]
  stages = [kind for kind in ORDER if any(name.startswith(f"{kind}.") for name in floats)]
  traced = [name for name in floats if stages and name.startswith(f"{stages[-1]}.")]
  static = [name for name in grid if name not in traced]
  return [
    [{**outer, **inner} for inner in _product(grid, traced)] for outer in _product(grid, static)
  ]


def _product(grid: Mapping[str, tuple], names: Sequence[str]) -> list[dict[str, Any]]:
  return [dict(zip(names, values)) for values in itertools.product(*(grid[name] for name in names))]


def alike(plans: Sequence[Any]) -> Iterator[tuple[tuple[Any, ...], list[str]]]:
  """The stages in which plans differ by nothing but floats, one of each plan, and the names of those floats."""
  for stages in zip(*(plan.stages.values() for plan in plans)):
    first = stages[0]
    same = all(s.needs == first.needs and s.config.keys() == first.config.keys() for s in stages)
    names = [name for name in first.config if same and len({str(s.config[name]) for s in stages}) > 1]
    floats = all(isinstance(s.config[name], float) for s in stages for name in names)
    if names and floats and first.kind not in ("data", "pretrained", "mix", "score"):
      yield stages, names


def marked(plans: Sequence[Any]) -> list[Any]:
  """The plans, where what shares a program, and all that follows from it, has a hash of its own.

  It is traced with numbers as arguments and looks at no probe on the way: it must not be taken for a single run's.
  """
  shared = {stage.hash for stages, _ in alike(plans) for stage in stages}
  return [_renamed(plan, shared) for plan in plans]


def _renamed(plan: Any, shared: set[str]) -> Any:
  from experiments import store

  new, stages = {}, {}
  for old, stage in plan.stages.items():
    needs = {role: new[hash] for role, hash in stage.needs.items()}
    own = old in shared or needs != stage.needs
    new[old] = store.digest([old, needs, "swept"]) if own else old
    stages[new[old]] = stage._replace(needs=needs, hash=new[old])
  scores = lambda cell: {name: new[hash] for name, hash in cell.scores.items()}
  cells = tuple(c._replace(made=new[c.made], data=new[c.data], scores=scores(c)) for c in plan.cells)
  variants = {row: new[hash] for row, hash in plan.variants.items()}
  return plan._replace(stages=stages, cells=cells, variants=variants, clean=new[plan.clean])


def together(plans: Sequence[Any], results: Sequence[Any], mode: str) -> None:
  """Makes the stages in which the plans differ, all settings in one program, where nothing but floats differs.

  Raises:
    Interrupted: between two steps, if the run was asked to stop; what was reached is saved.
  """
  from experiments.pipeline import Interrupted
  from ue_jax.parallel import sweep

  for stages, names in alike(plans):
    if results[0].settings.stop():
      raise Interrupted(0)
    if any(not r.path(s.hash).exists() for r, s in zip(results, stages)):
      _make(sweep, stages, names, results, mode)


def _make(sweep, stages, names, results, mode) -> None:
  from experiments import pipeline
  from ue_jax.train import checkpoint

  start, first = time.monotonic(), results[0]
  factory, problem = pipeline.prepare(first, stages[0], first.needs(stages[0]))
  settings, title = first.settings, f"{stages[0].title}: {len(stages)} settings together"
  if settings.progress:
    settings.progress.stage(title, 0, 1)
  columns = {name: [stage.config[name] for stage in stages] for name in names}
  state = _state(stages, mode, first.workdir)
  keeper = pipeline.Timed(checkpoint.Keeper(state), settings.seconds)
  try:
    nouns = sweep.sweep(
      factory, columns, problem, seed=stages[0].seed, mode=mode, steps_per_call=settings.steps_per_call, keeper=keeper,
      progress=settings.progress and settings.progress.step, stop=settings.stop,
    )
  except sweep.Stopped as stopped:
    keeper.flush()
    raise pipeline.Interrupted(stopped.step) from None
  each = (time.monotonic() - start) / len(stages)
  for stage, noun, mine in zip(stages, nouns, results):
    if settings.tensorboard:
      _draw(mine.tensorboard(stage), getattr(noun, "history", {}))
    mine.keep(stage, noun, each)
  shutil.rmtree(state, ignore_errors=True)


def _draw(write: Callable[[int, Mapping[str, float]], None], history: Mapping[str, Any]) -> None:
  """Writes the curves that a Subject kept, at every 25th step and the last, as a run does while it trains."""
  steps = [int(t) for t in history.get("step", ())]
  for i, t in enumerate(steps):
    if t % 25 == 0 or t == steps[-1]:
      write(t, {name: float(curve[i]) for name, curve in history.items() if name != "step"})


def _state(stages, mode, workdir) -> pathlib.Path:
  """Where the checkpoints of a shared program are; one that is spread in another way has other ones."""
  import jax

  from experiments import store

  how = [mode, jax.default_backend(), jax.local_device_count()]
  return workdir / "state" / f"sweep-{store.digest([[stage.hash for stage in stages], *how])}"


def run(options: command.Options, asked: command.Signals) -> list[dict[str, Any]]:
  """Every setting, then the table, inside a locked workdir."""
  from experiments import compiled, early, folder, pipeline, plan, progress, store, summary, tabulate

  rows, start, flags = [], time.monotonic(), options.flags
  parts = groups(fields(options.config))
  with progress.shown() as bars, compiled.once(options.workdir / "compiled"):
    settings = pipeline.settings(flags, bars, asked)
    todo = [[plan.plan(change(options.config, point), folder.source) for point in points] for points in parts]
    for one in itertools.chain.from_iterable(todo):
      early.factories(one)
    for points, plans in zip(parts, map(marked, todo)):
      results = [pipeline.Results(one, options.workdir, settings) for one in plans]
      try:
        together(plans, results, flags.sweep_mode)
        for result in results:
          result.all()
      except pipeline.Interrupted:
        raise asked.stopped() from None
      for point, one, result in zip(points, plans, results):
        rows.append({"setting": point, "figures": tabulate.numbers(one, result, tabulate.gather(one, result))})
  store.write_text(options.workdir / "sweep.jsonl", "".join(store.dumps(row) + "\n" for row in rows))
  summary.write_sweep(options, rows, _shown(rows, flags.show), time.monotonic() - start)
  return rows


def _shown(rows: Sequence[Mapping[str, Any]], pattern: str) -> list[str]:
  """The figures that differ between settings and match the pattern."""
  names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
  differ = [n for n in names if len({str(row["figures"].get(n)) for row in rows}) > 1]
  return [name for name in differ if re.search(pattern, name)] or differ


if __name__ == "__main__":
  sys.exit(command.guarded(main, sys.argv[1:], __doc__))
