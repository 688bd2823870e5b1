"""Models of pictures after unlearning, side by side: one table, and drawings for the page of a run.

Where `audit.unlearning` was measured, a run that forgets has a table of methods by scores; and its page shows how far
each is in forgetting, in what remains and in privacy, which classes are taken for which, and where features lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import tabulate
from experiments.partitions import plane
from experiments.plan import Cell, Plan
from experiments.tabulate import Table
from ue_jax.audit.outputs import Outputs, outputs
from ue_jax.core.nouns import Data
from ue_jax.report import page, panels
from ue_jax.train.batches import data_of

COLUMNS = {
  "UA": "UA", "RA": "RA", "TA": "TA", "TFA": "TFA", "MIA": "MIA", "gap": "Avg.Gap", "ToW": "ToW",
  "cka/forget": "CKA, reference", "cka_original/forget": "CKA, original", "relearn_steps": "relearn steps",
}  # fmt: skip
TIME = "time"
SEEN = ("forget", "test")  # sets whose classes are drawn
DRAWN = {"UA": "forget: UA", "TA": "what remains: TA", "MIA": "privacy: MIA"}
CLOSEST = 4  # methods whose features are drawn, beside the original and the reference
POINTS = 600  # retained samples among them


def wanted(plan: Plan, scores: Sequence[Mapping[str, Any]]) -> bool:
  """Whether there is something to compare: a run that forgets pictures, and measured how well."""
  return plan.kind == "forget" and any(s["name"] == "UA" for s in scores)


def table(plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]]) -> Table:
  """A line a model, a column a score: mean and standard deviation over the seeds; after the controls the closest first.

  The last column is the time of the steps, once compiled, over that of training again; `-` for what has too few steps
  to tell, and for a single pass without steps.
  """
  order = list(dict.fromkeys(("original", "reference", *ranked(plan, scores))))
  order = [row for row in order if row in _rows(plan)]
  there = {name: head for name, head in COLUMNS.items() if any(s["name"] == name for s in scores)}
  lines = {row: [tabulate.mean(_values(scores, row, name)) for name in there] for row in order}
  spent = {row: share for row, *_, share in tabulate.times(plan, results).rows}
  lines = [[row, *line, spent[row]] for row, line in lines.items()]
  return Table("Methods side by side, forgotten and retained pictures", ["model", *there.values(), TIME], lines)


def sections(plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]]) -> list[page.Section]:
  """The drawings; nothing where `wanted` is false."""
  if not wanted(plan, scores):
    return []
  alt = "dots of forgetting, what remains and privacy for every model, beside the value of the model trained again"
  note = f"{alt}; from above in the order of their average gap, spread over the seeds"
  out = [page.heading("Forgotten, retained, private"), page.figure(balance(plan, scores), note, alt)]
  cells = [cell for cell in plan.cells if cell.seed == plan.cells[0].seed]
  data = data_of(results(cells[0].data))
  # rows that were asked to forget other samples cannot stand beside the first ones
  cells = [cell for cell in cells if cell.data == cells[0].data]
  said = {cell.row: outputs(results(cell.made), data, (*SEEN, "retain")) for cell in cells}
  return [*out, *_confusions(said, data), *_features(cells, plan, said, data, scores)]


def balance(plan: Plan, scores: Sequence[Mapping[str, Any]], form: str = "svg") -> bytes:
  """UA, TA and MIA of every model as dots, the best average gap above; dashed: the reference."""
  value = lambda row, name: tabulate.mean(_values(scores, row, name))
  columns = {text: {row: value(row, name) for row in ranked(plan, scores)} for name, text in DRAWN.items()}
  aims = {text: float(np.ravel(values["reference"])[0]) for text, values in columns.items() if "reference" in values}
  return panels.strips(columns, aims, form=form)


def ranked(plan: Plan, scores: Sequence[Mapping[str, Any]]) -> list[str]:
  """The rows by their mean average gap, the least first; as they come where there is no reference."""
  gap = {row: _values(scores, row, "gap") for row in _rows(plan)}
  return sorted(gap, key=lambda row: float(np.mean(gap[row])) if gap[row] else 0.0)


def confusion(said: Outputs) -> np.ndarray:
  """Share of the samples of class i that are taken for class j, float64 `[k, k]`; NaN where a class has no sample."""
  k = said.logits.shape[1]
  counts = np.zeros((k, k))
  np.add.at(counts, (said.labels, said.logits.argmax(-1)), 1)
  every = counts.sum(1, keepdims=True)
  return np.where(every > 0, counts / np.maximum(every, 1), np.nan)


def _confusions(said: Mapping[str, Mapping[str, Outputs]], data: Data) -> list[page.Section]:
  names = data.info["labels"]["label"]
  out = [page.heading("Which classes are taken for which", "Before (`original`) and after; first seed.")]
  for at in SEEN:
    drawn = panels.mosaics({row: confusion(one[at]) for row, one in said.items()}, names, "taken for", "label")
    alt = f"confusions of classes on the set {at}, a small map a model: dark on the diagonal is as the labels say"
    out.append(page.figure(drawn, f"On the set `{at}`", alt))
  return out


def _features(cells: Sequence[Cell], plan: Plan, said, data: Data, scores) -> list[page.Section]:
  again = {cell.row for cell in cells if plan.stages[cell.made].config["name"] == "forget.retrain"}
  best = [row for row in ranked(plan, scores) if row not in again | {"original"}][:CLOSEST]
  shown = [row for row in ("original", *best, "reference") if row in said]
  kept = np.linspace(0, len(data.sets["retain"]) - 1, min(POINTS, len(data.sets["retain"]))).astype(int)
  both = lambda get: np.concatenate([get("retain")[kept], get("forget")])
  flat = {row: plane(both(lambda at: said[row][at].inside["features"].astype(np.float64))) for row in shown}  # noqa: B023
  labels = both(lambda at: said[shown[0]][at].labels)
  strong = np.arange(len(labels)) >= len(kept)
  drawn = panels.clouds(flat, labels, strong, data.info["labels"]["label"])
  note = "Two principal components of each model's own features; large with a rim: what was to be forgotten"
  alt = "features of retained and forgotten samples before unlearning, after it, and of the model trained again"
  lead = "Before, after the methods of the least average gap, and trained again; first seed."
  return [page.heading("Where the features lie", lead), page.figure(drawn, note, alt)]


def _rows(plan: Plan) -> list[str]:
  return list(dict.fromkeys(cell.row for cell in plan.cells))


def _values(scores: Sequence[Mapping[str, Any]], row: str, name: str) -> list[float]:
  """Of the seeds; where two measures share a name (`RA`), the first one's."""
  mine = [s for s in scores if s["row"] == row and s["name"] == name]
  return [s["value"] for s in mine if s["measure"] == mine[0]["measure"]]
