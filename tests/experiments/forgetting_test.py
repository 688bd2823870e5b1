"""The table and the plane of a run about forgetting: every number from where it was measured."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments import forgetting, tabulate
from experiments.plan import Cell, Plan

NAN = np.nan


def experiment():
  """Two seeds, one method, two attacks; the method was watched."""
  rows = {"original": "train", "reference": "method", "npo": "method"}
  rows |= {f"{row} + {attack}": attack for row in ("reference", "npo") for attack in ("relearn", "int4")}
  modules = {"relearn": "audit.relearn", "int4": "audit.quantize"}
  stages = {row: SimpleNamespace(config={"name": modules.get(kind, kind)}) for row, kind in rows.items()}
  cells = tuple(Cell(row, "", seed, row, "data", {}) for seed in (0, 1) for row in rows)
  return Plan("forget", stages, cells, {}, "data")


def score(row, name, value, seed=0):
  return {"row": row, "group": "", "seed": seed, "measure": "utility", "name": name, "value": value, "better": "low",
          "target": 0.0}  # fmt: skip


SCORES = [
  score("original", "forget/ex", 1.0), score("npo", "forget/ex", 0.2), score("npo", "forget/ex", 0.4, seed=1),
  score("npo", "loss/auc", 0.6), score("original", "forget/p", 0.9), score("original", "retain/p", 0.8),
  score("reference", "forget/p", 0.1), score("reference", "retain/p", 0.7),
  score("npo + relearn", "relearn_held/p", 0.5), score("npo + relearn", "forget/p", 0.55),
  score("npo + int4", "forget/p", 0.3), score("npo + int4", "relearn_held/p", 0.35),
]


def test_one_line_a_method_with_what_each_attack_brought_back():
  found = forgetting.table(experiment(), SCORES)
  lines = {line[0]: dict(zip(found.columns[1:], line[1:])) for line in found.rows}
  assert list(lines) == ["original", "reference", "npo"]
  assert lines["npo"]["forget, exact"] == (pytest.approx(0.3), pytest.approx(0.2**0.5 * 0.1**0.5))
  assert lines["npo"]["membership, AUC"] == 0.6 and lines["reference"]["forget, exact"] is None
  assert lines["npo"]["after relearn, relearn_held, p"] == 0.5 and lines["npo"]["after int4, forget, p"] == 0.3
  assert "world, exact" not in found.columns  # nobody measured it
  assert forgetting.table(experiment(), [score("npo", "forget/rouge", 1.0)]).rows == []
  twice = [*SCORES, {**score("npo", "forget/ex", 1.0), "measure": "utility_correct"}]  # under other labels
  assert forgetting.table(experiment(), twice).rows == found.rows


def test_what_is_kept_and_what_comes_back_are_counted_from_the_controls_seed_by_seed():
  plan = experiment()
  shares = {"original": 1.0, "reference": 0.2, "npo": 0.6, "reference + relearn": 0.4, "npo + relearn": 0.8}
  of = lambda seed, **more: [score(row, name, {**shares, **more}[row], seed) for row in shares
                             for name in ("forget/ex", "relearn_held/ex")]  # fmt: skip
  found = forgetting.kept(plan, of(0) + of(1, npo=0.4, **{"npo + relearn": 0.4}))
  assert found.columns == ["method", "KR, forget, exact", "Rec - Rec_r, relearn, relearn_held"]
  ((row, kept, back),) = found.rows
  assert row == "npo" and kept == (pytest.approx((0.5 + 0.25) / 2), pytest.approx(0.25 / 2**0.5))
  assert back[0] == pytest.approx(((0.5 - 0.25) + (0 - 0.25)) / 2)
  for nothing in ([s for s in of(0) + of(1) if s["row"] != "original"], of(0) + of(1, original=0.2)):
    assert forgetting.kept(plan, nothing).rows == []  # nothing to count from, or nothing that was learned


def test_a_way_begins_at_the_original_and_has_what_was_looked_at(monkeypatch):
  curves = {"npo": {"step": np.arange(1, 5), "forget_p": np.array([NAN, 0.5, NAN, 0.2]),
                    "retain_p": np.array([NAN, 0.7, NAN, 0.6]),
                    "forget": np.ones(4), "retain": np.ones(4)}}  # fmt: skip
  monkeypatch.setattr(tabulate, "history", lambda results, made: curves.get(made, {}))
  ((pair, (ways, places)),) = forgetting.planes(experiment(), None, SCORES).items()
  assert pair == ("forget/p", "retain/p") and list(ways) == ["npo"]
  x, y = ways["npo"]
  assert x.tolist() == [0.9, 0.5, 0.2] and y.tolist() == [0.8, 0.7, 0.6]
  assert places == {"original": (0.9, 0.8), "reference": (0.1, 0.7)}
  (_, figure) = forgetting.sections(experiment(), None, SCORES)
  assert "npo" in figure.markup and "reference" in figure.markup and "retain/p: to be kept" in figure.markup


def test_where_nobody_watched_there_is_no_plane(monkeypatch):
  monkeypatch.setattr(tabulate, "history", lambda results, made: {"forget/p": np.ones(2), "loss": np.ones(2)})
  assert forgetting.sections(experiment(), None, SCORES) == []


def test_many_rows_put_what_was_attacked_into_tables_of_its_own():
  rows = [f"m{i}{end}" for i in range(5) for end in ("", " + relearn", " + int4")]
  made = tabulate.score_tables([score(row, "forget/ex", 0.5) for row in rows])
  assert [one.title for one in made] == ["utility", "utility, after relearn", "utility, after int4"]
  assert all(list(one.columns[1:-2]) == [f"m{i}" for i in range(5)] for one in made)
  (few,) = tabulate.score_tables([score(row, "forget/ex", 0.5) for row in rows[:6]])
  assert list(few.columns[1:-2]) == rows[:6]
