import json

import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import questions

FILES = {
  "qa": [{"question": f"Who is {i}?", "answer": f"It is Ana {i}."} for i in range(3)],
  "choice": [{"question": f"Which {i}?", "choices": ["x", "y", "z", "w"], "answer": i} for i in range(3)],
  "query": [{"query": f"Who is {i}?", "answer": f"Ana {i}"} for i in range(3)],
  "continuation": [{"prompt": f"Once upon {i}", "gt": "a time there was"} for i in range(3)],
  "passage": [{"text": " ".join(f"w{j}" for j in range(20))}, {"text": "short one"}],
}


@pytest.fixture
def paths(tmp_path):
  def write(form):
    out = {}
    for name in ("forget", "retain", "holdout"):
      path = tmp_path / f"{name}_{form}.json"
      path.write_text("\n".join(json.dumps(r) for r in FILES[form]))
      out[name] = str(path)
    return out

  return write


def said(data, row):
  ids, mask = data.arrays["ids"][row], data.arrays["mask"][row] > 0
  words = lambda some: " ".join(data.info["vocabulary"][i] for i in some if i > 1)
  return words(ids[~mask]), words(ids[mask])


@pytest.mark.parametrize("form, prompt, answer", [
  ("qa", "Question : Who is 1 ? Answer :", "It is Ana 1 ."), ("query", "Question : Who is 1 ? Answer :", "Ana 1"),
  ("choice", "Which 1 ? A . x B . y C . z D . w Answer :", "B"), ("continuation", "Once upon 1", "a time there was"),
])  # fmt: skip
def test_prompts_and_answers(paths, form, prompt, answer):
  data = check_data(questions.data(**paths(form), form=form))
  assert {name: len(rows) for name, rows in data.sets.items()} == {"forget": 3, "retain": 3, "holdout": 3, "train": 6}
  for name in ("forget", "retain", "holdout"):
    assert said(data, data.sets[name][1]) == (prompt, answer)
    assert data.arrays["item"][data.sets[name]].tolist() == [0, 1, 2]
  assert data.arrays["ids"].shape[1] in (8, 16, 32)


def test_plain_text_is_cut_into_pieces(paths):
  data = questions.data(**paths("passage"), form="passage", length=8)
  rows = data.sets["forget"]
  assert data.arrays["item"][rows].tolist() == [0, 0, 0, 1]
  assert data.arrays["mask"][rows].sum(1).tolist() == [7, 7, 3, 1]
  assert said(data, rows[1]) == ("w8", " ".join(f"w{j}" for j in range(9, 16)))


def test_what_is_asked_may_have_other_forms_and_examples(paths):
  plain, qa, choice = paths("passage"), paths("qa"), paths("choice")
  asked = {"qa": {"form": "qa", "forget": qa["forget"], "retain": qa["retain"], "forget_shots": qa["holdout"]},
           "choice": {"form": "choice", "forget": choice["forget"], "retain": ""}, "none": {"forget": ""}}  # fmt: skip
  data = check_data(questions.data(plain["forget"], plain["retain"], form="passage", length=8, asked=asked))
  assert {name: len(rows) for name, rows in data.sets.items()} == {
    "forget": 4, "retain": 4, "forget_qa": 3, "retain_qa": 3, "forget_choice": 3, "train": 8}  # fmt: skip
  example = " ".join(f"Question : Who is {i} ? Answer : It is Ana {i} ." for i in range(3))
  assert said(data, data.sets["forget_qa"][1]) == (f"{example} Question : Who is 1 ? Answer :", "It is Ana 1 .")
  assert said(data, data.sets["retain_qa"][1]) == ("Question : Who is 1 ? Answer :", "It is Ana 1 .")
  assert said(data, data.sets["forget_choice"][1])[1] == "B"
  assert data.arrays["mask"][data.sets["forget"]].sum(1).tolist() == [7, 7, 3, 1]
  alone = questions.data(plain["forget"], plain["retain"], form="passage", length=8)
  assert "answer" not in alone.arrays and (data.arrays["answer"] == (data.arrays["mask"] > 0).argmax(1)).all()
  with pytest.raises(Invalid, match="data.asked.qa.forget_shots"):
    questions.data(plain["forget"], plain["retain"], form="passage", asked={
      "qa": {"form": "passage", "forget": plain["forget"], "forget_shots": plain["forget"]}})  # fmt: skip


def test_bytes_and_other_tokenisers(paths):
  files = paths("qa")
  data = questions.data(**files, tokens="bytes")
  letters = bytes(int(i) - 2 for i in data.arrays["ids"][0] if i > 1)
  assert letters.decode() == "Question: Who is 0?\nAnswer: It is Ana 0."
  mine = questions.data(files["forget"], files["retain"], encode=lambda s: [9] * len(s.split()), pad=3, eos=4)
  assert set(mine.sets) == {"forget", "retain", "train"} and mine.arrays["ids"][0, -1] == 3


@pytest.mark.parametrize("change, named", [
  ({"form": "lines"}, "data.form"), ({"tokens": "runes"}, "data.tokens"), ({"retain": ""}, "data.retain"),
  ({"forget": "nowhere.json"}, "nowhere.json"), ({"form": "choice"}, "'choices'"), ({"length": 3}, "text.length"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(paths, change, named):
  with pytest.raises(Invalid, match=named):
    questions.data(**{**paths("qa"), **change})
