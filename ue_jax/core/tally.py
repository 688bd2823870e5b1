"""Metric sums: a metric stays (total, weight) until the end, so it adds up over batches and devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Tally(NamedTuple):
  """A running sum: `total` and `weight`, float scalars (or arrays of one shape)."""

  total: jax.Array
  weight: jax.Array


def tally(values: jax.Array, mask: jax.Array | None = None) -> Tally:
  """A Tally of per-item values `[...]` (bool counts as 0/1), leaving out items whose mask is 0."""
  values = values.astype(jnp.float32)
  mask = jnp.ones_like(values) if mask is None else mask.astype(jnp.float32)
  return Tally(jnp.sum(values * mask), jnp.sum(mask))


def add(many: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
  """The sum of several dictionaries of tallies, on the host in float64."""
  out: dict[str, Tally] = {}
  for one in many:
    for name, t in jax.device_get(dict(one)).items():
      total, weight = np.float64(t.total), np.float64(t.weight)
      out[name] = Tally(out[name].total + total, out[name].weight + weight) if name in out else Tally(total, weight)
  return out


def means(tallies: Mapping[str, Tally]) -> dict[str, float]:
  """name -> total / weight; NaN where nothing was seen."""
  return {name: float(t.total / t.weight) if t.weight else float("nan") for name, t in tallies.items()}
