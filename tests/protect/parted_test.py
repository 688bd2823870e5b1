"""Parts cover everything, and large ones can be shared by devices."""

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.protect import parted


def test_large_parts_are_multiples_of_eight_and_cover_everything():
  assert [parted.size(*x) for x in ((11, 10), (630, 10), (1250, 10), (50000, 98))] == [2, 63, 128, 512]
  assert all(parted.size(n, parts) * parts >= n for n in (1, 63, 1000, 12345) for parts in (1, 3, 10))


def test_test_pictures_come_last_and_once():
  sets = {"train": np.array([4, 2, 0], np.int32), "test": np.array([1, 2, 3], np.int32)}
  data = Data({"image": np.zeros((5, 2, 2, 1), np.uint8), "index": np.arange(5, dtype=np.int32)}, sets, {})
  assert parted.rows(data, True).tolist() == [4, 2, 0, 1, 3] and parted.rows(data, False).tolist() == [4, 2, 0]
