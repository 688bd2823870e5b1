"""Facts in the words of a pretrained model: the same questions, sets and answers, by another tokeniser."""

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import bench, facts, text

FORMS = ("choice", "context_true", "verbatim")


def letters(said):
  return [3 + byte for byte in said.encode()]


def read(ids):
  return bytes(int(i) - 3 for i in ids if i > 2).decode()


@pytest.fixture(scope="module")
def pair():
  asked = dict(preset="ci", alternatives=2, forms=FORMS, contexts=5)
  return facts.data(**asked), facts.data(**asked, encode=letters, pad=2, eos=1)


def test_rows_and_sets_are_those_of_the_words_and_texts_are_polished(pair):
  plain, made = pair
  assert plain.n == made.n and all((plain.sets[name] == made.sets[name]).all() for name in plain.sets | made.sets)
  assert made.info["vocabulary"] == [] and (made.info["pad"], made.info["eos"]) == (2, 1)
  world = bench.build("ci")
  rows = made.arrays["probe"][made.arrays["probe"] >= 0]
  wanted = world.render(rows, letters, pad=2, eos=1)
  n, width = wanted["ids"].shape
  np.testing.assert_array_equal(made.arrays["ids"][:n, :width], wanted["ids"])
  np.testing.assert_array_equal(made.arrays["mask"][:n, :width], wanted["m"])
  np.testing.assert_array_equal(made.arrays["answer"][:n], wanted["ans_pos"])
  told = read(made.arrays["ids"][made.sets["context"][0]])
  assert told.startswith("Context: ") and "\nQuestion: " in told and "\nAnswer: " in told


def test_wrong_answers_follow_the_same_prompt_and_have_lengths_of_their_own(pair):
  made = pair[1].arrays
  assert made["wrong"].shape == made["wrong_mask"].shape == (*made["ids"].shape[:1], 2, made["ids"].shape[1])
  lengths = set()
  for i in pair[1].sets["forget"][:40].tolist():
    at = made["answer"][i]
    right = read(made["ids"][i, at:])
    for ids, mask in zip(made["wrong"][i], made["wrong_mask"][i]):
      assert (ids[:at] == made["ids"][i, :at]).all() and mask[:at].sum() == 0 and mask[at] == 1
      other = read(ids[mask > 0])
      assert other != right and other.startswith(" ") and ids[mask > 0][-1] == 1
      lengths.add(len(other) - len(right))
  assert len(lengths) > 1


def test_the_small_testbed_can_be_said_too():
  made = facts.data(encode=letters, pad=2, eos=1, refusal="I do not know.")
  first = read(made.arrays["ids"][made.sets["forget"][0]])
  assert first.startswith("Question: Where was ") and " born?\nAnswer: " in first
  sums = {read(made.arrays["ids"][i]) for i in made.sets["math"]}
  assert "Question: What is 5 plus 9?\nAnswer: 1" in sums
  assert text.PAD not in made.arrays["ids"]
  row = made.sets["forget"][0]
  ids, mask, at = (made.arrays[name][row] for name in ("refusal", "refusal_mask", "answer"))
  assert read(ids[:at]) == first[: first.index("Answer:") + 7] and read(ids[mask > 0]) == " I do not know."
  with pytest.raises(Invalid, match="data.refusal"):
    facts.data(refusal="?")
