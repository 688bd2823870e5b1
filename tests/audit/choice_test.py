import functools

import numpy as np
import pytest

from ue_jax.audit import choice
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
WORDS = ["<pad>", "<eos>", "a", "b", "c", "d", "x"]


@pytest.fixture
def asked(bigram):
  """Four questions that end in 6, then one whose prompt ends in 2."""
  table = np.zeros((7, 7))
  table[6, 2:6], table[6, 6] = np.log([0.1, 0.6, 0.2, 0.1]), 9  # x itself is likelier than any letter
  ids = np.array([[6, 6, 2, 1], [6, 6, 3, 1], [6, 4, 1, 0], [6, 6, 5, 1], [6, 2, 4, 1]], np.int32)
  mask = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1]], np.float32)
  data = Data({"ids": ids, "mask": mask, "index": np.arange(5)},
              {"retain": np.arange(4), "forget": np.arange(5)}, {"vocabulary": WORDS})
  return Request(bigram(table), data)


def test_only_the_letters_count(asked):
  p, right = choice.probabilities(asked.subject, asked.data, "forget", "abcd", chunk=2)
  assert right.tolist() == [0, 1, 2, 3, 2]
  np.testing.assert_allclose(p, [[0.1, 0.6, 0.2, 0.1]] * 4 + [[0.25] * 4], rtol=1e-5)
  scores = fit(choice.measure(sets=("retain", "forget")), asked)
  assert scores["retain/choice_accuracy"].value == 0.25 and scores["retain/choice_p"].value == pytest.approx(0.25)
  assert scores["forget/choice_accuracy"].value == 0.2  # of equal letters none is chosen
  assert (scores["forget/choice_p"].better, scores["forget/choice_p"].target) == ("low", 0.25)
  assert (scores["retain/choice_p"].better, scores["retain/choice_p"].target) == ("high", 1.0)


def test_letters_may_be_ids_and_the_reference_is_the_aim(asked):
  scores = fit(choice.measure(sets=("forget",), letters=(2, 3, 4, 5)), asked._replace(reference=asked.subject))
  assert scores["forget/choice_p"].better == "near"
  assert scores["forget/choice_p"].target == scores["forget/choice_p"].value


def test_letters_are_read_by_the_tokenizer_of_the_model(asked):
  plain = fit(choice.measure(sets=("forget",), letters="abcd"), asked)
  ids = {" A": [2], " B": [3], " C": [4], " D": [5], " AB": [2, 3]}
  coded = fit(choice.measure(sets=("forget",), letters="ABCD", encode=ids.__getitem__), asked)
  assert coded["forget/choice_p"] == plain["forget/choice_p"]
  with pytest.raises(Invalid, match="'AB': it is 2 tokens"):
    fit(choice.measure(sets=("forget",), letters=("AB", "C"), encode=ids.__getitem__), asked)


@pytest.mark.parametrize("sets, letters, named", [
  (("retain",), ("a", "b"), "measure.sets"), (("retain",), ("a", "b", "c", "z"), "letters"), (("far",), "abcd", "far"),
])  # fmt: skip
def test_other_answers_letters_and_sets_are_refused(asked, sets, letters, named):
  with pytest.raises(Invalid, match=named):
    fit(choice.measure(sets=sets, letters=letters), asked)
