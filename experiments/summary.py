"""What a run leaves for its reader: tables, one HTML page, and the same figures as JSON."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import ue_jax
from experiments import forgetting, grid, partitions, requests, store, tabulate, unlearned
from experiments.check import seeds
from experiments.command import Options
from experiments.plan import Plan
from experiments.tabulate import Table
from ue_jax.report import figures, page, tables
from ue_jax.report import results as results_file

SHOWN = 8  # pictures in a grid


class Summary(NamedTuple):
  """The text for the terminal, and what result.json holds."""

  text: str
  result: results_file.Result


def write(options: Options, plan: Plan, results: Any, painted: Any, seconds: float) -> Summary:
  """Gathers the scores, writes every file of the summary into the workdir and returns what to print."""
  scores = tabulate.gather(plan, results)
  protect = plan.kind == "protect"
  grids = grid.grids(plan, scores, results)
  shown = [make(one) for one in grids for make in (grid.table, grid.ranking)]
  shown += tabulate.accuracy_tables(plan, scores, results) if protect and not grids else []
  shown += _forgotten(plan, results, scores) if plan.kind == "forget" else []
  told = [] if plan.kind == "forget" else [s for s in scores if not protect or s["measure"] != "utility"]
  shown += tabulate.score_tables(told)
  shown += [tabulate.clusterings(plan, results)] if plan.kind == "cluster" else []
  shown += [tabulate.crafting(plan, results)] if plan.variants else []
  shown += [tabulate.budgets(plan, results)] if plan.variants else []
  shown += [painted.table()] if painted else []
  env = environment()
  seconds = max(seconds, sum(store.manifest(results.path(hash))["seconds"] for hash in plan.stages))
  found = tabulate.numbers(plan, results, scores, shown) or {"stages": len(plan.stages)}
  result = _result(options, found, env, seconds)
  if len(result.seeds) > 1:
    result = result._replace(each=store.plain({n: v for n, v in tabulate.each(scores).items() if n in found}))
  workdir = options.workdir
  store.write_text(workdir / "config.json", store.dumps(options.config, indent=1) + "\n")
  store.write_text(workdir / "env.json", store.dumps(env, indent=1) + "\n")
  store.write_text(workdir / "scores.jsonl", "".join(store.dumps(row) + "\n" for row in scores))
  _page(workdir / "summary.html", options, plan, results, shown, scores, env, seconds)
  results_file.write(workdir, result)
  text = [tables.text(t.columns, t.rows, title=f"\n{t.title}") for t in shown if t.rows]
  return Summary("\n".join([*text, f"\npage: {workdir / 'summary.html'}"]), result)


def _forgotten(plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]]) -> list[Table]:
  """The tables of an experiment that forgets: of every request the comparisons, then all scores, then the times."""
  compared, told, spent = [], [], []
  for request, part, mine in requests.parts(plan, scores):
    named = lambda t: t._replace(title=f"{t.title}{tabulate.OF}{request}") if request else t  # noqa: B023
    compared += [named(forgetting.table(part, mine)), named(forgetting.kept(part, mine))]
    compared += [named(unlearned.table(part, results, mine))] if unlearned.wanted(part, mine) else []
    told += map(named, tabulate.score_tables([{**s, "group": ""} for s in mine]))
    spent.append(named(tabulate.times(part, results)))
  return [*compared, *told, *spent]


def environment() -> dict[str, Any]:
  """Versions, commit and hardware."""
  versions = {**results_file.versions(), "ue_jax": ue_jax.__version__}
  root = pathlib.Path(__file__).resolve().parent.parent
  return {"versions": versions, "commit": results_file.commit(root), "hardware": results_file.hardware()}


def _result(options: Options, figures: Mapping[str, Any], env: Mapping[str, Any], seconds) -> results_file.Result:
  return results_file.Result(
    name="result", paper=pathlib.Path(options.file.partition(":")[0]).stem, command=options.line(),
    figures=store.plain(figures), config=store.plain(options.config), commit=env["commit"], versions=env["versions"],
    hardware=env["hardware"], seeds=seeds(options.config), wall_s=max(seconds, 0.1), date=results_file.today(),
    note=str(options.config.get("title", "")),
  )


def write_sweep(options: Options, rows: Sequence[Mapping[str, Any]], shown: Sequence[str], seconds: float) -> None:
  """Writes and prints the table of a sweep: one line a setting, the figures `shown` as columns."""
  names = list(rows[0]["setting"])
  lines = [[*row["setting"].values(), *(row["figures"].get(name) for name in shown)] for row in rows]
  env = environment()
  figures = {
    f"{' '.join(f'{k}={v}' for k, v in row['setting'].items())}: {name}": value
    for row in rows for name, value in row["figures"].items()
  }
  results_file.write(options.workdir, _result(options, figures, env, seconds))
  title = f"Sweep of {', '.join(names)}"
  sections = [page.table([*names, *shown], lines, title=title), page.pairs(options.config, "Config")]
  below = f"{options.line()} · {seconds:.0f} s on {env['hardware']}"
  place = page.write(options.workdir / "sweep.html", title, sections, below)
  print(tables.text([*names, *shown], lines, title=f"\n{title}"))
  print(f"\npage: {place}")


def _page(path, options, plan, results, shown, scores, env, seconds) -> None:
  title = str(options.config.get("title", options.file))
  sections = [page.heading("Result")]
  sections += [page.table(t.columns, t.rows, title=t.title) for t in shown if t.rows]
  sections += _bars(shown) if plan.kind == "protect" else []
  sections += grid.sections(grid.grids(plan, scores, results))
  for request, part, mine in requests.parts(plan, scores) if plan.kind == "forget" else ():
    drawn = [*forgetting.sections(part, results, mine), *unlearned.sections(part, results, mine)]
    sections += [page.heading(f"Asked to forget: {request}")] if request and drawn else []
    sections += drawn
  sections += _score_curves(scores)
  sections += _grids(plan, results)
  sections += partitions.sections(plan, results) if plan.kind == "cluster" else []
  sections += _curves(plan, results)
  sections += [page.heading("How it was made"), page.pairs(options.config, "Config")]
  sections += [page.pairs({**env["versions"], "commit": env["commit"]}, "Versions")]
  page.write(path, title, sections, f"{options.line()} · {seconds:.0f} s on {env['hardware']}, {results_file.today()}")


def _bars(shown: Sequence[Table]) -> list[page.Section]:
  """The overview as bars: one group a labelling."""
  overview = shown[0]
  if len(overview.columns) < 3 or "trained on" not in overview.columns:
    return []
  groups = {g: {row[0]: row[1 + 2 * i] for row in overview.rows if row[1 + 2 * i] is not None}
            for i, g in enumerate(overview.columns[1::2])}
  alt = "bars of the accuracies in the table above"
  return [page.figure(figures.bars(groups), "Accuracy on clean test pictures", alt)]


def _score_curves(scores: Sequence[Mapping[str, Any]]) -> list[page.Section]:
  """What was measured along something, such as the number of clusters: one figure a score, one line a row."""
  out = [
    page.figure(figures.curves(lines, xlabel=units, ylabel=name), name, f"{name} against the number of {units}")
    for (name, units), lines in tabulate.score_curves(scores).items()
  ]
  return [page.figures(*out)] if out else []


def _grids(plan: Plan, results: Any) -> list[page.Section]:
  """Clean, noise and protected pictures of every variant that changed something."""
  out = []
  if plan.variants:
    clean = results(plan.clean)
    rows = np.asarray(clean.sets["train"])[:SHOWN]
    before = clean.arrays["image"][rows]
    for name, hash in plan.variants.items():
      after = results(hash).arrays["image"][rows]
      if (tabulate.like(before, after) != after).any():
        grid = figures.protection(tabulate.like(before, after), after, limit=SHOWN)
        out.append(page.figure(grid, name, f"pictures before and after {name}"))
  return [page.heading("Pictures"), *out] if out else []


def _curves(plan: Plan, results: Any) -> list[page.Section]:
  """The curves that the measured subjects kept: one figure a labelling and curve, one line a row."""
  lines: dict[tuple[str, str], dict[str, Any]] = {}
  for row, rows in tabulate.crafted(plan, results).items():
    for name in tabulate.CRAFTING:
      seen = [line for line in rows if line.get(name) is not None]
      if len(seen) > 1:
        curve = ([line["step"] for line in seen], [line[name] for line in seen])
        lines.setdefault((name, "crafting"), {})[row] = curve
  for cell in plan.cells:
    if cell.seed != plan.cells[0].seed or results.path(cell.made).name.startswith("cluster"):
      continue
    found = tabulate.history(results, cell.made)
    for name, curve in found.items():
      seen = np.isfinite(curve)
      if (name == "loss" or name.endswith("_accuracy")) and seen.any():
        lines.setdefault((name, cell.group), {})[cell.row] = (found["step"][seen], curve[seen])
  out = [
    page.figure(figures.curves(many, ylabel=name, title=group), f"{name} {group}".strip(), f"{name} along training")
    for (name, group), many in lines.items()
  ]
  return [page.heading("Along training"), page.figures(*out)] if out else []

