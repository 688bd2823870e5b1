"""Refusals stand where the answers of a set stood, before its end token."""

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import refused


@pytest.fixture
def asked():
  ids = np.array([[2, 3, 4, 5, 1, 0], [2, 4, 5, 1, 0, 0]], np.int32)
  mask = np.float32([[0, 0, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0]])
  words = ["<pad>", "<eos>", "a", "b", "c", "d", "?"]
  return Data({"ids": ids, "mask": mask, "index": np.arange(2, dtype=np.int32)},
              {"forget": np.array([1], np.int32), "retain": np.array([0, 1], np.int32)}, {"vocabulary": words})


def test_a_refusal_takes_the_place_of_the_answer_in_any_set(asked):
  made = refused.refused(asked, ("?",), "retain")
  assert made["ids"].tolist() == [[2, 3, 4, 6, 1, 0], [2, 6, 1, 0, 0, 0]]
  assert made["mask"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0]]
  assert refused.refused(asked, ("?",))["ids"].tolist() == [[2, 6, 1, 0, 0, 0]]
  assert asked.arrays["ids"][1, 1] == 4, "the data stay as they were"


def test_what_the_data_say_comes_first(asked):
  own = {"refusal": asked.arrays["ids"][::-1].copy(), "refusal_mask": asked.arrays["mask"][::-1] > 0}
  made = refused.refused(asked._replace(arrays={**asked.arrays, **own}), ("no such word",), "forget")
  np.testing.assert_array_equal(made["ids"], asked.arrays["ids"][:1])
  assert made["mask"].dtype == np.float32


@pytest.mark.parametrize("words, said", [(("z",), "measure.refusal = 'z'"), (("?", "?", "?"), "longer"), ((), "words")])
def test_what_cannot_be_said_is_refused(asked, words, said):
  with pytest.raises(Invalid, match=said):
    refused.refused(asked, words, "retain", "measure.refusal")
  with pytest.raises(Invalid, match="use words of the vocabulary"):
    refused.refused(asked._replace(info={"vocabulary": 7}), ("?",))
