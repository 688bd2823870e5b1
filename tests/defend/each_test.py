import jax
import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.defend import each

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1)).astype(np.uint8)
DATA = Data(
  {"image": IMAGE, "index": np.arange(6, dtype=np.int32) + 10},
  {"train": np.array([0, 2, 3, 5], np.int32), "test": np.array([1, 4], np.int32)},
)
NOISE = lambda key, x: x + jax.random.uniform(key, x.shape) / 2


def test_only_train_is_changed_unless_all_is_asked_for(key):
  some, every = (each.rewrite(key, DATA, NOISE, test=test).arrays["image"] for test in (False, True))
  np.testing.assert_array_equal(some[[1, 4]], IMAGE[[1, 4]])
  np.testing.assert_array_equal(some[[0, 2, 3, 5]], every[[0, 2, 3, 5]])
  assert (every != IMAGE).any((1, 2, 3)).all()


def test_a_picture_draws_by_its_identity_whatever_the_order_and_the_blocks(key):
  whole = each.rewrite(key, DATA, NOISE, test=True).arrays["image"]
  order = np.array([5, 3, 1, 0, 2, 4])
  moved = Data({name: x[order] for name, x in DATA.arrays.items()}, DATA.sets)
  np.testing.assert_array_equal(each.rewrite(key, moved, NOISE, test=True, chunk=4).arrays["image"], whole[order])
  same = Data({**DATA.arrays, "image": np.repeat(IMAGE[:1], 6, 0)}, DATA.sets)
  assert len(np.unique(each.rewrite(key, same, NOISE, test=True).arrays["image"], axis=0)) == 6
