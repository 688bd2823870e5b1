"""Nearest neighbours vote: what class a frozen representation puts a sample among."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.pieces import pieces


def predict(
  bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int = 5, classes: int = 0, chunk: int = 1024
) -> np.ndarray:
  """The class that most of the k nearest rows of the bank have, int32 `[q]`; of equally many the smallest.

  Near is a large cosine. `k` and `chunk` are capped by what there is.

  Args:
    bank: float `[n, d]`.
    labels: int `[n]`, >= 0.
    queries: float `[q, d]`.
    k: neighbours that vote.
    classes: how many there are; 0: the largest label and one.
    chunk: queries compared at once: `[chunk, n]` similarities are held.

  Raises:
    Invalid: for no neighbour, an empty bank, unlike widths, or values that are not finite.
  """
  require(k >= 1, "measure.k", k, "give at least 1")
  fits = len(bank) == len(labels) > 0 and bank.shape[1:] == queries.shape[1:]
  require(fits, "features", (bank.shape, queries.shape), "give a bank [n, d] with n labels and queries [q, d]")
  require(bool(np.isfinite(bank).all() and np.isfinite(queries).all()), "features", "not finite", "check the model")
  classes = classes or int(labels.max()) + 1
  known, marks = _unit(bank), jnp.asarray(labels, jnp.int32)
  found = []
  for at in pieces(len(queries), chunk):
    found.append(np.asarray(_vote(known, marks, _unit(queries[at]), min(k, len(bank)), classes)))
  return np.concatenate([*found, np.zeros(0, np.int32)])[: len(queries)].astype(np.int32)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _vote(bank: jax.Array, labels: jax.Array, queries: jax.Array, k: int, classes: int) -> jax.Array:
  near = jnp.matmul(queries, bank.T, precision=jax.lax.Precision.HIGHEST)
  _, at = jax.lax.top_k(near, k)
  return jnp.argmax(jnp.sum(jax.nn.one_hot(labels[at], classes, dtype=jnp.int32), axis=1), axis=-1)


def _unit(x: np.ndarray) -> jax.Array:
  x = np.asarray(x, np.float64)
  return jnp.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30), jnp.float32)
