import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.cluster import clara, fasterpam, medoids
from ue_jax.core.errors import Invalid


@pytest.fixture(scope="module")
def rows():
  r = np.random.default_rng(0)
  return (r.normal(size=(8, 1, 3)) * 6 + r.normal(size=(8, 40, 3))).reshape(320, 3).astype(np.float32)


def cost(x, chosen):
  return np.linalg.norm(x[:, None].astype(np.float64) - x[np.asarray(chosen)], axis=-1).min(1).sum()


def test_samples_reach_a_cost_near_that_of_all_points(rows, key):
  found = clara.fit(rows, 8, key=key, size=60)
  np.testing.assert_allclose(found.cost, cost(rows, found.medoids), rtol=1e-4)
  assert len(set(found.medoids.tolist())) == 8 and bool(found.converged) and int(found.steps) >= 5
  groups = rows.reshape(8, 40, 3)
  within = [np.linalg.norm(g[:, None] - g, axis=-1).sum(0).argmin() + 40 * i for i, g in enumerate(groups)]
  assert float(found.cost) < 1.08 * cost(rows, within)
  drawn = np.mean([cost(rows, np.random.default_rng(i).choice(320, 8, False)) for i in range(20)])
  assert float(found.cost) < 0.7 * drawn
  again = clara.fit(rows, 8, key=key, size=60)
  np.testing.assert_array_equal(again.medoids, found.medoids)
  other = clara.fit(rows, 8, key=jax.random.fold_in(key, 1), size=60)
  assert set(other.medoids.tolist()) != set(found.medoids.tolist())


def test_random_candidates_with_enough_patience_end_where_no_swap_gains(rows, key):
  x = rows[::4]
  found = clara.clarans(x, 4, key=key, patience=2.0, restarts=1)
  np.testing.assert_allclose(found.cost, cost(x, found.medoids), rtol=1e-4)
  chosen = found.medoids.tolist()
  swaps = [chosen[:m] + [j] + chosen[m + 1 :] for m in range(4) for j in range(80) if j not in chosen]
  assert min(cost(x, swap) for swap in swaps) >= cost(x, chosen) * (1 - 1e-5)


def test_given_distances_stand_for_rows_and_need_not_be_symmetric(rows, key):
  """Of entry [o, j] the cost of serving o by j is meant: with dear rows made cheaper, other medoids are chosen."""
  x = rows[::4]
  d = np.linalg.norm(x[:, None].astype(np.float64) - x, axis=-1)
  samples = functools.partial(clara.fit, k=4, key=key, size=40)
  candidates = functools.partial(clara.clarans, k=4, key=key, patience=0.5)
  for method in (samples, candidates):
    one, two = method(x=x), method(distances=d)
    np.testing.assert_array_equal(one.medoids, two.medoids)
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-4)
    dear = method(distances=d * np.where(np.arange(80) < 40, 1, 50))  # to be served by the second half
    assert max(dear.medoids.tolist()) < 40 <= max(two.medoids.tolist())
    at = np.asarray(dear.medoids)
    np.testing.assert_allclose(dear.cost, d[:, at].min(1).sum(), rtol=1e-4)
    np.testing.assert_array_equal(at[np.asarray(dear.labels)], at[d[:, at].argmin(1)])


def test_a_sample_smaller_than_the_medoids_is_refused(rows, key):
  with pytest.raises(Invalid) as refused:
    clara.fit(rows, 8, key=key, size=7)
  assert refused.value.field == "cluster.size"


def sizes(jaxpr):
  """The sizes of all arrays in a program, loops included."""
  for equation in jaxpr.eqns:
    yield from (int(np.prod(v.aval.shape)) for v in equation.outvars)
    program = lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
    for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=program):
      inner = getattr(inner, "jaxpr", inner)
      if hasattr(inner, "eqns"):
        yield from sizes(inner)


@pytest.mark.parametrize("method", ["pam", "eager", "multi", "samples"])
def test_the_matrix_of_vectors_is_never_formed(method, key):
  x, k, n = jnp.zeros((3000, 2)), 5, 3000
  static = {"samples": 2, "size": 50, "mode": "eager"} if method == "samples" else {
    "start": "build", "mode": method, "blocks": False}
  run = clara._from_samples if method == "samples" else fasterpam._begin_and_search
  state = {"start": jnp.zeros(k, jnp.int32), "key": key, "tol": jnp.float32(0), "max_steps": jnp.int32(9)}
  ids = jnp.arange(n, dtype=jnp.int32)
  source = lambda x: medoids.dissimilarities.vectors(x, ids, ids >= 0, "euclidean")
  program = jax.make_jaxpr(lambda x: run(source(x), state, k=k, **static))(x)
  assert 0 < max(sizes(program.jaxpr)) < n * n / 5
