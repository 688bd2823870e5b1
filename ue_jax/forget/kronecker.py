"""A Fisher matrix by layers, each the Kronecker product of two small matrices.

Source: Martens and Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015, for
the form. The factors are those of Gupta, Koren and Singer, "Shampoo", ICML 2018, which need gradients alone, whatever
the layer is. With G the gradient of a leaf for one sample and one label, seen as a matrix `[rows, columns]`,

  F = E(G G^T) (x) E(G^T G) / E |G|^2

which is exact where the outer products of the inputs of a layer and of the gradients at its outputs are independent,
and for vectors, which are one row. Between leaves there is nothing. A factor of n rows takes n^2 numbers and its
eigenvectors about n^3 operations: of a convolution of 3x3 over 512 channels n is 4608.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LEAST = 1e-12  # of the trace of a leaf through which nothing flows


class Factors(NamedTuple):
  """Of one leaf, float32: `rows` `[r, r]`, the mean of G G^T, and `columns` `[c, c]`, the mean of G^T G."""

  rows: jax.Array
  columns: jax.Array


class Eigen(NamedTuple):
  """Eigenvectors of both factors, `left` `[r, r]` and `right` `[c, c]`, and `values` `[r, c]`: the eigenvalues of F."""

  left: jax.Array
  right: jax.Array
  values: jax.Array


def matrix(x: jax.Array) -> jax.Array:
  """A leaf as a matrix: its last axis are the columns; a vector or a number is one row."""
  return x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)


def empty(x: jax.Array) -> Factors:
  """Factors of 0 for a leaf like `x`."""
  rows, columns = jax.eval_shape(matrix, x).shape
  return Factors(jnp.zeros((rows, rows)), jnp.zeros((columns, columns)))


def factors(weights: jax.Array, slopes: jax.Array) -> Factors:
  """The sum over k of weights `[k]` times the products of slopes `[k, *leaf]`."""
  g = jax.vmap(matrix)(slopes.astype(jnp.float32))
  both = lambda form: jnp.einsum(form, weights, g, g)
  return Factors(both("k,kir,kjr->ij"), both("k,kri,krj->ij"))


def eigen(of: Factors) -> Eigen:
  """The eigenvalues and eigenvectors of F."""
  (a, left), (b, right) = jnp.linalg.eigh(of.rows), jnp.linalg.eigh(of.columns)
  product = jnp.outer(jnp.maximum(a, 0), jnp.maximum(b, 0))
  return Eigen(left, right, product / jnp.maximum(jnp.trace(of.rows), LEAST))


def inside(basis: Eigen, x: jax.Array) -> jax.Array:
  """The coordinates `[r, c]` of a leaf along the eigenvectors."""
  return basis.left.T @ matrix(x.astype(jnp.float32)) @ basis.right


def outside(basis: Eigen, coordinates: jax.Array, like: Any) -> jax.Array:
  """The leaf of these coordinates, of the shape and dtype of `like`."""
  return (basis.left @ coordinates @ basis.right.T).reshape(like.shape).astype(like.dtype)
