"""Starts of k-medoids: BUILD against a greedy loop, the drawn ones by what they promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import build, dissimilarities

N, K = 40, 12  # one shape for all: one program a start


def greedy(d, k):
  """PAM's BUILD in float64."""
  d = d.astype(np.float64)
  medoids = [int(d.sum(0).argmin())]
  while len(medoids) < k:
    gains = np.maximum(d[:, medoids].min(1)[:, None] - d, 0).sum(0)
    gains[medoids] = -1
    medoids.append(int(gains.argmax()))
  return medoids


@functools.partial(jax.jit, static_argnames=("start", "k"))
def run(d, key, start, k=K):
  ids = jnp.arange(d.shape[0], dtype=jnp.int32)
  return build.STARTS[start](dissimilarities.matrix(d, ids, ids >= 0), k, key)


def matrix(seed, top=50):
  d = np.random.default_rng(seed).integers(1, top, (N, N)).astype(np.float32)
  np.fill_diagonal(d, 0)
  return d


@pytest.mark.parametrize("seed, top", [(0, 50), (1, 50), (2, 3), (3, 2)])
def test_build_is_the_greedy_choice_with_ties_to_the_lower_position(seed, top, key):
  d = matrix(seed, top)
  assert run(d, key, "build").tolist() == greedy(d, K)


def test_build_keeps_gains_that_are_small_beside_the_first(key):
  x = np.concatenate([np.random.default_rng(0).normal(size=30) * 1e-3, 1e4 + np.arange(10) * 1e-2])
  d = np.abs(x[:, None] - x).astype(np.float32)
  assert run(d, key, "build").tolist() == greedy(d, K)


@pytest.mark.parametrize("start", ["lab", "k-means++", "random", "first"])
def test_starts_are_different_points_even_among_duplicates(start, key):
  d = np.zeros((N, N), np.float32)
  for i in range(3):
    picks = run(d, jax.random.fold_in(key, i), start)
    assert len(set(picks.tolist())) == K and int(picks.min()) >= 0 and int(picks.max()) < N


@pytest.mark.parametrize("start", ["lab", "k-means++"])
def test_drawn_starts_find_groups_that_lie_apart(start, key):
  group = np.arange(N) % K
  d = np.where(group[:, None] == group, 1.0, 1000.0).astype(np.float32)
  np.fill_diagonal(d, 0)
  picks = [np.asarray(run(d, jax.random.fold_in(key, i), start)) for i in range(10)]
  assert np.mean([len(set(p % K)) for p in picks]) > 11  # drawn at random: 7.9
  assert len({tuple(p) for p in picks}) > 5
