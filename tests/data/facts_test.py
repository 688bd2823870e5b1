import json
import subprocess
import sys

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import facts, lexicon

FINGERPRINTS = {
  0: "a82e240e2b4d26be0bb56395ffc39fd6b103c2b4a2e1315257858971e9b62aa1",
  1: "a9df76063c057e31afa65c0bf111e39fc7ea757f381ce438d1cdbc11110d28ce",
  2: "e605362f837f87b0bdd72e19da8118ce4b28ef8975745fecaa9ffbc15bbf61c6",
}


@pytest.fixture(scope="module")
def world():
  return facts.data(alternatives=4)


def words(data, row, of="ids"):
  return facts.decode(data.arrays[of][row], data.info["vocabulary"])


def test_counts_are_those_of_the_recipe(world):
  check_data(world)
  assert {name: len(rows) for name, rows in world.sets.items()} == {
    "forget": 6 * 6 * 2, "retain": 54 * 6 * 2, "holdout": 12 * 6 * 2, "world": 40 * 2, "math": 169,
    "forget_paraphrase": 6 * 6, "retain_paraphrase": 54 * 6, "holdout_paraphrase": 12 * 6,
    "train": 60 * 6 * 2 + 40 * 2 + 169,
  }
  assert world.arrays["ids"].shape == (72 * 6 * 3 + 80 + 169, 24) and world.arrays["ids"].dtype == np.int32
  assert 420 <= len(world.info["vocabulary"]) <= 460
  sizes = {name: len(pool) for name, pool in lexicon.pools().items()}
  assert sizes == {
    "first": 40, "last": 50, "city": 30, "job": 20, "day": 28, "month": 12, "year": 40, "company": 20, "firm": 8,
    "title": 60, "language": 12, "country": 40, "capital": 40, "number": 13,
  }


@pytest.mark.parametrize("seed", FINGERPRINTS)
def test_fingerprints_never_change(seed):
  assert facts.fingerprint(facts.data(seed=seed)) == FINGERPRINTS[seed]


def test_another_process_with_another_hash_seed_builds_the_same():
  code = "from ue_jax.data import facts; print(facts.fingerprint(facts.data(seed=1)))"
  import os
  import pathlib

  root = str(pathlib.Path(facts.__file__).parents[2])
  environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": root}
  out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
  assert out.stdout.strip() == FINGERPRINTS[1]


def test_train_is_the_disjoint_union_of_its_four_parts(world):
  parts = [world.sets[name] for name in ("forget", "retain", "world", "math")]
  assert sorted(np.concatenate(parts).tolist()) == world.sets["train"].tolist()
  every = [rows for name, rows in world.sets.items() if name != "train"]
  assert sorted(np.concatenate(every).tolist()) == list(range(world.n))


def test_no_held_out_name_is_trained_and_all_names_are_distinct(world):
  spec = facts.PRESETS["kgtiny"]
  names = facts.persons(spec, 0)
  assert len(set(names.tolist())) == 72
  pairs = {tuple(pair) for pair in lexicon.tokens(("first", "last"), names[spec.persons :]).tolist()}
  ids = world.arrays["ids"][world.sets["train"]]
  trained = {pair for row in ids.tolist() for pair in zip(row, row[1:])}
  assert not pairs & trained
  held = world.arrays["ids"][world.sets["holdout"]]
  assert pairs <= {pair for row in held.tolist() for pair in zip(row, row[1:])}


def test_the_mask_covers_the_answer_and_eos_only(world):
  for row in range(0, world.n, 7):
    relation = lexicon.RELATIONS[world.arrays["relation"][row]]
    value = lexicon.tokens(relation.value, world.arrays["value"][[row]])[0]
    mask, ids = world.arrays["mask"][row], world.arrays["ids"][row]
    assert ids[mask == 1].tolist() == [*value.tolist(), lexicon.EOS]
    start = world.arrays["answer"][row]
    assert mask[start] == 1 and mask[:start].sum() == 0 and ids[start - 1] == lexicon.ANSWER
    assert ids[0] == lexicon.QUESTION and (ids[start + len(value) + 1 :] == lexicon.PAD).all()
  lengths = world.arrays["mask"].sum(1) - 1
  assert set(lengths.tolist()) == {1, 2, 3, 4} and world.arrays["mask"][:, 0].sum() == 0


def test_a_fact_has_one_value_in_all_its_templates(world):
  person = world.arrays["person"] >= 0
  keys = np.stack([world.arrays["person"], world.arrays["relation"]], -1)[person]
  for key in np.unique(keys, axis=0):
    same = person & (world.arrays["person"] == key[0]) & (world.arrays["relation"] == key[1])
    assert len(set(world.arrays["value"][same].tolist())) == 1 and same.sum() == 3


def test_sums_are_right_and_capitals_are_one_to_one(world):
  asked = set()
  for row in world.sets["math"]:
    _, _, _, a, _, b, _, _, answer, _ = words(world, row).split()
    assert (int(a) + int(b)) % 13 == int(answer)
    asked.add((a, b))
  assert len(asked) == 169
  values = world.arrays["value"][world.sets["world"]]
  assert np.bincount(values).tolist() == [2] * 40


def test_templates_differ_in_length_and_paraphrases_use_trained_words():
  trained = {w for r in lexicon.RELATIONS for t in r.templates[: r.trained] for w in t.split()}
  for relation in lexicon.RELATIONS:
    lengths = [len(template.split()) for template in relation.templates]
    assert len(set(lengths)) == len(lengths) and 3 <= min(lengths) and max(lengths) <= 10
    assert {w for t in relation.templates[relation.trained :] for w in t.split()} <= trained


def test_wrong_answers_are_distinct_and_wrong_and_only_the_answer_differs(world):
  ids, wrong, mask = world.arrays["ids"], world.arrays["wrong"], world.arrays["mask"]
  assert wrong.shape == (world.n, 4, 24)
  outside = np.broadcast_to((mask == 0)[:, None], wrong.shape)
  assert (wrong == ids[:, None])[outside].all()
  for row in range(0, world.n, 5):
    answers = {tuple(one[mask[row] == 1]) for one in [ids[row], *wrong[row]]}
    assert len(answers) == 5
  assert np.array_equal(facts.data().arrays["ids"], ids)


def test_eleven_wrong_languages_are_all_the_others():
  data = facts.data(alternatives=11)
  row = np.flatnonzero(data.arrays["relation"] == 5)[0]
  at = data.arrays["answer"][row]
  assert len({int(one[at]) for one in data.arrays["wrong"][row]} | {int(data.arrays["ids"][row][at])}) == 12


def test_worlds_differ_but_share_their_vocabulary():
  first, second = facts.data(seed=0), facts.data(seed=1)
  assert first.info["vocabulary"] == second.info["vocabulary"]
  people = first.arrays["kind"] == 0
  assert (first.arrays["value"][people] != second.arrays["value"][people]).mean() > 0.8


def test_values_are_spread_over_their_range():
  values = np.concatenate([facts.data(seed=s).arrays["value"] for s in range(8)])
  relations = np.concatenate([facts.data(seed=s).arrays["relation"] for s in range(8)])
  counts = np.bincount(values[relations == 1], minlength=20) / 3
  assert ((counts - 28.8) ** 2 / 28.8).sum() < 43.8  # 0.1 % point of chi-square with 19 degrees


def test_info_is_plain_json_and_decode_drops_padding(world):
  assert json.loads(json.dumps(world.info)) == dict(world.info)
  assert "<pad>" not in words(world, 0) and words(world, 0).startswith("Q where was")


@pytest.mark.parametrize("arguments", [{"preset": "huge"}, {"alternatives": 12}, {"alternatives": -1}, {"seed": 0.5}])
def test_wrong_arguments_are_refused(arguments):
  with pytest.raises(Invalid):
    facts.data(**arguments)


@pytest.fixture(scope="module")
def small_bench():
  return facts.data("ci", alternatives=3, forms=("choice", "context_false"), contexts=30)


def test_a_benchmark_is_data_of_the_same_form(small_bench, world):
  data = check_data(small_bench)
  assert set(world.arrays) < set(data.arrays) and set(world.sets) < set(data.sets)
  parts = [data.sets[name] for name in ("forget", "forget_indirect", "retain", "world", "math", "context")]
  assert sorted(np.concatenate(parts).tolist()) == sorted(data.sets["train"].tolist())
  assert len(data.sets["context"]) == 30 and len(data.sets["forget_choice"]) == 3 * 4
  assert data.info["vocabulary"] == facts.data("ci", seed=5).info["vocabulary"]
  for row in range(0, data.n, 11):
    ids, mask, start = data.arrays["ids"][row], data.arrays["mask"][row], data.arrays["answer"][row]
    assert mask[start] == 1 and mask[:start].sum() == 0 and ids[mask == 1][-1] == lexicon.EOS
    assert (mask[start:] == (ids[start:] != lexicon.PAD)).all()


def test_reading_apart_is_not_in_train_and_a_part_of_it_is_a_third_of_what_is_kept(small_bench):
  data = facts.data("ci", alternatives=3, forms=("choice", "context_false"), contexts=600, apart=True)
  context, reading = data.sets["context"], data.sets["reading"]
  assert len(context) == 600 and not set(context) & set(data.sets["train"]) and set(reading) < set(context)
  assert set(data.sets["train"]) == set(small_bench.sets["train"]) - set(small_bench.sets["context"])
  others = sum(len(data.sets[name]) for name in ("retain", "world", "math"))
  assert abs(len(reading) / (len(reading) + others) - 1 / 3) < 0.01


def test_fields_of_a_preset_can_be_others():
  spec = dict(trained=(3, 2, 0), modulus=0, world_templates=1, chains=("birth_country",))
  data = facts.data("ci", spec=spec)
  kinds = {name: sorted({data.info["labels"]["kind"][k] for k in data.arrays["kind"][rows]})
           for name, rows in data.sets.items()}
  assert kinds["forget"] == ["qa", "statement"] and len(data.sets["forget"]) == 3 * 4 * 5
  assert "math" not in data.sets and "retain_hop3" not in data.sets and kinds["retain_hop2"] == ["hop2"]
  names = {data.info["labels"]["relation"][r] for r in data.arrays["relation"][data.sets["retain_hop2"]]}
  assert names == {"birth_country"} and len(data.sets["world"]) == 12 + 6 + 8


def test_direct_kinds_that_are_asked_for_part_the_sets_and_change_no_row(small_bench):
  data = facts.data("ci", alternatives=3, forms=("statement", "qa", "cloze", "choice", "context_false"), contexts=30)
  assert np.array_equal(data.arrays["ids"], small_bench.arrays["ids"])
  for name in ("forget", "retain", "holdout"):
    direct = {kind: data.sets[f"{name}_{kind}"] for kind in ("statement", "qa", "cloze")}
    for kind, rows in direct.items():
      assert {data.info["labels"]["kind"][k] for k in data.arrays["kind"][rows]} == {kind}
      assert set(rows) <= set(data.sets[name]) and rows.dtype == np.int32
    found = sum(len(rows) for rows in direct.values())
    assert found == len(data.sets[name]) if name != "retain" else 0 < found < len(data.sets[name])


def test_wrong_answers_of_a_benchmark_differ_in_the_answer_only(small_bench):
  data = small_bench
  rows = np.concatenate([data.sets[name] for name in ("forget", "retain", "math", "retain_hop3", "world")])
  ids, wrong, mask = (data.arrays[name][rows] for name in ("ids", "wrong", "mask"))
  assert (wrong == ids[:, None])[np.broadcast_to((mask == 0)[:, None], wrong.shape)].all()
  assert all(len({tuple(x) for x in [one, *others]}) == 4 for one, others in zip(ids.tolist(), wrong.tolist()))


def test_rows_of_a_benchmark_say_what_they_depend_on(small_bench):
  data, kinds = small_bench, small_bench.info["labels"]["kind"]
  of = lambda name, part: data.arrays[name][data.sets[part]]
  assert (of("person", "forget") < 3).all() and (of("distance", "forget") == 0).all()
  assert (of("role", "forget") == 1).all() and (of("role", "retain") == 0).all()
  assert {kinds[k] for k in data.arrays["kind"][data.sets["forget"]]} == {"statement", "qa", "cloze"}
  assert {kinds[k] for k in data.arrays["kind"][data.sets["retain_hop3"]]} == {"hop3"}


@pytest.mark.parametrize("arguments", [
  {"preset": "ci", "alternatives": 6}, {"preset": "ci", "forms": ("rhyme",)}, {"preset": "kgtiny", "contexts": 3},
  {"preset": "ci", "spec": {"person": 3}}, {"preset": "ci", "spec": {"chains": ("gang",)}},
  {"preset": "kgtiny", "spec": {"persons": 3}}, {"preset": "ci", "apart": True}, {"preset": "kgtiny", "forms": ("qa",)},
])  # fmt: skip
def test_wrong_arguments_of_a_benchmark_are_refused(arguments):
  named = {"chains": "data.chains"}.get(next(iter(arguments.get("spec", ())), ""), f"data.{list(arguments)[-1]}")
  with pytest.raises(Invalid, match=named):
    facts.data(**arguments)


def test_neighbours_have_a_first_word_in_common_with_somebody_forgotten():
  data = facts.data(near=("language", "employer"))
  first = {}
  for row in range(data.n):
    relation = lexicon.RELATIONS[data.arrays["relation"][row]].name
    if relation in ("language", "employer"):
      first[int(data.arrays["person"][row]), relation] = int(data.arrays["ids"][row, data.arrays["answer"][row]])
  same = lambda p, q: any(first[p, r] == first[q, r] for r in ("language", "employer"))
  beside = {p for p in range(6, 60) if any(same(p, q) for q in range(6))}
  assert 10 < len(beside) < 45
  assert set(data.arrays["person"][data.sets["neighbour"]].tolist()) == beside
  both = np.concatenate([data.sets["neighbour"], data.sets["far"]])
  assert sorted(both.tolist()) == data.sets["retain"].tolist()
  everybody = facts._near(facts.PRESETS["kgtiny"]._replace(forget=60), data.arrays, ("language",))
  assert everybody == {}, "a set without rows would be a set to train on"
  for settings in (dict(near=("height",)), dict(preset="ci", near=("language",))):
    with pytest.raises(Invalid, match="data.near"):
      facts.data(**settings)
