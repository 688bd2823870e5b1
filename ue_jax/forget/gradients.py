"""Sums of the gradient of the cross entropy over whole sets, a chunk at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Request
from ue_jax.forget import requests
from ue_jax.train import likelihood


def summed(request: Request, name: str, label: str = "label", chunk: int = 256) -> Any:
  """The sum over the samples of the set `name` of the gradient of their cross entropy, a float32 tree like the params.

  Args:
    request: its subject is looked at in evaluation mode.
    name: of the set.
    label: the labelling.
    chunk: samples at once.
  """
  subject = request.subject
  total = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), subject.params)
  for part in chunks(request, name, label, chunk):
    total = _add(subject.model.apply, total, subject.params, subject.state, part)
  return total


def chunks(request: Request, name: str, label: str = "label", chunk: int = 256) -> Iterator[dict[str, np.ndarray]]:
  """The set `name` in batches of one size: all of it once, the last filled up with padding."""
  m = len(request.data.sets[name])
  size = min(chunk, m)
  for first in range(0, m, size):
    at = np.arange(first, first + size)
    part = requests.rows(request.data, name, np.minimum(at, m - 1), label)
    yield part | {"mask": (at < m).astype(np.float32)}


def nll_sum(apply: Any, params: Any, state: Any, part: Any) -> jax.Array:
  """The cross entropy of a batch, summed over its samples, float32 scalar."""
  return likelihood.nll_term(likelihood.logits(apply, params, state, part), part).total


@functools.partial(jax.jit, static_argnums=0)
def _add(apply, total, params, state, part):
  found = jax.grad(nll_sum, argnums=1)(apply, params, state, part)
  return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), total, found)
