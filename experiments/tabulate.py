"""What was measured, read from the artefacts and logs of a run: tables for its reader, and figures by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import store
from experiments.plan import Plan
from ue_jax.core import pictures
from ue_jax.report import tables
from ue_jax.train import log

BUDGET = "Distance from the clean pictures"
TIMES, SHARE = "Time to make it", "of the reference"
CRAFTED = ", as crafted"  # ends the name of a line about noise before it became bytes
HALF = " +-"  # ends the name of a score that is half of the interval of the one so named without it
AT = " @ "  # stands between the name of a curve and where on it a score lies (`silhouette @ 8 clusters`): drawn
OF = ": "  # stands between the title of a table and the request that it is about
AFTER = " + "  # stands between a row and the attack that it suffered
WIDE = 12  # rows of an experiment, each a column of a table: with more, every attack gets tables of its own
MEANS = ("l2", "psnr", "ssim", "clipped")
COLUMNS = (
  "largest, levels of 255", "mean L2", "PSNR, dB", "SSIM", "clipped", "perturbations", "changed"
)  # fmt: skip
CRAFTING = ("loss", "kl", "nll_clean", "nll", "redirect", "redirected")  # what methods that take steps say of them


class Table(NamedTuple):
  """Title, headings and rows, as `report.tables` takes them."""

  title: str
  columns: Sequence[str]
  rows: Sequence[Sequence[Any]]


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
  """One table a measure: a line a score, a column a row of the experiment, then which way is better, and the target.

  With more than `WIDE` rows, what was attacked stands in tables of its own, one an attack.
  """
  wide, parts, out = len({s["row"] for s in scores}) > WIDE, {}, []
  for s in scores:
    row, _, attack = s["row"].partition(AFTER) if wide else (s["row"], "", "")
    place = " / ".join(part for part in (row, s["group"]) if part)
    title = f"{s['measure']}, after {attack}" if attack else s["measure"]
    parts.setdefault(title, []).append({**s, "row": place})
  for title, mine in parts.items():
    rows = list(dict.fromkeys(s["row"] for s in mine))
    lines = []
    for name in dict.fromkeys(s["name"] for s in mine):
      if name.endswith(HALF) or AT in name:  # stands beside the value that it belongs to; is drawn
        continue
      same = [s for s in mine if s["name"] == name]
      values = [mean([s["value"] for s in same if s["row"] == row]) for row in rows]
      values = [_interval(mine, name, row, value) for row, value in zip(rows, values)]
      last = same[-1]
      lines.append([name, *values, tables.DIRECTION.get(last["better"], last["better"]), last["target"]])
    out += [Table(title, ["score", *rows, "best", "target"], lines)] if lines else []
  return out


def _interval(scores: Sequence[Mapping[str, Any]], name: str, row: str, value: Any) -> Any:
  """The value of one run with half of its interval, where the measure gave that, too; else the value."""
  halves = [s["value"] for s in scores if (s["row"], s["name"]) == (row, name + HALF)]
  return (value, halves[0]) if len(halves) == 1 and isinstance(value, float) else value


def score_curves(scores: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
  """The scores called `curve @ 3 units`: (curve, units) -> row -> (x, mean over the seeds); only what is finite."""
  seen: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
  for s in scores:
    name, on, place = s["name"].rpartition(AT)
    if on and np.isfinite(s["value"]):
      x, _, units = place.partition(" ")
      row = " / ".join(part for part in (s["row"], s["group"]) if part)
      seen.setdefault((name, units), {}).setdefault(row, {}).setdefault(float(x), []).append(s["value"])
  line = lambda points: (np.array(sorted(points)), np.array([np.mean(points[x]) for x in sorted(points)]))
  return {curve: {row: line(points) for row, points in rows.items()} for curve, rows in seen.items()}


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
  cells = [cell for cell in plan.cells if "clustering" in cell.scores]  # the others measured the data
  for row in dict.fromkeys(cell.row for cell in cells):
    found = [results(cell.made) for cell in cells if cell.row == row]
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


def times(plan: Plan, results: Any) -> Table:
  """How long every model took to make (RTE): all of it, its steps once compiled, and that over the reference's.

  The second is `compiled_seconds` of the stage's log; a pass over the data before or after the steps is in the first.
  """
  found: dict[str, list] = {}
  for cell in plan.cells:
    stage = plan.stages[cell.made]
    rows = log.read(results.workdir / "logs" / f"{stage.kind}-{stage.hash}.jsonl")
    found.setdefault(cell.row, []).append((store.manifest(results.path(cell.made))["seconds"], compiled_seconds(rows)))
  lines = {row: [None if None in column else mean(column) for column in zip(*seeds)] for row, seeds in found.items()}
  center = lambda row: None if lines.get(row, [None] * 2)[1] is None else float(np.ravel(lines[row][1])[0])
  share = lambda row: None if center(row) is None or not center("reference") else center(row) / center("reference")
  columns = ["model", "all, s", "steps, compiled, s", SHARE]
  return Table(TIMES, columns, [[row, *line, share(row)] for row, line in lines.items()])


def compiled_seconds(rows: Sequence[Mapping[str, Any]]) -> float | None:
  """Of all steps at the pace of the fastest chunk between two lines of a log; None of fewer than two lines.

  The first chunk compiles, and a last one of another length may do so again: the pace of the fastest has neither.
  """
  pairs = [(a, b) for a, b in zip(rows, rows[1:]) if b["step"] > a["step"]]
  paces = [(b["time"] - a["time"]) / (b["step"] - a["step"]) for a, b in pairs]
  return rows[-1]["step"] * min(paces) if paces else None


def like(clean: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Clean pictures at the size of others: a method may publish pictures of another size."""
  shape = (*clean.shape[:1], *other.shape[1:3], clean.shape[-1])
  if clean.shape == shape:
    return clean
  return pictures.to_bytes(np.asarray(jax.image.resize(pictures.to_float(clean), shape, "linear")))


def budgets(plan: Plan, results: Any) -> Table:
  """How far every variant is from the clean pictures it came from, over the rows of `train`, measured on the bytes.

  Below a protection stands what it was as crafted, before it was rounded and cut; not for what is made of bytes.
  Means are over the pictures that changed.
  """
  from ue_jax.protect import budget

  clean = results(plan.clean)
  rows = np.asarray(clean.sets["train"])
  lines = []
  for name, hash in plan.variants.items():
    noun = results(hash)
    after = noun.arrays["image"][rows]
    found = budget.audit(like(clean.arrays["image"][rows], after), after)
    changed = found["linf"] > 0.5 / 255
    means = [float(np.mean(found[what][changed])) if changed.any() else None for what in MEANS]
    lines.append([name, round(255 * float(found["linf"].max())), *means, int(found["distinct"]), float(changed.mean())])
    if plan.stages[hash].kind == "protect" and "crafted" in noun.info:
      lines.append(as_crafted(name, noun.info["crafted"]))
  return Table(BUDGET, ["variant", *COLUMNS], lines)


def as_crafted(name: str, found: Mapping[str, Any]) -> list[Any]:
  """The line of `budgets` below that of a protection, of what `protect.crafted` wrote into its `info`."""
  largest = 255 * found["linf"][2] if found["linf"] else 0
  means = [found[what][1] if found[what] else None for what in MEANS]
  return [name + CRAFTED, round(largest, 3), *means, found["distinct"], found["changed"]]


def numbers(
  plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]], shown: Sequence[Table] = ()
) -> dict[str, Any]:
  """All figures of a run: `row/labelling/score` -> mean (and spread) over the seeds, and what is no score.

  Args:
    shown: the tables made already; a budget table among them adds `row/levels`, `row/psnr` and others, and the same
      of the noise before it became bytes, as `row/crafted/levels`; one of times `row/time_share`, or of a request
    `row/request/time_share`.
  """
  out = means(scores)
  for row, group in dict.fromkeys((cell.row, cell.group) for cell in plan.cells if plan.kind == "protect"):
    if peak := best(plan, results, row, group):
      out[f"{row}/{group}/test/best_accuracy"] = mean(peak)
  if plan.kind == "cluster":
    out |= _named(clusterings(plan, results), {"cost": "cost", "steps": "steps"})
  if plan.variants:
    out |= _named(crafting(plan, results), {name: f"crafting/{name}" for name in CRAFTING})
  names = dict(zip(COLUMNS, ("levels", *MEANS, "perturbations", "changed")))
  for table in shown:
    out |= _named(table, names) if table.title == BUDGET else {}
    title, _, request = table.title.partition(OF)
    out |= _named(table, {SHARE: f"{request}/time_share".strip("/")}) if title == TIMES else {}
  return {name.replace(f"{CRAFTED}/", "/crafted/"): value for name, value in out.items()}


def _named(table: Table, names: Mapping[str, str]) -> dict[str, Any]:
  """Figures `row/name` of the columns of a table that have a name."""
  found = {(row[0], what): value for row in table.rows for what, value in zip(table.columns, row)}
  return {f"{row}/{names[what]}": value for (row, what), value in found.items() if what in names and _figure(value)}


def _figure(value: Any) -> bool:
  return value is not None and bool(np.isfinite(value).all())


def means(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """`row/labelling/score` -> mean (and spread) over the seeds, of the finite ones; see `each`."""
  return {name: mean(values) for name, values in each(scores).items()}


def each(scores: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
  """`row/labelling/score` -> its value with every seed, where all are finite; see `together`."""
  found = together(scores, lambda s: "/".join(part for part in (s["row"], s["group"], s["name"]) if part))
  return {name: values for name, values in found.items() if np.isfinite(values).all()}


def together(
  scores: Sequence[Mapping[str, Any]], named: Callable[[Mapping[str, Any]], Hashable]
) -> dict[Hashable, list[float]]:
  """What `named` calls a score -> its values, in the order of the scores.

  Where two measures share a name (`RA`), the first one's: both together would look like more seeds.
  """
  found: dict[Hashable, list[float]] = {}
  first: dict[Hashable, str] = {}
  for s in scores:
    name = named(s)
    if first.setdefault(name, s["measure"]) == s["measure"]:
      found.setdefault(name, []).append(s["value"])
  return found
