"""Every bit of a seed counts."""

import jax
import numpy as np

from ue_jax.core import keys


def words(seed):
  return tuple(np.asarray(jax.random.key_data(keys.key(seed))).tolist())


def test_small_seeds_are_those_of_jax():
  for seed in (0, 5, 2**31, 2**32 - 1):
    assert words(seed) == tuple(np.asarray(jax.random.key_data(jax.random.key(np.uint32(seed)))).tolist())


def test_every_bit_of_a_large_seed_makes_another_key():
  seeds = [0, *(1 << bit for bit in range(0, 128, 7)), 5, 2**40 + 5, 2**40 + 2**32 + 5]
  assert len({words(seed) for seed in seeds}) == len(seeds)
