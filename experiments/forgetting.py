"""What a run about forgetting shows first: one line a method, and the plane of what is gone and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import tabulate
from experiments.plan import Plan
from experiments.tabulate import AFTER, Table
from ue_jax.audit import derived
from ue_jax.core.nouns import Score
from ue_jax.report import figures, page

COLUMNS = (  # heading, score: what the line of a method says, as far as it was measured
  ("forget, exact", "forget/ex"), ("forget, p", "forget/p"), ("forget", "forget/accuracy"),
  ("direct", "forget_qa/ex"), ("alias", "forget_alias/ex"), ("two facts", "forget_hop2/ex"),
  ("three facts", "forget_hop3/ex"), ("true in context", "forget_context_true/ex"),
  ("retain, exact", "retain/ex"), ("retain", "retain/accuracy"), ("retain, direct", "retain_qa/ex"),
  ("retain, two facts", "retain_hop2/ex"), ("world, exact", "world/ex"),
  ("membership, AUC", "loss/auc"),
)  # fmt: skip
TELLS = {"audit.relearn": "relearn_held"}  # attack -> the set that tells what came back; of all others `forget`
RIGHT = ("ex", "accuracy")  # the shares of right answers that figures are derived of
SINGLE = ("original", "reference")  # rows that are no method: places in the plane
Ways = dict[str, tuple[np.ndarray, np.ndarray]]


def table(plan: Plan, scores: Sequence[Mapping[str, Any]]) -> Table:
  """One line a method: what is gone, what is left, whether members are told, and what each attack brings back.

  Without a line where nothing of that was measured. Where two measures share a name, the first one's.
  """
  rows = list(dict.fromkeys(cell.row for cell in plan.cells if AFTER not in cell.row))
  wanted = [(heading, "", name) for heading, name in COLUMNS]
  for attack, module in attacks(plan).items():
    told = TELLS.get(module, "forget")
    wanted += [(f"after {attack}, {told}, p", attack, f"{told}/p")]
    wanted += [(f"after {attack}, {told}", attack, f"{told}/accuracy")]
  found = tabulate.together(scores, lambda s: (s["row"], s["name"]))
  value = lambda row, attack, name: tabulate.mean(found.get((f"{row}{AFTER}{attack}" if attack else row, name), []))
  columns = {heading: [value(row, attack, name) for row in rows] for heading, attack, name in wanted}
  columns = {heading: values for heading, values in columns.items() if any(x is not None for x in values)}
  lines = [list(line) for line in zip(rows, *columns.values())] if columns else []
  return Table("Forgetting", ["method", *columns], lines)


def kept(plan: Plan, scores: Sequence[Mapping[str, Any]]) -> Table:
  """One line a method: what `audit.derived` says of it, KR of every way of asking, Rec - Rec_r of every attack.

  Of every seed by itself, then the mean. Without a line where there is no original or no reference to count from.
  """
  at = lambda s: (s["seed"], s["row"], s["name"])
  found = {place: Score(values[0], 1, "near", 0.0) for place, values in tabulate.together(scores, at).items()}
  seeds = list(dict.fromkeys(cell.seed for cell in plan.cells))
  rows = [row for row in dict.fromkeys(cell.row for cell in plan.cells) if AFTER not in row and row not in SINGLE]
  asked = [(heading, name) for heading, name in COLUMNS if name.startswith("forget") and name.endswith(RIGHT)]
  wanted = [(f"KR, {heading}", "", name) for heading, name in asked]
  for attack, module in attacks(plan).items():
    told = TELLS.get(module, "forget")
    right = next((f"{told}/{what}" for what in RIGHT if any(name == f"{told}/{what}" for *_, name in found)), "")
    wanted += [(f"Rec - Rec_r, {attack}, {told}", attack, right)]
  columns = {}
  for heading, attack, name in wanted:
    values = [[_derived(found, seed, row, attack, name) for seed in seeds] for row in rows]
    columns[heading] = [None if None in each or not np.isfinite(each).all() else tabulate.mean(each) for each in values]
  columns = {heading: values for heading, values in columns.items() if any(x is not None for x in values)}
  lines = [list(line) for line in zip(rows, *columns.values())] if columns else []
  return Table("Kept and recovered", ["method", *columns], lines)


def _derived(found: Mapping[tuple, Score], seed: int, row: str, attack: str, name: str) -> float | None:
  """KR without an attack, else Rec - Rec_r; None where something was not measured."""
  get = lambda *ends: [found.get((seed, f"{one}{AFTER}{attack}" if hit else one, name)) for one, hit in ends]
  control, full = "reference", "original"
  if not attack:
    three = get((row, False), (control, False), (full, False))
    return None if None in three else derived.retention(*three).value
  mine, other = (get((one, True), (one, False), (full, False)) for one in (row, control))
  if None in (*mine, *other):
    return None
  return derived.beyond(derived.recovery(*mine), derived.recovery(*other)).value


def attacks(plan: Plan) -> dict[str, str]:
  """The name of every attack of an experiment -> its module."""
  attacked = [cell for cell in plan.cells if AFTER in cell.row]
  return {cell.row.partition(AFTER)[2]: plan.stages[cell.made].config["name"] for cell in attacked}


def planes(
  plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], tuple[Ways, dict[str, tuple[float, float]]]]:
  """The ways of the methods that were watched (`train.watch`), of the first seed.

  Returns:
    (score of what is to be forgotten, the same of what is to be kept), as `("forget/p", "retain/p")` -> row -> (x, y)
    along the steps, from the original on; and row -> (x, y) of what is no method.
  """
  seed, out = plan.cells[0].seed, {}
  value = {(s["row"], s["name"]): s["value"] for s in scores if s["seed"] == seed}
  for cell in (cell for cell in plan.cells if cell.seed == seed and AFTER not in cell.row):
    curves = tabulate.history(results, cell.made)
    # the terms of the loss are called `forget` and `retain`, what was watched `forget_p` or `forget_qa_ex`
    for gone in (name for name in curves if name.startswith("forget_") and _kept(name) in curves):
      pair = tuple("/".join(name.rsplit("_", 1)) for name in (gone, _kept(gone)))
      places = {row: tuple(value[row, name] for name in pair) for row in SINGLE if (row, pair[0]) in value}
      way = np.stack([curves[gone], curves[_kept(gone)]])
      way = way[:, np.isfinite(way).all(0)]
      if "original" in places:
        way = np.concatenate([np.reshape(places["original"], (2, 1)), way], axis=1)
      out.setdefault(pair, ({}, places))[0][cell.row] = (way[0], way[1])
  return out


def sections(plan: Plan, results: Any, scores: Sequence[Mapping[str, Any]]) -> list[page.Section]:
  """The planes as figures, under a heading; nothing where no method was watched."""
  out = []
  for (x, y), (ways, places) in planes(plan, results, scores).items():
    drawn = figures.plane(ways, places, f"{x}: to be forgotten", f"{y}: to be kept")
    caption = f"{y} over {x} as unlearning goes on: every curve begins at the original, the large dot is its end"
    out.append(page.figure(drawn, caption, f"one curve a method: {y} over {x} along unlearning"))
  return [page.heading("Forgetting against keeping"), *out] if out else []


def _kept(name: str) -> str:
  """The curve of what is to be kept beside that of what is to be forgotten: `retain_qa_p` to `forget_qa_p`."""
  return name.replace("forget", "retain", 1)
