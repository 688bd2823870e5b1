"""Small functions on pytrees that several rooms need."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def path_name(path: tuple) -> str:
  """A leaf's path as `block_0/attn/q`."""
  return "/".join(str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
  """`(name, leaf)` for every leaf, in the tree's own order."""
  return [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def named_map(fn: Callable[[str, Any], Any], tree: Any) -> Any:
  """Maps `fn(name, leaf)` over the tree."""
  return jax.tree_util.tree_map_with_path(lambda path, leaf: fn(path_name(path), leaf), tree)


def mask(tree: Any, pattern: str) -> Any:
  """A tree of bools: True where the regular expression `pattern` is found in the leaf's name."""
  found = re.compile(pattern)
  return named_map(lambda name, _: found.search(name) is not None, tree)


def size(tree: Any) -> int:
  """The number of scalars in the tree."""
  return sum(int(np.prod(jnp.shape(leaf))) for leaf in jax.tree.leaves(tree))


def dot(a: Any, b: Any) -> jax.Array:
  """The inner product of two trees of one structure, float32 scalar."""
  parts = jax.tree.map(lambda x, y: jnp.vdot(x.astype(jnp.float32), y.astype(jnp.float32)), a, b)
  return jax.tree.reduce(jnp.add, parts, jnp.float32(0))


def norm(tree: Any) -> jax.Array:
  """The global Euclidean norm of the tree, float32 scalar."""
  return jnp.sqrt(dot(tree, tree))


def shapes(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
  """name -> (shape, dtype name): what must not change across a step or a restore."""
  return {name: (tuple(jnp.shape(leaf)), str(leaf.dtype)) for name, leaf in named_leaves(tree)}


def sketch(tree: Any) -> dict[str, np.ndarray]:
  """name -> float32 `[10]`: eight numbers of the leaf from first to last, its sum, and that of its absolute values.

  By these, trees are told from one another that are too large to be kept twice; for an empty leaf they are 0.
  """
  named = named_leaves(tree)
  return {name: np.asarray(x) for (name, _), x in zip(named, _sketched([leaf for _, leaf in named]))}


@jax.jit
def _sketched(leaves):
  def one(x):
    x = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x).reshape(-1)
    if x.size == 0:
      return jnp.zeros(10, jnp.float32)
    some, wide = x[np.linspace(0, x.size - 1, 8).astype(np.int64)], x.astype(jnp.float32)
    return jnp.append(some.astype(jnp.float32), jnp.stack([jnp.sum(wide), jnp.sum(jnp.abs(wide))]))

  return [one(x) for x in leaves]


def fingerprint(tree: Any) -> str:
  """sha256 over names, shapes, dtypes and bytes: equal if and only if the trees are bit-equal."""
  digest = hashlib.sha256()
  for name, leaf in named_leaves(tree):
    if jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
