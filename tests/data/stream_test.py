import numpy as np
import pytest

from ue_jax.data import stream

MASK = (1 << 64) - 1


def splitmix(state, count):
  """The generator in Python's own integers."""
  out = []
  for _ in range(count):
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    out.append(z ^ (z >> 31))
  return out


def test_bits_are_splitmix64_keyed_by_seed_and_name():
  import zlib

  start = splitmix(7, 1)[0] ^ zlib.crc32(b"a")
  state = ((start ^ (start >> 30)) * 0xBF58476D1CE4E5B9) & MASK
  state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
  state ^= state >> 31
  assert stream.bits(7, "a", 5).tolist() == splitmix(state, 5)


def test_splitmix64_oracle_has_the_published_first_value():
  assert splitmix(1234567, 2) == [6457827717110365317, 3203168211198807973]


def test_streams_differ_by_name_and_seed_and_a_longer_draw_keeps_its_beginning():
  assert not np.array_equal(stream.bits(0, "a", 4), stream.bits(0, "b", 4))
  assert not np.array_equal(stream.bits(0, "a", 4), stream.bits(1, "a", 4))
  assert np.array_equal(stream.bits(0, "a", 4), stream.bits(0, "a", 9)[:4])
  assert len(stream.bits(-1, "a", 2)) == 2


def test_integers_are_uniform():
  draws = stream.integers(0, "n", 7, 70_000)
  expected = 10_000
  chi = ((np.bincount(draws, minlength=7) - expected) ** 2 / expected).sum()
  assert draws.min() == 0 and draws.max() == 6 and chi < 22.5  # the 0.1 % point of chi-square with 6 degrees


def test_normal_has_mean_zero_and_variance_one():
  draws = stream.normal(0, "n", 40_000)
  assert abs(draws.mean()) < 0.02 and abs(draws.std() - 1) < 0.02 and abs((draws > 1).mean() - 0.1587) < 0.01


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_permutation_holds_each_number_once(n):
  assert sorted(stream.permutation(3, "p", n).tolist()) == list(range(n))


def test_permutations_of_three_are_equally_frequent():
  seen = [tuple(stream.permutation(seed, "p", 3).tolist()) for seed in range(1200)]
  counts = np.array([seen.count(one) for one in set(seen)])
  assert len(counts) == 6 and ((counts - 200) ** 2 / 200).sum() < 20.5


def test_walk_sees_all_once_an_epoch_and_wraps_into_the_next():
  flat = np.concatenate([stream.walk(0, "w", 5, 3, t) for t in range(10)])
  assert len(flat) == 30
  epochs = flat.reshape(6, 5)
  assert all(sorted(epoch) == list(range(5)) for epoch in epochs.tolist())
  assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_walk_fills_a_batch_larger_than_an_epoch():
  assert np.bincount(stream.walk(0, "w", 3, 7, 0)).tolist() in ([3, 2, 2], [2, 3, 2], [2, 2, 3])
