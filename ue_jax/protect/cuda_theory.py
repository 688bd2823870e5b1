"""The Gaussian model in which CUDA is analysed, in closed form (Sadasivan et al., CVPR 2023, section 4).

Clean data N(y mu, I), y = +-1. CUDA multiplies class y by A_y, the tridiagonal Toeplitz matrix with 1 on the diagonal
and a_y beside it, a_y in [0, 0.5]. The sine transform Q diagonalises every A_y, so all is done in its coordinates.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require


class Accuracies(NamedTuple):
  """`clean`: of the CUDA rule on clean data; `cuda`: of the same rule on CUDA data; `bayes`: of the clean rule."""

  clean: jax.Array
  cuda: jax.Array
  bayes: jax.Array


def filter_matrix(d: int, a: float) -> np.ndarray:
  """A_y, float64 `[d, d]`: 1 on the diagonal, a on both neighbours."""
  return np.eye(d) + a * (np.eye(d, k=1) + np.eye(d, k=-1))


def basis(d: int) -> np.ndarray:
  """Q, float64 `[d, d]`, symmetric and orthogonal: Q_ij = sqrt(2 / (d + 1)) sin(i j pi / (d + 1)), i, j from 1."""
  i = np.arange(1, d + 1)
  return np.sqrt(2 / (d + 1)) * np.sin(np.outer(i, i) * np.pi / (d + 1))


def eigenvalues(d: int, a, xp=np):
  """D_ii = 1 + 2 a cos(i pi / (d + 1)), `[d]`, so that Q D Q = A."""
  cosine = np.cos(np.arange(1, d + 1) * np.pi / (d + 1))
  return 1 + 2 * a * xp.asarray(cosine, xp.float32 if xp is jnp else xp.float64)


def score(z: jax.Array, mu: jax.Array, a_minus, a_plus) -> jax.Array:
  """Bayes' quadratic score x'Ax + b'x + c of CUDA data, `[n]`; the rule is its sign.

  Args:
    z: rows Q x, float32 `[n, d]`.
    mu: Q mu, `[d]`.
    a_minus, a_plus: off-diagonals of the two classes; may be traced.
  """
  d = z.shape[-1]
  minus, plus = eigenvalues(d, a_minus, jnp), eigenvalues(d, a_plus, jnp)
  quadratic = minus**-2 - plus**-2
  linear = 2 * (1 / minus + 1 / plus) * mu
  constant = 2 * jnp.sum(jnp.log(minus) - jnp.log(plus))
  return jnp.sum((quadratic * z + linear) * z, axis=-1) + constant


def simulate(key: jax.Array, d: int, norm, a_minus, a_plus, n: int = 20_000) -> Accuracies:
  """Accuracies in [0, 1] on n drawn samples, for mu proportional to ones with |mu| = norm (may be traced).

  Raises:
    Invalid: for off-diagonals outside [0, 0.5], where A_y need not be positive definite.
  """
  for name, a in (("a_minus", a_minus), ("a_plus", a_plus)):
    if isinstance(a, (int, float)):
      require(0 <= a <= 0.5, f"cuda_theory.{name}", a, "give a number in [0, 0.5]")
  key_label, key_noise = jax.random.split(key)
  mu = jnp.asarray(basis(d).sum(1) / np.sqrt(d), jnp.float32) * norm
  positive = jax.random.bernoulli(key_label, 0.5, (n,))
  # the noise is isotropic, so it may be drawn in the coordinates of Q
  z = jnp.where(positive[:, None], mu, -mu) + jax.random.normal(key_noise, (n, d), jnp.float32)
  scale = jnp.where(positive[:, None], eigenvalues(d, a_plus, jnp), eigenvalues(d, a_minus, jnp))
  right = lambda rows: jnp.mean(((score(rows, mu, a_minus, a_plus) > 0) == positive).astype(jnp.float32))
  return Accuracies(right(z), right(scale * z), jax.scipy.stats.norm.cdf(jnp.asarray(norm, jnp.float32)))


@functools.partial(jax.jit, static_argnames=("d", "n"))
def contour(key: jax.Array, norm, a_minus: jax.Array, a_plus: jax.Array, d: int = 100, n: int = 1000) -> Accuracies:
  """`simulate` on a grid: off-diagonals `[p]` and `[q]` -> accuracies `[p, q]`, the figure of the paper."""
  one = lambda minus, plus: simulate(key, d, norm, minus, plus, n)
  return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(a_minus, a_plus)
