"""RandAugment: its ranges beside the published ones, how many operations, and how strong."""

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import augment, rand_augment, trivial

PUBLISHED = {"shear_x": 0.3, "translate_y": 150 / 331, "rotate": 30, "brightness": 0.9, "posterize": 4, "solarize": 1}
WIDE = {"shear_x": 0.99, "translate_y": 1, "rotate": 135, "brightness": 0.99, "posterize": 6, "solarize": 1}
PICTURES = np.random.default_rng(0).random((64, 6, 6, 3), np.float32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_ranges_are_the_published_ones(name):
  assert name in trivial.OPERATIONS
  np.testing.assert_allclose(rand_augment.RANGES.get(name, 1) * WIDE[name], PUBLISHED[name], rtol=1e-6)
  assert set(rand_augment.RANGES) <= set(trivial.OPERATIONS)


def test_strength_and_number_of_operations_change_more(key):
  far = {}
  for operations in (0, 1, 2):
    change = jax.jit(lambda strength, n=operations: rand_augment.rand(strength, n)(key, PICTURES, None)[0])
    far[operations] = [(np.asarray(change(s)) != PICTURES).any((1, 2, 3)).mean() for s in (0.0, 30.0)]
    out = np.asarray(change(30.0))
    assert out.min() >= 0 and out.max() <= 1
  assert far[0] == [0, 0] and far[1][0] < far[1][1] and far[2][1] > 0.9 > far[1][0]
  kinds = len(trivial.OPERATIONS)
  assert abs(far[1][1] - (kinds - 1) / kinds) < 0.1, "all but identity"


def test_it_has_a_name_and_a_strength_from_outside(key):
  (plain, targets), (named, _) = (
    jax.jit(augment.build([name]))(key, PICTURES, np.eye(64, dtype=np.float32)) for name in ("rand", "rand:9")
  )
  np.testing.assert_array_equal(plain, named)
  np.testing.assert_array_equal(targets, np.eye(64))
  with pytest.raises(Invalid, match="strength"):
    augment.build(["rand:31"])
