"""Keys from whole numbers of any size."""

from __future__ import annotations

import jax

WORD = 32


def key(seed: int) -> jax.Array:
  """The key of a seed >= 0: `jax.random.key(seed)` below 2**32, every further 32 bits folded in.

  JAX takes the lowest 32 bits of a seed in silence, so that 5 and 2**40 + 5 are one key: with a secret of more bits
  the rest would be worth nothing.
  """
  low, rest = seed & (2**WORD - 1), seed >> WORD
  found = jax.random.key(low)
  while rest:
    found, rest = jax.random.fold_in(found, rest & (2**WORD - 1)), rest >> WORD
  return found
