import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.data import noisy

CLEAN = np.arange(3000, dtype=np.int32) % 5


def few():
  sets = {"train": np.arange(2000, dtype=np.int32), "test": np.arange(2000, 3000, dtype=np.int32)}
  arrays = {"label": CLEAN.copy(), "parity": CLEAN % 2, "index": np.arange(3000, dtype=np.int32)}
  return Data(arrays, sets, {"labels": {"label": list("abcde"), "parity": ["even", "odd"]}})


def test_the_share_is_moved_to_the_other_classes_alike_and_nothing_else_changes():
  given = few()
  data = noisy.labels(given, 0.4)
  moved = np.flatnonzero(data.arrays["label"] != CLEAN)
  np.testing.assert_array_equal(moved, data.sets["noisy"])
  assert len(moved) == 800 and moved.max() < 2000  # every moved row has another label, none of the test set
  np.testing.assert_array_equal(given.arrays["label"], CLEAN)
  assert data.arrays["parity"] is given.arrays["parity"] and data.arrays["label"].dtype == np.int32
  np.testing.assert_array_equal(data.arrays["correct_label"], CLEAN)
  assert data.info["labels"]["correct_label"] == list("abcde") and "correct_label" not in given.info["labels"]
  steps = np.bincount((data.arrays["label"] - CLEAN)[moved] % 5, minlength=5)
  assert steps[0] == 0 and np.all(np.abs(steps[1:] - 200) < 60)  # 4.9 standard deviations


def test_a_seed_names_the_rows_and_share_0_is_no_noise():
  one, same, other = (noisy.labels(few(), 0.1, seed).arrays["label"] for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert (one != other).any()
  given = few()
  assert noisy.labels(given, 0) is given


def test_some_classes_alone_get_wrong_labels_that_are_those_of_any_other_class():
  data = noisy.labels(few(), 0.6, 2, classes=(0, 3))
  moved = np.flatnonzero(data.arrays["label"] != CLEAN)
  np.testing.assert_array_equal(moved, data.sets["noisy"])
  assert np.bincount(CLEAN[moved], minlength=5).tolist() == [240, 0, 0, 240, 0]  # of 400 each
  assert set(data.arrays["label"][moved][CLEAN[moved] == 3]) == {0, 1, 2, 4}  # the last class, too
  assert (noisy.labels(few(), 0.6, 3, classes=(0, 3)).sets["noisy"] != data.sets["noisy"]).any()


@pytest.mark.parametrize("asked, said", [
  (dict(share=0.6, classes=(0, 5)), r"data.noise_classes = \[0, 5\]: .* \[5\] have none"),
  (dict(share=0.001, classes=(0,)), "data.noise = 0.001: give a share of 400 rows"),
  (dict(share=0, classes=(0,)), r"data.noise_classes = \[0\]: give the share"),
  (dict(share=0.1, label="nose"), "data.noise = 0.1: give data with the labelling 'nose'"),
])
def test_noise_that_cannot_be_laid_is_refused(asked, said):
  with pytest.raises(Invalid, match=said):
    noisy.labels(few(), **asked)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1e-6])
def test_shares_out_of_range_are_refused(share):
  with pytest.raises(Invalid, match="data.noise"):
    noisy.labels(few(), share)
