"""Host randomness that never changes: splitmix64 streams, one per named component.

The streams of `numpy.random.Generator` may change between numpy releases. Here every component draws
from its own stream, keyed by (seed, crc32(name)), so that adding a component changes no other, and the
same seed gives the same bits on every platform and in every release.
Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014), figure 17.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
  z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return z ^ (z >> np.uint64(31))


def bits(seed: int, name: str, count: int) -> np.ndarray:
  """The first `count` words of the stream `name`: uint64 `[count]`."""
  start = np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)
  state = _mix(_mix(start + _GAMMA) ^ np.uint64(zlib.crc32(name.encode())))
  return _mix(state + _GAMMA * np.arange(1, count + 1, dtype=np.uint64))


def integers(seed: int, name: str, below: int | np.ndarray, count: int) -> np.ndarray:
  """int64 `[count]`, uniform on 0..below-1; `below` up to 2**32, one number or `[count]` (bias under 2**-32)."""
  words = bits(seed, name, count) >> np.uint64(32)
  return ((words * np.asarray(below, np.uint64)) >> np.uint64(32)).astype(np.int64)


def uniform(seed: int, name: str, count: int) -> np.ndarray:
  """float64 `[count]`, uniform on [0, 1) with 53 random bits."""
  return (bits(seed, name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed: int, name: str, count: int) -> np.ndarray:
  """float64 `[count]`, standard normal (Box and Muller, 1958)."""
  u = uniform(seed, name, 2 * count)
  return np.sqrt(-2 * np.log1p(-u[:count])) * np.cos(2 * np.pi * u[count:])


def permutation(seed: int, name: str, n: int) -> np.ndarray:
  """A uniform permutation of 0..n-1, int32 `[n]` (Fisher and Yates)."""
  picks = integers(seed, name, np.arange(1, n + 1), n).tolist()
  order = list(range(n))
  for i in range(n - 1, 0, -1):
    j = picks[i]
    order[i], order[j] = order[j], order[i]
  return np.asarray(order, np.int32)


@functools.lru_cache(maxsize=16)
def _epoch(seed: int, name: str, n: int, epoch: int) -> np.ndarray:
  order = permutation(seed, f"{name}/{epoch}", n)
  order.setflags(write=False)
  return order


def walk(seed: int, name: str, n: int, size: int, t: int) -> np.ndarray:
  """Batch t of `size` numbers from 0..n-1, int32 `[size]`: epoch after epoch, each in its own order."""
  return cut(lambda epoch: _epoch(seed, name, n, epoch), n, size, t)


def cut(order: Callable[[int], np.ndarray], n: int, size: int, t: int) -> np.ndarray:
  """Batch t `[size]` of epochs laid end to end; `order(epoch)` gives the `n` numbers of an epoch.

  A batch that meets the end of an epoch goes on into the next, so all batches are full; `size` may exceed `n`.
  """
  first, last = t * size, (t + 1) * size
  epochs = range(first // n, (last - 1) // n + 1)
  laid = np.concatenate([order(epoch) for epoch in epochs])
  return laid[first - epochs[0] * n : last - epochs[0] * n]
