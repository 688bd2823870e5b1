import json
import os

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import text, tofu

REAL = os.environ.get("UE_JAX_TOFU", "")


def question(kind, i, more=False):
  out = {"question": f"What is {kind} {i}?", "answer": f"It is {kind} answer {i}."}
  if more:
    out |= {"paraphrased_answer": f"{kind} answer {i} it is.", "perturbed_answer": [f"It is wrong {i}.", f"No {i}."]}
  return out


@pytest.fixture
def folder(tmp_path):
  """Three authors retained, one to be forgotten."""
  def write(name, rows):
    (tmp_path / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))

  write("retain90", [question("kept", i) for i in range(60)])
  write("forget10", [question("lost", i) for i in range(20)])
  write("forget10_perturbed", [question("lost", i, True) for i in range(20)])
  write("retain_perturbed", [question("kept", i, True) for i in (3, 45)])
  plain = lambda kind: [{k: v for k, v in question(kind, i, True).items() if k != "paraphrased_answer"} for i in (0, 1)]
  write("real_authors_perturbed", plain("real"))
  write("world_facts_perturbed", plain("world"))
  (tmp_path / "idontknow.jsonl").write_text("I am not sure.\nNo idea.\n")
  return tmp_path


def words(data, ids):
  return " ".join(data.info["vocabulary"][i] for i in ids if i > 1)


def test_rows_and_sets(folder):
  data = check_data(tofu.data(str(folder), holdout=1))
  assert {name: len(rows) for name, rows in data.sets.items()} == {
    "retain": 40, "holdout": 20, "forget": 20, "train": 60, "forget_perturbed": 60, "retain_sample": 1,
    "retain_sample_perturbed": 3, "real_authors": 2, "real_authors_perturbed": 4, "world_facts": 2,
    "world_facts_perturbed": 4,
  }  # fmt: skip
  assert sorted(data.sets["train"]) == sorted([*data.sets["forget"], *data.sets["retain"]])
  person = data.arrays["person"]
  assert [set(person[data.sets[n]].tolist()) for n in ("retain", "holdout", "forget", "world_facts")] == [
    {0, 1}, {2}, {3}, {-1}]  # fmt: skip


def test_spare_authors_are_in_no_set_that_is_read(folder):
  data = tofu.data(str(folder), holdout=1, spare=1)
  person = data.arrays["person"]
  assert [set(person[data.sets[name]].tolist()) for name in ("retain", "holdout", "spare")] == [{0}, {1}, {2}]
  assert set(person[data.sets["train"]].tolist()) == {0, 3} and len(data.sets["retain_sample"]) == 1
  with pytest.raises(Invalid, match="data.spare"):
    tofu.data(str(folder), holdout=1, spare=2)


def test_the_targets_are_the_answer_and_the_end(folder):
  data = tofu.data(str(folder))
  row = data.sets["forget"][7]
  ids, mask = data.arrays["ids"][row], data.arrays["mask"][row]
  assert words(data, ids) == "Question : What is lost 7 ? Answer : It is lost answer 7 ."
  assert words(data, ids[mask > 0]) == "It is lost answer 7 ." and ids[mask > 0][-1] == text.EOS
  assert mask[data.arrays["answer"][row]] == 1 and mask[: data.arrays["answer"][row]].sum() == 0
  assert data.arrays["ids"].shape[1] == 16 and data.info["texts"][60 + 7] == "It is lost answer 7."


def test_variants_belong_to_their_question(folder):
  data = tofu.data(str(folder))
  for row in data.sets["forget_perturbed"]:
    item, variant = data.arrays["item"][row], data.arrays["variant"][row]
    said = words(data, data.arrays["ids"][row][data.arrays["mask"][row] > 0])
    i = item - 60
    assert said == {1: f"lost answer {i} it is .", 2: f"It is wrong {i} .", 3: f"No {i} ."}[variant]
  assert set(data.arrays["variant"][data.sets["world_facts_perturbed"]].tolist()) == {2, 3}
  assert set(data.arrays["item"][data.sets["retain_sample_perturbed"]].tolist()) == {3, 45}
  assert (data.arrays["variant"][data.sets["train"]] == 0).all()


def test_refusals_are_drawn_for_every_question(folder):
  data = tofu.data(str(folder), refusals=True)
  said = {words(data, ids[mask > 0]) for ids, mask in zip(data.arrays["refusal"], data.arrays["refusal_mask"])}
  assert said == {"I am not sure .", "No idea ."}
  assert words(data, data.arrays["refusal"][0]).startswith("Question : What is kept 0 ?")
  assert not np.array_equal(data.arrays["refusal"], tofu.data(str(folder), refusals=True, seed=1).arrays["refusal"])


def test_other_tokenisers(folder):
  data = tofu.data(str(folder), tokens="bytes", perturbed=False)
  ids = data.arrays["ids"][0]
  assert bytes(int(i) - 2 for i in ids if i > 1).decode() == "Question: What is kept 0?\nAnswer: It is kept answer 0."
  mine = tofu.data(str(folder), encode=lambda s: [len(w) + 10 for w in s.split()], perturbed=False, pad=5, eos=7)
  assert mine.info["vocabulary"] == [] and mine.arrays["ids"][0, -1] == 5 and 7 in mine.arrays["ids"][0]


@pytest.mark.parametrize("arguments, named", [
  ({"forget": "forget20"}, "data.forget"), ({"holdout": 3}, "data.holdout"), ({"tokens": "runes"}, "data.tokens"),
  ({"length": 4}, "text.length"), ({"forget": "forget01"}, "retain99.json"),
])  # fmt: skip
def test_wrong_arguments_are_refused(folder, arguments, named):
  with pytest.raises(Invalid, match=named):
    tofu.data(str(folder), **arguments)


def test_files_that_lack_something_are_refused_by_line(folder):
  (folder / "real_authors_perturbed.json").write_text(json.dumps(question("real", 0)))
  with pytest.raises(Invalid, match="real_authors_perturbed.json:1.*perturbed_answer"):
    tofu.data(str(folder))
  with pytest.raises(Invalid, match="data.path"):
    tofu.data("")


@pytest.mark.skipif(not os.path.isdir(REAL), reason="set UE_JAX_TOFU to the folder of the published files")
def test_the_published_files_have_the_published_counts():
  data = tofu.data(REAL, refusals=True)
  sizes = {name: len(rows) for name, rows in data.sets.items()}
  want = {"train": 4000, "forget": 400, "retain": 3600, "retain_sample": 400, "real_authors": 100, "world_facts": 117}
  assert want.items() <= sizes.items() and sizes["forget_perturbed"] == 400 * 6
  rows = data.sets["forget_perturbed"]
  assert np.bincount(data.arrays["item"][rows])[3600:].tolist() == [6] * 400
