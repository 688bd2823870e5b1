"""Sums of the gradient of the cross entropy over whole sets, and means of its square, a chunk at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Request
from ue_jax.core.terms import safe
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


def squared(request: Request, name: str, label: str = "label", group: int = 1, chunk: int = 32) -> Any:
  """The mean square of the gradient of the cross entropy over the set `name`, a float32 tree like the params.

  For groups of one it is the diagonal of the empirical Fisher matrix. A larger group is squared as the gradient of its
  mean, and groups count alike; they stand in the order of the set, and the last one may be smaller.

  Args:
    request: its subject is looked at in evaluation mode.
    name: of the set.
    label: the labelling.
    group: samples whose mean gradient is squared, >= 1; all of the set, if that is smaller.
    chunk: samples at once; as many groups as fit have their gradients in memory together, and at least one.
  """
  subject, m = request.subject, len(request.data.sets[name])
  group = min(group, m)
  total = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), subject.params)
  for part in chunks(request, name, label, group * max(min(chunk, m) // group, 1)):
    groups = jax.tree.map(lambda x: x.reshape(-1, group, *x.shape[1:]), part)
    total = _add_squares(subject.model.apply, total, subject.params, subject.state, groups)
  return _over(total, -(-m // group))


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
def _add_squares(apply, total, params, state, groups):
  def one(part):  # of padding alone it is 0
    found = jax.grad(nll_sum, argnums=1)(apply, params, state, part)
    return jax.tree.map(lambda g: jnp.square(g.astype(jnp.float32) / safe(jnp.sum(part["mask"]))), found)

  return jax.tree.map(lambda a, b: a + jnp.sum(b, axis=0), total, jax.vmap(one)(groups))


@jax.jit
def _over(total, count):
  return jax.tree.map(lambda x: x / count, total)


@functools.partial(jax.jit, static_argnums=0)
def _add(apply, total, params, state, part):
  found = jax.grad(nll_sum, argnums=1)(apply, params, state, part)
  return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), total, found)
