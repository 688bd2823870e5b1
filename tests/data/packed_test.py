import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import packed


def sequences(n=40, t=12, seed=0):
  """Ragged sequences whose first target is anywhere behind the first token."""
  rng = np.random.default_rng(seed)
  ends = rng.integers(2, t + 1, n)
  first = np.array([rng.integers(1, end) for end in ends])
  at = np.arange(t)
  return rng.integers(1, 9, (n, t)), ((at >= first[:, None]) & (at < ends[:, None])).astype(np.float32), ends


def test_every_sequence_stands_whole_in_one_segment_with_its_targets():
  ids, mask, ends = sequences()
  made = packed.pack(ids, mask, 16)
  for i, end in enumerate(ends):
    here = made["row"][i], slice(made["start"][i], made["start"][i] + end)
    np.testing.assert_array_equal(made["ids"][here], ids[i, :end])
    np.testing.assert_array_equal(made["mask"][here], mask[i, :end])
    segment = made["segment"][here]
    assert len(set(segment)) == 1 and segment[0] > 0
    assert (made["segment"][here[0]] == segment[0]).sum() == end
  assert made["mask"].sum() == mask.sum() and (made["segment"] > 0).sum() == ends.sum()
  assert (made["mask"][made["segment"] == 0] == 0).all()


def test_rows_are_nearly_as_few_as_there_can_be():
  ids, mask, ends = sequences(n=400)
  rows = len(packed.pack(ids, mask, 24)["ids"])
  assert -(-ends.sum() // 24) <= rows <= 1.03 * -(-ends.sum() // 24)
  assert packed.places(np.array([3, 5, 2, 6]), 8)[0].tolist() == [1, 1, 0, 0]  # 6 with 2, 5 with 3


def test_a_first_token_is_never_a_target_and_long_sequences_are_refused():
  made = packed.pack(np.ones((2, 3), int), np.ones((2, 3)), 6)
  assert made["mask"].tolist() == [[0, 1, 1, 0, 1, 1]]
  with pytest.raises(Invalid, match="train.pack = 2"):
    packed.pack(np.ones((2, 3), int), np.ones((2, 3)), 2)
