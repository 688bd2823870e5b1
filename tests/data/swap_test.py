import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.data import swap


def request(rows=90):
  label = np.arange(rows, dtype=np.int32) % 3
  data = Data({"label": label, "index": np.arange(rows, dtype=np.int32)}, {"train": np.arange(60, dtype=np.int32)})
  return Request(None, data)


@pytest.mark.parametrize("share, others", [(0.0, 0), (0.25, 5), (1.0, 20)])
def test_a_share_of_the_class_gives_way_to_others_and_stays_in_what_is_kept(share, others):
  asked = request()
  data = swap.swapped(asked, (1,), share)
  label, forget, retain = data.arrays["label"], data.sets["forget"], data.sets["retain"]
  assert len(forget) == 20 and np.sum(label[forget] != 1) == others
  assert np.sum(label[retain] == 1) == others
  assert sorted([*forget, *retain]) == list(range(60)) and forget.dtype == np.int32


def test_the_same_seed_names_the_same_rows_and_another_seed_others():
  first, again, other = (swap.swapped(request(), (0,), 0.5, seed=s).sets["forget"] for s in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)


def test_a_share_out_of_range_is_refused():
  with pytest.raises(Invalid, match="share"):
    swap.select(share=1.5)
  with pytest.raises(Invalid, match="class"):
    swap.swapped(request(), (7,), 0.5)
