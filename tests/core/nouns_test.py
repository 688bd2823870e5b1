"""The nouns and the check of data where it enters."""

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data, subset


def data(**changes):
  arrays = {
    "image": np.zeros((4, 2, 2, 3), np.uint8), "label": np.arange(4, dtype=np.int32),
    "score": np.zeros((4, 2), np.float32), "index": np.arange(10, 14, dtype=np.int32),
  }  # fmt: skip
  arrays.update(changes.pop("arrays", {}))
  sets = {"train": np.int32([0, 2]), "test": np.int32([3]), **changes.pop("sets", {})}
  return Data({k: v for k, v in arrays.items() if v is not None}, sets)


def test_sound_data_passes_and_is_returned():
  given = data()
  assert check_data(given) is given and given.n == 4


@pytest.mark.parametrize("changes, field", [
  ({"arrays": {"index": None}}, "arrays"),
  ({"arrays": {"label": np.arange(3, dtype=np.int32)}}, r"arrays\[label\]"),
  ({"arrays": {"score": np.float32([[0, 0], [0, np.nan], [0, 0], [0, 0]])}}, r"arrays\[score\].*\[1, 1\]"),
  ({"arrays": {"score": np.full((4, 2), np.inf, np.float32)}}, r"arrays\[score\]"),
  ({"arrays": {"image": np.zeros((4, 2, 2, 3), np.float32)}}, r"arrays\[image\]"),
  ({"arrays": {"image": np.zeros((4, 2, 2, 4), np.uint8)}}, r"arrays\[image\]"),
  ({"arrays": {"image": np.zeros((4, 2, 2), np.uint8)}}, r"arrays\[image\]"),
  ({"sets": {"train": np.int32([])}}, r"sets\[train\]"),
  ({"sets": {"train": np.int32([4])}}, r"sets\[train\]"),
  ({"sets": {"train": np.int32([-1])}}, r"sets\[train\]"),
])  # fmt: skip
def test_what_is_wrong_is_named(changes, field):
  with pytest.raises(Invalid, match=field):
    check_data(data(**changes))


def test_subset_takes_positions_and_not_indices():
  rows = subset(data(), "train")
  assert rows["index"].tolist() == [10, 12] and rows["label"].tolist() == [0, 2]


def test_an_unknown_set_lists_the_known_ones():
  with pytest.raises(Invalid, match="test.*train"):
    subset(data(), "valid")


def test_a_copy_with_another_field_keeps_the_rest():
  given = data()
  changed = given._replace(info={"source": "here"})
  assert changed.n == given.n and changed.info == {"source": "here"} and changed.sets is given.sets
