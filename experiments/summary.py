"""What a run leaves for its reader: tables, one HTML page, and the same figures as JSON."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import ue_jax
from experiments import store
from experiments.command import Options
from experiments.plan import Plan, seeds
from ue_jax.core import pictures
from ue_jax.report import figures, page, tables
from ue_jax.report import results as results_file
from ue_jax.train import log

BUDGET = "Distance from the clean pictures"
CRAFTING = ("loss", "kl", "redirect", "redirected")  # what methods that take steps say of them
SHOWN = 8  # pictures in a grid


class Table(NamedTuple):
  """Title, headings and rows, as `report.tables` takes them."""

  title: str
  columns: Sequence[str]
  rows: Sequence[Sequence[Any]]


class Summary(NamedTuple):
  """The text for the terminal, and what result.json holds."""

  text: str
  result: results_file.Result


def write(options: Options, plan: Plan, results: Any, painted: Any, seconds: float) -> Summary:
  """Gathers the scores, writes every file of the summary into the workdir and returns what to print."""
  scores = gather(plan, results)
  protect = plan.kind == "protect"
  shown = accuracy_tables(plan, scores, results) if protect else []
  shown += score_tables([s for s in scores if not protect or s["measure"] != "utility"])
  shown += [clusterings(plan, results)] if plan.kind == "cluster" else []
  shown += [crafting(plan, results)] if plan.variants else []
  shown += [budgets(plan, results)] if plan.variants else []
  shown += [painted.table()] if painted else []
  env = environment()
  seconds = max(seconds, sum(store.manifest(results.path(hash))["seconds"] for hash in plan.stages))
  result = _result(options, numbers(plan, results, scores, shown) or {"stages": len(plan.stages)}, env, seconds)
  workdir = options.workdir
  store.write_text(workdir / "config.json", store.dumps(options.config, indent=1) + "\n")
  store.write_text(workdir / "env.json", store.dumps(env, indent=1) + "\n")
  store.write_text(workdir / "scores.jsonl", "".join(store.dumps(row) + "\n" for row in scores))
  _page(workdir / "summary.html", options, plan, results, shown, env, painted, seconds)
  results_file.write(workdir, result)
  text = [tables.text(t.columns, t.rows, title=f"\n{t.title}") for t in shown if t.rows]
  return Summary("\n".join([*text, f"\npage: {workdir / 'summary.html'}"]), result)


def gather(plan: Plan, results: Any) -> list[dict[str, Any]]:
  """Every Score of every cell as a flat row."""
  rows = []
  for cell in plan.cells:
    for measure, hash in cell.scores.items():
      for name, score in results(hash).items():
        place = {"row": cell.row, "group": cell.group, "seed": cell.seed, "measure": measure, "name": name}
        rows.append({**place, **score._asdict()})
  return rows


def mean(values: Sequence[float]) -> Any:
  """The value, or (mean, standard deviation) of several; None of none."""
  values = [float(v) for v in values]
  if len(values) < 2:
    return values[0] if values else None
  return (float(np.mean(values)), float(np.std(values, ddof=1)))


def score_tables(scores: Sequence[Mapping[str, Any]]) -> list[Table]:
  """One table a measure: a line a score, a column a row of the experiment, then which way is better, and the target."""
  out = []
  for measure in dict.fromkeys(s["measure"] for s in scores):
    place = lambda s: " / ".join(part for part in (s["row"], s["group"]) if part)
    mine = [{**s, "row": place(s)} for s in scores if s["measure"] == measure]
    rows = list(dict.fromkeys(s["row"] for s in mine))
    lines = []
    for name in dict.fromkeys(s["name"] for s in mine):
      same = [s for s in mine if s["name"] == name]
      values = [mean([s["value"] for s in same if s["row"] == row]) for row in rows]
      last = same[-1]
      lines.append([name, *values, tables.DIRECTION.get(last["better"], last["better"]), last["target"]])
    out.append(Table(measure, ["score", *rows, "best", "target"], lines))
  return out


def accuracy_tables(plan: Plan, scores: Sequence[Mapping[str, Any]], results: Any) -> list[Table]:
  """What trainers learn: clean test accuracy under every labelling, then the details of each labelling."""
  groups = list(dict.fromkeys(cell.group for cell in plan.cells))
  if not groups:
    return []
  value = lambda row, group, name: [
    s["value"] for s in scores if (s["row"], s["group"], s["name"]) == (row, group, name)
  ]
  first = next(iter(plan.variants))
  clean = "clean" if "clean" in plan.variants else first
  overview, details = [], []
  for row in plan.variants:
    line = [row]
    for group in groups:
      last, base = value(row, group, "test/accuracy"), value(clean, group, "test/accuracy")
      line += [mean(last), round(float(np.mean(base) - np.mean(last)), 9) if last and base else None]
    overview.append(line)
  columns = ["trained on", *(c for group in groups for c in (group, "drop"))]
  out = [Table("Accuracy on clean test pictures after the last step, and its drop against clean", columns, overview)]
  for group in groups:
    details = [[
      row, mean(value(row, group, "test/accuracy")), mean(best(plan, results, row, group)),
      mean(value(row, group, "train/accuracy")), mean(value(row, group, "test_protected/accuracy")),
      mean(value(row, group, "test_permuted/accuracy")),
    ] for row in plan.variants]
    columns = ["trained on", "test, last", "test, best", "train", "test, protected", "test, permuted"]
    if all(line[-1] is None for line in details):  # the data has no such set
      columns, details = columns[:-1], [line[:-1] for line in details]
    out.append(Table(f"Accuracy under the labelling '{group}'", columns, details))
  return out


def best(plan: Plan, results: Any, row: str, group: str) -> list[float]:
  """The best test accuracy along training, of every seed that kept such a curve."""
  cells = [cell for cell in plan.cells if (cell.row, cell.group) == (row, group)]
  curves = [history(results, cell.made).get("test_accuracy") for cell in cells]
  return [float(np.nanmax(curve)) for curve in curves if curve is not None and np.isfinite(curve).any()]


def history(results: Any, hash: str) -> Mapping[str, np.ndarray]:
  """The curves of a Subject, without reading its parameters."""
  return store.read_history(results.path(hash))


def clusterings(plan: Plan, results: Any) -> Table:
  """What the methods say of themselves: the cost at the end and the steps taken, means over the seeds."""
  lines = []
  for row in dict.fromkeys(cell.row for cell in plan.cells):
    found = [results(cell.made) for cell in plan.cells if cell.row == row]
    said = [[getattr(one, what) for one in found] for what in ("cost", "steps")]
    lines.append([row, *(mean([x for x in values if x is not None]) for values in said)])
  return Table("At the end of clustering", ["method", "cost", "steps"], lines)


def crafted(plan: Plan, results: Any) -> dict[str, list[dict[str, Any]]]:
  """Title of every protection that took steps -> what its log says of them, for those made in this workdir."""
  out = {}
  for stage in plan.stages.values():
    rows = log.read(results.workdir / "logs" / f"protect-{stage.hash}.jsonl") if stage.kind == "protect" else []
    out |= {stage.title.removeprefix("protect "): rows} if rows else {}
  return out


def crafting(plan: Plan, results: Any) -> Table:
  """Whether crafting worked: what was minimised and probed, as it was at the last step."""
  lines = [[row, rows[-1]["step"], *map(rows[-1].get, CRAFTING)] for row, rows in crafted(plan, results).items()]
  some = [i for i, name in enumerate(CRAFTING, 2) if any(line[i] is not None for line in lines)]
  columns = ["protection", "steps", *CRAFTING]
  return Table("Crafting", [columns[i] for i in (0, 1, *some)], [[line[i] for i in (0, 1, *some)] for line in lines])


def like(clean: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Clean pictures at the size of others: a method may publish pictures of another size."""
  shape = (*clean.shape[:1], *other.shape[1:3], clean.shape[-1])
  if clean.shape == shape:
    return clean
  return pictures.to_bytes(np.asarray(jax.image.resize(pictures.to_float(clean), shape, "linear")))


def budgets(plan: Plan, results: Any) -> Table:
  """How far every variant is from the clean pictures it came from, over the rows of `train`, measured on the bytes."""
  from ue_jax.protect import budget

  clean = results(plan.clean)
  rows = np.asarray(clean.sets["train"])
  lines = []
  for name, hash in plan.variants.items():
    after = results(hash).arrays["image"][rows]
    found = budget.audit(like(clean.arrays["image"][rows], after), after)
    changed = found["linf"] > 0.5 / 255
    means = [float(np.mean(found[what][changed])) if changed.any() else None for what in ("l2", "psnr", "ssim")]
    lines.append([name, round(255 * float(found["linf"].max())), *means, int(found["distinct"]), float(changed.mean())])
  columns = ["variant", "largest, levels of 255", "mean L2", "PSNR, dB", "SSIM", "perturbations", "changed"]
  return Table(BUDGET, columns, lines)


def environment() -> dict[str, Any]:
  """Versions, commit and hardware."""
  versions = {**results_file.versions(), "ue_jax": ue_jax.__version__}
  root = pathlib.Path(__file__).resolve().parent.parent
  return {"versions": versions, "commit": results_file.commit(root), "hardware": results_file.hardware()}


def numbers(
  plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]], shown: Sequence[Table] = ()
) -> dict[str, Any]:
  """All figures of a run: `row/labelling/score` -> mean (and spread) over the seeds, and what is no score.

  Args:
    shown: the tables made already; a budget table among them adds `row/levels`, `row/psnr` and `row/ssim`.
  """
  out = means(scores)
  for row, group in dict.fromkeys((cell.row, cell.group) for cell in plan.cells if plan.kind == "protect"):
    if peak := best(plan, results, row, group):
      out[f"{row}/{group}/test/best_accuracy"] = mean(peak)
  if plan.kind == "cluster":
    out |= _named(clusterings(plan, results), {"cost": "cost", "steps": "steps"})
  if plan.variants:
    out |= _named(crafting(plan, results), {name: f"crafting/{name}" for name in CRAFTING})
  names = dict(zip(("largest, levels of 255", "mean L2", "PSNR, dB", "SSIM"), ("levels", "l2", "psnr", "ssim")))
  for table in shown:
    out |= _named(table, names) if table.title == BUDGET else {}
  return out


def _named(table: Table, names: Mapping[str, str]) -> dict[str, Any]:
  """Figures `row/name` of the columns of a table that have a name."""
  found = {(row[0], what): value for row in table.rows for what, value in zip(table.columns, row)}
  return {f"{row}/{names[what]}": value for (row, what), value in found.items() if what in names and _figure(value)}


def _figure(value: Any) -> bool:
  return value is not None and bool(np.isfinite(value).all())


def means(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """`row/labelling/score` -> mean (and spread) over the seeds, of the finite ones."""
  found: dict[str, list[float]] = {}
  for s in scores:
    found.setdefault("/".join(part for part in (s["row"], s["group"], s["name"]) if part), []).append(s["value"])
  return {name: mean(values) for name, values in found.items() if np.isfinite(values).all()}


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


def _page(path, options, plan, results, shown, env, painted, seconds) -> None:
  title = str(options.config.get("title", options.file))
  sections = [page.heading("Result")]
  sections += [page.table(t.columns, t.rows, title=t.title) for t in shown if t.rows]
  sections += _bars(shown) if plan.kind == "protect" else []
  sections += _grids(plan, results)
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


def _grids(plan: Plan, results: Any) -> list[page.Section]:
  """Clean, noise and protected pictures of every variant that changed something."""
  out = []
  if plan.variants:
    clean = results(plan.clean)
    rows = np.asarray(clean.sets["train"])[:SHOWN]
    before = clean.arrays["image"][rows]
    for name, hash in plan.variants.items():
      after = results(hash).arrays["image"][rows]
      if (like(before, after) != after).any():
        grid = figures.protection(like(before, after), after, limit=SHOWN)
        out.append(page.figure(grid, name, f"pictures before and after {name}"))
  return [page.heading("Pictures"), *out] if out else []


def _curves(plan: Plan, results: Any) -> list[page.Section]:
  """The curves that the measured subjects kept: one figure a labelling and curve, one line a row."""
  lines: dict[tuple[str, str], dict[str, Any]] = {}
  for row, rows in crafted(plan, results).items():
    for name in CRAFTING:
      seen = [line for line in rows if line.get(name) is not None]
      if len(seen) > 1:
        curve = ([line["step"] for line in seen], [line[name] for line in seen])
        lines.setdefault((name, "crafting"), {})[row] = curve
  for cell in plan.cells:
    if cell.seed != plan.cells[0].seed or results.path(cell.made).name.startswith("cluster"):
      continue
    found = history(results, cell.made)
    for name, curve in found.items():
      seen = np.isfinite(curve)
      if (name == "loss" or name.endswith("_accuracy")) and seen.any():
        lines.setdefault((name, cell.group), {})[cell.row] = (found["step"][seen], curve[seen])
  out = [
    page.figure(figures.curves(many, ylabel=name, title=group), f"{name} {group}".strip(), f"{name} along training")
    for (name, group), many in lines.items()
  ]
  return [page.heading("Along training"), page.figures(*out)] if out else []

