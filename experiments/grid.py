"""Protections against countermeasures: one table, one heat map and a ranking by the strongest countermeasure.

A countermeasure is what a thief does about protected pictures: a defence before training (`defend`), another way of
training or another network (`thieves`), or to stop where the clean test accuracy was best (`best step`; an upper bound,
for a thief cannot look at it). Columns `mix 50 %` are no countermeasure and count in no ranking: only that share of the
pictures was protected, and the row `clean` says what the other part gives alone. A protection does active harm only
where its mixture is below that.

Countermeasures by somebody who has clean pictures with labels (a set `known`) are ranked apart: against those few
protected pictures are worth little anyway, whatever the protection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments import tabulate, variants
from experiments.check import argument
from experiments.plan import Cell, Plan
from experiments.tabulate import Table
from experiments.variants import DEFENDED
from ue_jax.report import figures, page

NONE, BEST, ACCURACY, CLEAN = "none", "best step", "test/accuracy", "clean"
KNOWN = "known"  # the set of clean pictures that a thief may have
MIX = "mix "  # begins the name of a column of mixtures


class Grid(NamedTuple):
  """Clean test accuracies under one labelling: (protection, countermeasure) -> the values of the seeds.

  `known` are the countermeasures by somebody who has clean pictures.
  """

  labelling: str
  protections: tuple[str, ...]
  countermeasures: tuple[str, ...]
  values: Mapping[tuple[str, str], Sequence[float]]
  known: frozenset[str] = frozenset()

  def mean(self, protection: str, countermeasure: str) -> float:
    """The mean over the seeds; NaN where nothing was measured."""
    found = self.values.get((protection, countermeasure), ())
    return float(np.mean(found)) if len(found) else float("nan")


def grids(plan: Plan, scores: Sequence[Mapping[str, Any]], results: Any) -> list[Grid]:
  """A Grid for each labelling; none if there is no countermeasure at all: mixtures are none."""
  found: dict[str, dict[tuple[str, str], list[float]]] = {}
  for s in scores:
    if s["name"] == ACCURACY and plan.kind == "protect":
      labelling, protection, countermeasure = _place(plan, s["row"], s["group"])
      found.setdefault(labelling, {}).setdefault((protection, countermeasure), []).append(s["value"])
  known = set()
  for cell in plan.cells if found else ():
    labelling, protection, countermeasure = _place(plan, cell.row, cell.group)
    if _knows(plan, cell):
      known.add(countermeasure)
    if countermeasure == NONE:
      if best := tabulate.best(plan, results, cell.row, cell.group):
        found[labelling][protection, BEST] = best
  answers = {c for values in found.values() for _, c in values if c not in (NONE, BEST) and not c.startswith(MIX)}
  return [_grid(labelling, values, frozenset(known)) for labelling, values in found.items()] if answers else []


def _knows(plan: Plan, cell: Cell) -> bool:
  """Whether the thief of a cell trains on the set `known`, too, or a defence of his does."""
  stage, found = plan.stages[cell.made].config, plan.stages.get(cell.data)
  trained = [argument("train", stage, name) for name in ("known_set", "train_set")]
  defended = [argument("defend", found.config, "train_set")] if found and found.kind == "defend" else []
  return KNOWN in (*trained, *defended)


def _place(plan: Plan, row: str, group: str) -> tuple[str, str, str]:
  """(labelling, protection, countermeasure) of a cell; the thief that comes first is the usual one."""
  labelling, _, thief = group.partition(" / ")
  usual = plan.cells[0].group.partition(" / ")[2]
  protection, share, defence = variants.parts(row)
  if share:  # what stays clean is compared with what it leaves clean
    share = f"{MIX}{100 - float(share) if protection == CLEAN else float(share):g} %"
  parts = [part for part in (share, defence, "" if thief == usual else thief) if part]
  return labelling, protection, DEFENDED.join(parts) or NONE


def _grid(labelling: str, values: Mapping[tuple[str, str], list[float]], known: frozenset[str]) -> Grid:
  protections = tuple(dict.fromkeys(protection for protection, _ in values))
  seen = dict.fromkeys(countermeasure for _, countermeasure in values)
  order = [name for name in (NONE, BEST) if name in seen]
  mixed = [name for name in seen if name.startswith(MIX)]
  answers = [name for name in seen if name not in (*order, *mixed)]
  return Grid(labelling, protections, (*order, *answers, *mixed), values, known)


def table(grid: Grid) -> Table:
  """A line a protection, a column a countermeasure."""
  value = lambda p, c: tabulate.mean(grid.values.get((p, c), ()))
  lines = [[p, *(value(p, c) for c in grid.countermeasures)] for p in grid.protections]
  title = f"Clean test accuracy under the labelling '{grid.labelling}': protection by countermeasure"
  return Table(title, ["protection", *grid.countermeasures], lines)


def ranking(grid: Grid) -> Table:
  """The protections by what is left of them under the countermeasure that is strongest against each.

  `worst case` is the best accuracy that a thief reaches by any one countermeasure without clean pictures; `clean` the
  best that the same choice gives on clean pictures; `left` their difference: what the protection still takes, whatever
  the thief does. `with known pictures` is the best that somebody reaches who has some.
  """
  clean = _strongest(grid, CLEAN)[1] if CLEAN in grid.protections else float("nan")
  lines = []
  for protection in grid.protections:
    name, worst = _strongest(grid, protection)
    with_known = [_strongest(grid, protection, known=True)[1]] if grid.known else []
    lines.append([protection, grid.mean(protection, NONE), name, worst, clean, clean - worst, *with_known])
  lines.sort(key=lambda line: line[3])
  columns = ["protection", "no countermeasure", "strongest", "worst case", "clean", "left"]
  columns += ["with known pictures"] if grid.known else []
  return Table(f"Protections by their worst case under the labelling '{grid.labelling}'", columns, lines)


def _strongest(grid: Grid, protection: str, known: bool = False) -> tuple[str, float]:
  names = [c for c in grid.countermeasures if not c.startswith(MIX) and (c in grid.known) == known]
  means = {c: value for c in names if np.isfinite(value := grid.mean(protection, c))}
  name = max(means, key=means.get, default="")
  return name, means.get(name, float("nan"))


def sections(found: Sequence[Grid]) -> list[page.Section]:
  """A heat map for each labelling, the protections in the order of their worst case."""
  out = []
  for grid in found:
    order = [line[0] for line in ranking(grid).rows]
    values = np.array([[grid.mean(p, c) for c in grid.countermeasures] for p in order])
    drawn = figures.heat(values, order, grid.countermeasures, "countermeasure", "protection")
    alt = "heat map of the table of protections and countermeasures; dark is where a thief learns most"
    out.append(page.figure(drawn, f"Clean test accuracy, labelling '{grid.labelling}'", alt))
  return [page.heading("Protections against countermeasures"), *out] if out else []
