"""From configs to stages: what shares a hash, what does not, and what is refused."""

import copy

import pytest

from experiments import early
from experiments.plan import plan
from ue_jax.core.errors import Invalid

PROTECT = {
  "seed": 0, "seeds": (0, 1), "labellings": ("label", "parity"),
  "data": {"name": "data.embedded", "source": "digits"},
  "surrogate": {"model": {"name": "models.mlp"}, "train": {"name": "train.supervised", "label": "loops", "steps": 5}},
  "protect": {"name": "protect.unlearnable_clusters", "k": 3, "eps": 0.1},
  "controls": {"sample": {"name": "protect.noise", "kind": "sample"}},
  "model": {"name": "models.mlp"}, "train": {"name": "train.supervised", "steps": 5},
  "measure": {"utility": {"name": "audit.utility"}},
}
FORGET = {
  "data": {"name": "data.facts"}, "model": {"name": "models.transformer"}, "train": {"name": "train.language"},
  "reference": True, "method": {"name": "forget.npo"}, "attack": {"name": "audit.relearn"},
  "measure": {"utility": {"name": "audit.utility"}, "membership": {"name": "audit.membership"}},
}
CLUSTER = {"data": {"name": "data.embedded"}, "cluster": {"name": "cluster.k_means", "k": 3}}


def changed(config, path, value):
  out = copy.deepcopy(config)
  at = out
  *parts, last = path.split(".")
  for part in parts:
    at = at[part]
  at[last] = value
  return out


def hashes(config, *kinds):
  return {s.hash for s in plan(config).stages.values() if s.kind in kinds}


def test_the_plan_is_a_pure_function_and_every_stage_comes_after_what_it_needs():
  for config in (PROTECT, FORGET, CLUSTER):
    before = copy.deepcopy(config)
    stages = list(plan(config).stages.values())
    assert [s.hash for s in stages] == [s.hash for s in plan(config).stages.values()] and config == before
    for i, stage in enumerate(stages):
      assert set(stage.needs.values()) <= {s.hash for s in stages[:i]}


def test_a_protect_experiment_trains_every_variant_under_every_labelling_and_seed():
  made = plan(PROTECT)
  assert list(made.variants) == ["clean", "sample", "unlearnable_clusters"]
  assert [(c.row, c.group, c.seed) for c in made.cells] == [
    (row, label, seed) for row in made.variants for label in ("label", "parity") for seed in (0, 1)
  ]
  assert len({c.made for c in made.cells}) == 12
  assert sum(s.title.startswith("train surrogate") for s in made.stages.values()) == 1


def test_a_protection_with_a_surrogate_of_its_own_learns_from_that_one_and_the_others_stay_as_they_are():
  uc = {**PROTECT["protect"], "name": "protect.unlearnable_clusters"}
  own = {"data": {"name": "data.embedded", "source": "digits", "channels": 3}, **PROTECT["surrogate"]}
  config = {**PROTECT, "protect": {"uc": uc, "own": {**uc, "surrogate": own}}}
  made, before = plan(config), plan({**PROTECT, "protect": {"uc": uc}})
  assert made.variants["uc"] == before.variants["uc"] != made.variants["own"]
  stage = made.stages[made.variants["own"]]
  assert "surrogate" not in stage.config and stage.needs["data"] == made.clean
  taught = made.stages[stage.needs["surrogate"]]
  assert made.stages[taught.needs["data"]].config == own["data"] and taught.title.startswith("train surrogate of own")
  alone = plan({k: v for k, v in config.items() if k != "surrogate"} | {"protect": {"own": config["protect"]["own"]}})
  assert alone.variants["own"] == made.variants["own"]
  with pytest.raises(Invalid, match="config.protect.surrogate"):
    plan(changed(PROTECT, "protect", {"name": "protect.cuda", "surrogate": own}))


def test_a_protection_that_trains_a_network_of_its_own_is_made_against_that_one_and_the_others_stay_as_they_are():
  made_by, own = {"name": "protect.error_min"}, {"name": "models.cnn", "widths": (4,)}
  before, made = (
    plan({**PROTECT, "protect": rows}) for rows in ({"em": made_by}, {"em": made_by, "own": {**made_by, "model": own}})
  )
  assert made.variants["em"] == before.variants["em"] != made.variants["own"]
  stage, usual = (made.stages[made.variants[row]] for row in ("own", "em"))
  assert stage.parts == {**usual.parts, "model": own} != usual.parts and stage.config == usual.config
  for wrong, field in (({"name": "models.cnn", "width": 4}, "own.model.width"), ({"widths": (4,)}, "own.model")):
    with pytest.raises(Invalid, match=f"config.protect.{field}"):
      plan({**PROTECT, "protect": {"em": made_by, "own": {**made_by, "model": wrong}}})
  with pytest.raises(Invalid, match="config.protect.model"):
    plan(changed(PROTECT, "protect", {"name": "protect.cuda", "model": own}))


def test_what_is_to_be_painted_is_read_at_once_and_no_protection_depends_on_it():
  t2ue = {**PROTECT, "protect": {"name": "protect.t2ue"}}
  before, made = plan(t2ue), plan({**t2ue, "paint": {"name": "data.folder", "path": "DIR"}})
  assert before.variants == made.variants and [c.made for c in before.cells] == [c.made for c in made.cells]
  assert [s.title for s in made.stages.values()][1] == "data to paint"
  assert len(made.stages) == len(before.stages) + 1


def test_thieves_train_by_changed_configs_and_only_the_usual_one_meets_the_defences():
  thieves = {
    "a first one": {"train": {"rate": 0.5}}, "usual": {}, "wide": {"model": {"widths": (8,)}},
    "long": {"train": {"steps": 7}}, "flat": {"model": {"name": "models.mlp"}},
  }  # fmt: skip
  config = {**PROTECT, "seeds": (0,), "thieves": thieves, "defend": {"none": {}, "jpeg": {"name": "defend.jpeg"}}}
  del config["labellings"]
  config["train"] = {**config["train"], "label": "parity"}
  made = plan(config)
  trained = {(c.row, c.group): made.stages[c.made] for c in made.cells}
  order = ["usual", "a first one", "wide", "long", "flat"]
  assert [group for row, group in trained if row == "clean"] == [f"parity / {name}" for name in order]
  assert [group for row, group in trained if row == "clean + jpeg"] == ["parity / usual"]
  of = {name: trained["sample", f"parity / {name}"] for name in thieves}
  assert of["wide"].parts["model"] == {**config["model"], "widths": (8,)} and of["wide"].config == of["usual"].config
  assert of["long"].config == {**of["usual"].config, "steps": 7} and of["long"].parts == of["usual"].parts
  assert of["flat"].parts["model"] == {"name": "models.mlp"}
  everyone = plan({**config, "cross": True})
  assert len([c for c in everyone.cells if c.row == "clean + jpeg"]) == len(thieves)
  with pytest.raises(Invalid, match="config.thieves.odd"):
    plan({**config, "thieves": {"odd": {"steps": 3}}})


def test_a_trainer_is_measured_under_the_labelling_it_was_trained_on():
  fixed = changed(PROTECT, "train.label", "parity")
  with pytest.raises(Invalid, match="config.train.label = 'parity'.*labellings"):
    plan(fixed)
  del fixed["labellings"]
  assert {c.group for c in plan(fixed).cells} == {"parity"}


def test_a_forget_experiment_attacks_the_method_and_the_reference_but_not_the_original():
  rows = [c.row for c in plan(FORGET).cells]
  assert rows == ["original", "reference", "npo", "reference + relearn", "npo + relearn"]
  measured = next(s for s in plan(FORGET).stages.values() if s.kind == "measure")
  assert set(measured.needs) == {"subject", "data", "original", "reference"}


def test_what_was_attacked_is_compared_with_the_reference_under_the_same_attack():
  attacks = {"short": {"name": "audit.relearn", "steps": 5}, "long": {"name": "audit.relearn", "steps": 50}}
  made = plan({**FORGET, "attack": attacks})
  cells = {cell.row: cell for cell in made.cells}
  for row, cell in cells.items():
    attack = row.partition(" + ")[2]
    wanted = cells[f"reference + {attack}" if attack else "reference"].made
    assert {made.stages[hash].needs["reference"] for hash in cell.scores.values()} == {wanted}, row


def test_every_key_is_a_row_of_its_own_for_protections_and_not_for_controls():
  made = plan({**PROTECT, "keys": (3, 4)})
  assert list(made.variants) == ["clean", "sample", "unlearnable_clusters key 3", "unlearnable_clusters key 4"]
  assert [made.stages[hash].seed for hash in list(made.variants.values())[1:]] == [0, 3, 4]
  only = plan({**PROTECT, "keys": (3,)})
  assert only.variants["unlearnable_clusters"] == made.variants["unlearnable_clusters key 3"]
  with pytest.raises(Invalid, match="config.keys"):
    plan({**PROTECT, "keys": (-1,)})


def test_the_number_of_clusters_asked_for_is_handed_to_their_score():
  k = lambda config: [s.parts.get("k") for s in plan(config).stages.values() if s.kind == "score"]
  assert k(CLUSTER) == [3]
  assert k(changed(CLUSTER, "cluster", {"name": "cluster.k_means"})) != [3]


def test_without_a_model_a_measure_of_the_data_is_a_row_of_its_own():
  shots = {f"{n} shots": {"name": "cluster.episodes", "shots": n} for n in (1, 5)}
  alone, beside = plan({"data": CLUSTER["data"], "measure": shots}), plan({**CLUSTER, "measure": shots})
  assert [(c.row, list(c.scores)) for c in alone.cells] == [("1 shots", ["episodes"]), ("5 shots", ["episodes"])]
  assert alone.kind == "measure" and {c.made for c in alone.cells} == {alone.clean}
  assert [c.row for c in beside.cells] == ["k_means", "1 shots", "5 shots"]
  with pytest.raises(Invalid, match="config.train"):
    plan({"data": CLUSTER["data"], "measure": {"name": "audit.utility"}})


def test_changing_a_measure_makes_only_measures_again():
  other = changed(FORGET, "measure.utility.chunk", 64)
  kinds = ("data", "train", "method", "attack")
  assert hashes(FORGET, *kinds) == hashes(other, *kinds)
  assert hashes(FORGET, "measure") != hashes(other, "measure")


@pytest.mark.parametrize("path, value, same, different", [
  ("data.source", "mnist5k", (), ("data", "train", "protect", "measure")),
  ("protect.eps", 0.2, ("data",), ("protect", "train", "measure")),
  ("train.steps", 6, ("data", "protect"), ("train", "measure")),
  ("surrogate.train.steps", 6, ("data",), ("protect",)),
  ("seed", 1, ("data",), ("protect",)),
])
def test_a_change_reaches_its_own_stage_and_all_later_ones(path, value, same, different):
  other = changed(PROTECT, path, value)
  for kind in same:
    assert hashes(PROTECT, kind) == hashes(other, kind)
  for kind in different:
    assert hashes(PROTECT, kind) != hashes(other, kind)


def test_the_reference_may_train_with_other_settings_than_the_original():
  of = lambda config: {s.title: s for s in plan(config).stages.values() if s.kind in ("train", "method")}
  short = changed(FORGET, "reference", {"name": "forget.retrain", "train": {"steps": 7}})
  mine, usual = of(short), of(changed(FORGET, "reference", {"name": "forget.retrain"}))
  control = mine["method reference"]
  assert control.parts["train"] == {"name": "train.language", "steps": 7} and "train" not in control.config
  assert control.hash != usual["method reference"].hash
  assert {t: s.hash for t, s in mine.items() if t != "method reference"} == {
    t: s.hash for t, s in usual.items() if t != "method reference"
  }
  with pytest.raises(Invalid, match="config.reference.train.strides"):
    plan(changed(FORGET, "reference", {"name": "forget.retrain", "train": {"strides": 7}}))


def test_a_second_method_shares_the_original_and_the_reference():
  both = changed(FORGET, "method", {"a": {"name": "forget.npo"}, "b": {"name": "forget.graddiff"}})
  assert hashes(FORGET, "train") == hashes(both, "train")
  assert hashes(FORGET, "method") < hashes(both, "method")


def test_a_method_may_begin_with_a_network_of_its_own():
  own = {"name": "forget.der_plus", "model": {"name": "models.multihead"}}
  config = {
    "data": {"name": "data.tasks"}, "model": {"name": "models.hypernetwork"}, "train": {"name": "train.supervised"},
    "select": {"name": "data.tasks"}, "method": {"uncle": {"name": "forget.uncle"}, "plus": own},
  }
  made = plan(config)
  at = {cell.row: made.stages[cell.made] for cell in made.cells}
  assert at["uncle"].parts["model"] == at["original"].parts["model"] == {"name": "models.hypernetwork"}
  assert at["plus"].parts["model"] == {"name": "models.multihead"} and "model" not in at["plus"].config
  attacked = plan({**config, "attack": {"name": "audit.relearn"}})
  assert [s.parts["model"]["name"] for s in attacked.stages.values() if s.kind == "attack"] == [
    "models.hypernetwork", "models.multihead"
  ]
  other = {cell.row: cell.made for cell in plan(changed(config, "method.plus.model.name", "models.apart")).cells}
  assert other["plus"] != at["plus"].hash and other["uncle"] == at["uncle"].hash
  with pytest.raises(Invalid, match="config.method.plus.model.widt"):
    plan(changed(config, "method.plus.model", {"name": "models.mlp", "widt": 3}))


def test_requests_start_from_one_original_and_each_has_what_it_selects_its_reference_and_its_settings():
  many = {"first": {"name": "forget.graddiff"}, "second": {"name": "forget.retrain", "again": 1}}
  asked = {"tenth": {}, "few": {"select": {"name": "data.splits", "share": 0.01}, "method": {"second": {"again": 2}}}}
  made = plan({**FORGET, "method": many, "requests": asked})
  cells = {(c.group, c.row): c for c in made.cells if c.seed == made.cells[0].seed}
  assert {group for group, _ in cells} == {"tenth", "few"}
  assert cells["tenth", "original"].made == cells["few", "original"].made
  for row in ("reference", "first", "second"):
    assert cells["tenth", row].made != cells["few", row].made
  assert cells["tenth", "original"].data != cells["few", "original"].data
  assert [made.stages[cells[group, "second"].made].config["again"] for group in asked] == [1, 2]
  assert {c.made for c in plan({**FORGET, "method": many}).cells} == {c.made for c in made.cells if c.group == "tenth"}


@pytest.mark.parametrize("asked, field", [
  ({"few": {"data": {}, "train": {"steps": 2}}}, "config.requests.few"),
  ({"few": {"method": {"new": {"beta": 0.1}}}}, "config.requests.few.method.new"),
  ({"few": {"method": {"npo": {"bet": 0.1}}}}, "config.requests.few.method.npo.bet"),
])  # fmt: skip
def test_requests_that_cannot_be_are_named(asked, field):
  with pytest.raises(Invalid, match=rf"{field}\b"):
    plan({**FORGET, "method": {"npo": {"name": "forget.npo"}}, "requests": asked})


def test_changed_files_are_seen():
  assert plan(CLUSTER, lambda stage: "a").clean != plan(CLUSTER, lambda stage: "b").clean


def test_mixtures_follow_their_protection_and_clean_is_compared_at_what_they_leave_of_it():
  made = plan({**PROTECT, "mix": {"ratio": (0.2, 0.5, 1.0)}})
  assert list(made.variants) == [
    "clean", "clean 80 %", "clean 50 %", "sample", "unlearnable_clusters", "unlearnable_clusters 20 %",
    "unlearnable_clusters 50 %",
  ]
  plain = plan(PROTECT)
  assert plain.variants.items() <= made.variants.items(), "the rows without mixtures are the same"
  stage = made.stages[made.variants["unlearnable_clusters 20 %"]]
  assert stage.needs == {"clean": made.clean, "protected": plain.variants["unlearnable_clusters"]}
  assert plan({**PROTECT, "mix": {"ratio": 1.0}}).variants == plain.variants
  defended = plan({**PROTECT, "mix": {"ratio": 0.2}, "defend": {"name": "defend.jpeg"}})
  (defence,) = (s for s in defended.stages.values() if s.title == "defend unlearnable_clusters 20 % + jpeg")
  assert defended.stages[defence.needs["data"]].kind == "mix"


def test_a_mixture_meets_no_other_countermeasure_where_there_is_a_choice_unless_all_meet_all():
  both = {"none": {}, "jpeg": {"name": "defend.jpeg"}}
  config = {**PROTECT, "mix": {"ratio": 0.2}, "defend": both, "thieves": {"usual": {}, "mlp": {"train": {"steps": 3}}}}
  mixed = lambda made: {(c.row, c.group.split(" / ")[1]) for c in made.cells if "%" in c.row}
  rows = ("clean 80 %", "unlearnable_clusters 20 %")
  assert mixed(plan(config)) == {(row, "usual") for row in rows}
  all_rows = [row + end for row in rows for end in ("", " + jpeg")]
  assert mixed(plan({**config, "cross": True})) == {(row, thief) for row in all_rows for thief in ("usual", "mlp")}


@pytest.mark.parametrize("mix, field", [
  ({"ratio": 0}, "config.mix.ratio"), ({"ratio": (0.5, 1.5)}, "config.mix.ratio"), ({"ratio": ()}, "config.mix.ratio"),
  ({"ratio": "half"}, "config.mix.ratio"), ({"ratio": True}, "config.mix.ratio"), ({"seed": 1}, "config.mix.ratio"),
  ({"ratio": 0.5, "ratios": 1}, "config.mix.ratios"), (0.5, "config.mix"),
])
def test_mixtures_that_cannot_be_are_named(mix, field):
  with pytest.raises(Invalid) as error:
    plan({**PROTECT, "mix": mix})
  assert error.value.field == field
  with pytest.raises(Invalid, match="config.mix"):
    plan({**FORGET, "mix": {"ratio": 0.5}})


def test_a_defence_without_a_name_is_none():
  for none in ({"name": ""}, {}, {"name": None}):
    rows = list(plan({**PROTECT, "defend": {"none": none, "jpeg": {"name": "defend.jpeg"}}}).variants)
    assert rows[:2] == ["clean", "clean + jpeg"] and len(rows) == 6


@pytest.mark.parametrize("path, value, field", [
  ("method.name", "forget.nothing", "method.name"),
  ("method.betta", 0.1, "config.method.betta"),
  ("measure.utility.chunck", 1, "config.measure.utility.chunck"),
  ("train.rate", "fast", "config.train.rate"),
  ("train.schedule", 1, "config.train.schedule"),
  ("measure.utility.name", "forget.npo", "measure.name"),
  ("model", {"depth": 2}, "config.model"),
  ("seeds", ("a",), "config.seeds"),
  ("train", {}, "config.train"),
  ("data", {}, "config.data"),
])
def test_what_cannot_be_planned_is_named(path, value, field):
  with pytest.raises(Invalid) as error:
    plan(changed(FORGET, path, value))
  assert error.value.field == field


def test_a_protection_gets_its_surrogate_as_it_was_at_the_steps_it_names():
  net = {"model": {"name": "models.mlp"}, "train": {"name": "train.supervised", "steps": 30}}
  both = {"tap": {"name": "protect.tap"}, "sep": {"name": "protect.tap", "checkpoints": (10, 20)}}
  made = plan({"data": {"name": "data.embedded"}, "surrogate": net, "protect": both})
  tap, sep = (made.stages[made.variants[row]] for row in ("tap", "sep"))
  assert tap.needs["surrogate"] == sep.needs["surrogate"] and set(tap.needs) == {"data", "surrogate"}
  points = [made.stages[hash].config for role, hash in sep.needs.items() if role.startswith("surrogate at")]
  assert points == [{**net["train"], "until": step} for step in (10, 20)]
  for bad in ((10, 10), (0,), ("a",), (40,)):
    with pytest.raises(Invalid, match="checkpoints|until"):
      wrong = {"data": {"name": "data.embedded"}, "surrogate": net, "protect": {**both["sep"], "checkpoints": bad}}
      early.factories(plan(wrong))
  with pytest.raises(Invalid, match="checkpoints.*its training"):
    plan({"data": {"name": "data.embedded"}, "surrogate": {"name": "models.clip", "path": "x"}, "protect": both})


def test_a_measure_that_judges_a_recipe_gets_the_one_that_made_the_row_and_leaves_attacked_rows_out():
  from configs.audit import u_lira

  config = u_lira.get_config("tiny").to_dict()
  config["attack"] = {"relearn": {"name": "audit.relearn", "steps": 1}}
  made = plan(config)
  cells = {cell.row: cell for cell in made.cells}
  parts = {row: made.stages[cell.scores["u_lira"]].parts for row, cell in cells.items() if "u_lira" in cell.scores}
  assert set(parts) == {"original", "reference", "fine_tune", "random_labels"}
  assert "method" not in parts["original"] and parts["reference"]["method"]["name"] == "forget.retrain"
  assert parts["fine_tune"]["method"] == config["method"]["fine_tune"]
  assert all(one["train"] == config["train"] and one["model"] == config["model"] for one in parts.values())
  assert "lira" in cells["fine_tune + relearn"].scores
  plain = made.stages[cells["fine_tune"].scores["unlearning"]].parts
  assert plain.keys() <= {"label"}  # others keep the hashes that they had


def test_requests_without_methods_at_the_top_are_no_training_alone():
  asked = {"few": {"method": {"npo": {"name": "forget.npo"}}}}
  with pytest.raises(Invalid, match="config.requests"):
    plan({**{name: part for name, part in FORGET.items() if name != "method"}, "requests": asked})


def test_every_run_may_draw_its_own_data():
  shared, own = plan({**FORGET, "seeds": (0, 1)}), plan({**FORGET, "seeds": (0, 1), "data_seeds": (0, 7)})
  assert len({cell.data for cell in shared.cells}) == 1
  assert {cell.seed: own.stages[cell.data].config["seed"] for cell in own.cells} == {0: 0, 1: 7}
  for cell in own.cells:
    subject = own.stages[cell.made]
    assert subject.needs["data"] == cell.data and subject.seed == cell.seed
  assert own.stages[own.clean].config["seed"] == 0
  plain = {k: v for k, v in FORGET.items() if k in ("data", "model", "train", "measure")}
  assert len({cell.data for cell in plan({**plain, "seeds": (0, 1), "data_seeds": (3, 4)}).cells}) == 2


@pytest.mark.parametrize(("config", "field"), [
  ({**FORGET, "seeds": (0, 1), "data_seeds": (0,)}, "config.data_seeds"),
  ({**FORGET, "data_seeds": (-1,)}, "config.data_seeds"),
  ({**PROTECT, "data_seeds": (0, 1)}, "config.data_seeds"),
  ({**CLUSTER, "data_seeds": (1,)}, "config.data_seeds"),
  ({**FORGET, "data": {"name": "data.questions"}, "data_seeds": (1,)}, "config.data.seed"),
])  # fmt: skip
def test_data_seeds_that_cannot_be_are_named(config, field):
  with pytest.raises(Invalid) as error:
    plan(config)
  assert error.value.field == field
