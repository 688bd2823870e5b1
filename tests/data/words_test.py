"""Texts as word ids, by a vocabulary or by hashes, that refuse what they cannot hold; captions by templates."""

import zlib

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import captions, words


def test_templates_of_ones_own_describe_classes_in_turn_and_wrong_ones_are_named():
  image, index = np.zeros((5, 8, 8, 3), np.uint8), np.arange(5, dtype=np.int32)
  label = np.array([1, 0, 1, 1, 0], np.int32)
  data = Data({"image": image, "index": index, "label": label}, {"train": index}, {"labels": {"label": ["a", "b_c"]}})
  own = words.describe(data, templates=("digit {}.", "the no {}"))
  assert own.info["labels"]["caption"] == ["digit a.", "the no a", "digit b c.", "the no b c"]
  assert own.arrays["caption"].tolist() == [2, 1, 2, 3, 0]
  for wrong in (("digit",), ("{} {}",), (), "digit {}", (3,)):
    with pytest.raises(Invalid, match="data.templates.*one {} each"):
      words.describe(data, templates=wrong)


def test_hashed_words_need_no_vocabulary_and_are_the_same_in_every_text():
  ids = words.encode(["red disc", "disc of Zürich, red"], 4096)
  assert ids.shape == (2, 4) and ids[0, 0] == ids[1, 3] and ids[0, 1] == ids[1, 0] and (ids[0, 2:] == 0).all()
  assert ids[0, 0] == 1 + zlib.crc32(b"red") % 4095 and len(set(ids[1])) == 4
  assert set(words.encode([f"w{i}" for i in range(50)], 3).ravel()) == {1, 2}
  with pytest.raises(Invalid, match="data.buckets"):
    words.encode(["red"], 1)
  data = captions.data(n=100, test=4, size=16, buckets=4096)
  assert data.info["vocabulary"] == 4096 and len(np.unique(data.arrays["ids"])) == 14  # no two words of it meet
  plain = captions.data(n=100, test=4, size=16)
  known = plain.info["vocabulary"]
  table = np.array([0] + [words.hashed(word, 4096) for word in known[1:]])
  assert np.array_equal(data.arrays["ids"], table[plain.arrays["ids"]])


def test_there_are_18_templates_and_the_first_is_a_photo_of_a():
  assert len(set(words.TEMPLATES)) == 18 and words.TEMPLATES[0] == "a photo of a {}."
  assert "a photo of the small {}." in words.TEMPLATES


@pytest.mark.parametrize("text, word", [("", "at least one"), ("...", "at least one"), ("red red red red", "shorten"),
                                        ("red pentagon", "vocabulary")])  # fmt: skip
def test_empty_long_and_unknown_captions_are_refused(text, word):
  with pytest.raises(Invalid, match=word):
    words.encode([text], ["<pad>", "red"], length=3)
