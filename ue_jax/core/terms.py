"""Contract two: what is minimised is a set of named Terms, each a sum and how much it summed.

Ragged masks are why: the mean over devices of per-device means is not the mean over tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Term(NamedTuple):
  """One part of a loss, before any normalisation.

  Attributes:
    total: float scalar, the sum over what this device sees.
    weight: float scalar, how much it saw (samples or tokens); never a mean, never trained.
    scale: float scalar, the term's coefficient in the loss; may be traced, may be negative.
  """

  total: jax.Array
  weight: jax.Array
  scale: jax.Array | float = 1.0


# (params, state, frozen, batch, key) -> (terms, new model state)
Objective = Callable[[Any, Any, Any, Any, jax.Array], tuple[Mapping[str, Term], Any]]


def mean_term(values: jax.Array, mask: jax.Array | None = None, scale: jax.Array | float = 1.0) -> Term:
  """A Term from per-item values `[...]` and an optional 0/1 mask of the same shape."""
  mask = jnp.ones_like(values) if mask is None else mask.astype(values.dtype)
  return Term(jnp.sum(values * mask), jnp.sum(mask), scale)


def combine(terms: Mapping[str, Term], allsum: Callable = lambda x: x) -> jax.Array:
  """The loss: sum over terms of `scale * total / allsum(weight)`.

  Under data parallelism each device holds its own `total`, so the sum of the returned value (and of
  its gradient) over devices is the global one. A term that saw nothing anywhere counts as zero.
  """
  parts = [t.scale * t.total / safe(jax.lax.stop_gradient(allsum(t.weight))) for t in terms.values()]
  return jnp.sum(jnp.stack(parts))


def safe(weight: jax.Array) -> jax.Array:
  """The weight, or 1 where it is zero, so that an empty sum divides to zero and not to NaN."""
  return jnp.where(weight == 0, jnp.ones_like(weight), weight)
