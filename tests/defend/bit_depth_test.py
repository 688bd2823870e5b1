import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.defend import bit_depth


def test_two_bits_leave_four_levels_nearest_to_what_was_there():
  x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  out = np.asarray(bit_depth.transform(jnp.asarray(x), 2))
  assert np.unique(out).tolist() == [0, 85, 170, 255]
  assert np.abs(out.astype(int) - x).max() <= 43


def test_eight_bits_change_nothing_and_bits_may_be_traced():
  x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8))
  np.testing.assert_array_equal(bit_depth.transform(x, 8), x)
  many = jax.vmap(lambda bits: bit_depth.transform(x, bits))(jnp.array([1.0, 2.0, 8.0]))
  for out, bits in zip(many, (1, 2, 8)):
    np.testing.assert_array_equal(out, bit_depth.transform(x, bits))


def test_the_defence_reduces_train_and_test_only_when_asked():
  image = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 3)).astype(np.uint8)
  data = Data({"image": image, "index": np.arange(4, dtype=np.int32)}, {"train": np.arange(2), "test": np.arange(2, 4)})
  for test in (True, False):
    defence = bit_depth.defend(test=test)
    out = defence.finish(defence.init(jax.random.key(0), data), data).arrays["image"]
    assert len(np.unique(out[:2])) == 4
    assert (len(np.unique(out[2:])) == 4) == test
  with pytest.raises(Invalid, match="defend.bits"):
    bit_depth.defend(bits=0)
