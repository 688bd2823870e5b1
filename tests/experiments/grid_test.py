"""Protections by countermeasures: what is whose column, and who is ranked first."""

import numpy as np
import pytest

from configs.protect import grid as protections
from experiments import grid, tabulate
from experiments.plan import Cell, Plan, Stage, plan

ACCURACIES = {  # (row, group) -> seeds
  ("clean", "label / cnn"): (0.9, 0.8), ("clean + jpeg", "label / cnn"): (0.8, 0.8),
  ("clean", "label / mlp"): (0.7, 0.7),
  ("weak", "label / cnn"): (0.1, 0.1), ("weak + jpeg", "label / cnn"): (0.8, 0.6), ("weak", "label / mlp"): (0.2, 0.2),
  ("strong", "label / cnn"): (0.3, 0.3), ("strong + jpeg", "label / cnn"): (0.2, 0.2),
  ("strong", "label / mlp"): (0.1, 0.5),
  ("weak", "label / last"): (0.95, 0.95), ("strong", "label / last"): (0.6, 0.8), ("strong", "label / few"): (0.9, 0.9),
  ("clean 80 %", "label / cnn"): (0.7, 0.7), ("weak 20 %", "label / cnn"): (0.6, 0.6),
  ("strong 20 %", "label / cnn"): (0.99, 0.99),
}  # fmt: skip


@pytest.fixture
def found(monkeypatch):
  made = {"last": {"name": "train.last_layer"}, "few": {"name": "train.supervised", "train_set": "known"}}
  made = {thief: made.get(thief, {"name": "train.supervised"}) for thief in ("cnn", "mlp", *made)}
  stages = {thief: Stage("train", config, {}, {}, 0, thief, "") for thief, config in made.items()}
  cells = [Cell(row, group, seed, group.split(" / ")[1], "", {}) for row, group in ACCURACIES for seed in (0, 1)]
  scores = [
    {"row": row, "group": group, "seed": seed, "name": "test/accuracy", "value": value}
    for (row, group), values in ACCURACIES.items() for seed, value in enumerate(values)
  ]
  best = {("weak", "label / cnn"): [0.5, 0.3]}
  monkeypatch.setattr(tabulate, "best", lambda plan, results, row, group: best.get((row, group), []))
  return grid.grids(Plan("protect", stages, tuple(cells), {}, ""), scores, None)


def test_every_countermeasure_is_a_column_and_the_usual_thief_is_none(found):
  (one,) = found
  assert one.labelling == "label" and one.protections == ("clean", "weak", "strong")
  assert one.countermeasures == ("none", "best step", "jpeg", "mlp", "last", "few", "mix 20 %")
  table = grid.table(one)
  line = dict(zip(table.columns, table.rows[1]))
  assert line["protection"] == "weak" and line["none"] == (pytest.approx(0.1), 0) and line["best step"][0] == 0.4
  assert line["jpeg"][0] == pytest.approx(0.7) and line["mlp"][0] == 0.2
  assert line["mix 20 %"][0] == 0.6 and table.rows[0][-1][0] == 0.7  # beside what the clean part gives alone
  assert table.rows[0][2] is None  # nothing was measured along that training


def test_protections_are_ranked_by_the_strongest_countermeasure_and_not_by_what_holds_without_one(found):
  table = grid.ranking(found[0])
  assert [line[0] for line in table.rows] == ["strong", "weak", "clean"]
  strong, weak, clean = (dict(zip(table.columns, line)) for line in table.rows)
  assert weak["strongest"] == "jpeg" and strong["strongest"] in ("none", "mlp")  # both reach 0.3
  assert weak["worst case"] == pytest.approx(0.7) and weak["clean"] == pytest.approx(0.85)
  assert weak["left"] == pytest.approx(0.15) and strong["left"] == pytest.approx(0.55) and clean["left"] == 0
  assert strong["with known pictures"] == 0.9 and weak["with known pictures"] == 0.95  # however few, they count apart
  assert np.isnan(clean["with known pictures"])


def test_the_page_shows_a_heat_map_and_nothing_where_there_is_no_countermeasure(found):
  assert "heat map" in "".join(map(str, grid.sections(found)))
  cells = (Cell("clean", "label", 0, "a", "", {}),)
  stages = {"a": Stage("train", {"name": "train.supervised"}, {}, {}, 0, "a", "")}
  scores = [{"row": "clean", "group": "label", "seed": 0, "name": "test/accuracy", "value": 0.5}]
  assert grid.grids(Plan("protect", stages, cells, {}, ""), scores, None) == []
  cells += (Cell("clean 20 %", "label", 0, "a", "", {}),)
  scores.append({**scores[0], "row": "clean 20 %"})
  assert grid.grids(Plan("protect", stages, cells, {}, ""), scores, None) == [] and grid.sections([]) == []
  assert np.isnan(found[0].mean("strong", "gray"))


@pytest.mark.parametrize("size", ["tiny", "small", "cifar", "slow", "further", "transfer", "full"])
def test_every_size_of_the_config_is_planned_with_all_its_rows_and_columns(size):
  config = protections.get_config(size).to_dict()
  made = plan(config)
  rows = {"clean", *config["controls"], *config["protect"]}
  defended = {f"{row} + {name}" for row in rows for name, stage in config.get("defend", {}).items() if stage}
  shares = (*config["mix"]["ratio"],) if "mix" in config else ()
  mixed = {f"{row} {100 * share:g} %" for row in config["protect"] for share in shares}
  assert rows | defended | mixed <= set(made.variants)
  assert {cell.group.split(" / ")[1] for cell in made.cells if cell.row == "clean"} == set(config["thieves"])
  assert all(stage["model"]["name"].startswith("models.") for stage in config["thieves"].values() if "model" in stage)


def test_a_purifier_that_learned_clean_pictures_is_ranked_with_those_who_have_some():
  made = plan(protections.get_config("further").to_dict())
  columns = [(grid._place(made, cell.row, cell.group)[2], grid._knows(made, cell)) for cell in made.cells]
  assert {column for column, knows in columns if knows} == {"avatar_known"}
  assert {column for column, _ in columns} == {"none", "avatar", "avatar_known", "rand", "deconvolved"}


def test_thieves_at_the_full_size_keep_the_usual_crops_and_flips():
  thieves = protections.get_config("full").thieves
  for name in ("mixup", "cutmix", "cutout", "trivial", "rand", "ueraser"):
    assert tuple(thieves[name].train.augment[:2]) == ("crop:4", "flip") and len(thieves[name].train.augment) == 3


def test_what_is_made_against_a_network_is_made_against_each_of_three():
  config = protections.get_config("transfer").to_dict()
  made = plan(config)
  by = lambda row: made.stages[made.variants[row]]
  for row in ("clusters", "tap"):
    nets = [made.stages[by(f"{row} by {net}").needs["surrogate"]].parts["model"] for net in ("cnn", "mlp", "resnet")]
    assert [net["name"] for net in nets] == ["models.cnn", "models.mlp", "models.resnet"]
  for row in ("error_min_class", "bayes_error"):
    nets = [by(f"{row} by {net}").parts["model"]["name"] for net in ("cnn", "mlp", "resnet")]
    assert nets == ["models.cnn", "models.mlp", "models.resnet"]
