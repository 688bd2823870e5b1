import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import blobs


def test_groups_are_balanced_and_have_the_spread_asked_for():
  data = check_data(blobs.data(n=3001, k=3, d=4, spread=0.1))
  x, label = data.arrays["x"], data.arrays["label"]
  assert x.shape == (3001, 4) and x.dtype == np.float32
  assert sorted(np.bincount(label).tolist()) == [1000, 1000, 1001]
  for c in range(3):
    np.testing.assert_allclose(x[label == c].std(0), 0.1, rtol=0.1)


def test_without_spread_all_rows_of_a_group_are_equal():
  data = blobs.data(n=12, k=4, spread=0.0)
  assert len(np.unique(data.arrays["x"], axis=0)) == 4


def test_the_seed_names_the_draw():
  assert np.array_equal(blobs.data().arrays["x"], blobs.data().arrays["x"])
  assert not np.array_equal(blobs.data().arrays["x"], blobs.data(seed=1).arrays["x"])


@pytest.mark.parametrize("arguments", [{"n": 0}, {"k": 0}, {"k": 601}, {"d": 0}, {"spread": -1.0}, {"n": 2.5}])
def test_wrong_arguments_are_refused(arguments):
  with pytest.raises(Invalid):
    blobs.data(**arguments)
