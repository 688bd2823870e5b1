"""What holds for every clusterer: groups that lie apart are found wherever, however large and in whatever order.

One shape for all, so that each is compiled once; `EDGES` has the few sizes at which a method could stumble.
"""

import jax
import numpy as np
import pytest

from ue_jax.cluster import constrained, fasterpam, few_shot, gmm, k_means, mini_batch, ppp, spectral, tell
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data

KEY = jax.random.key(0)
N, D, K = 48, 3, 4


def streamed(x, k):
  x = np.asarray(x, np.float32)
  data = Data({"x": x, "index": np.arange(len(x), dtype=np.int32)}, {})
  procedure = mini_batch.cluster(k, "x", batch_size=24, patience=0)
  state = procedure.init(KEY, data)
  for t in range(10):
    state, _ = update(state, procedure.batch(0, data, t))
  return procedure.finish(state, data)


update = jax.jit(lambda state, batch: mini_batch.update(state, batch["x"], batch["mask"]))


FITS = {
  "k_means_plain": lambda x, k: k_means.fit(x, k, key=KEY, engine="plain"),
  "k_means_pruned": lambda x, k: k_means.fit(x, k, key=KEY, engine="pruned"),
  "balanced": lambda x, k: constrained.balanced(x, k, key=KEY, restarts=2),
  "mini_batch": streamed,
  "k_medoids": lambda x, k: fasterpam.fit(x, k),
  "gmm": lambda x, k: gmm.fit(x, k, key=KEY)[0],
  "spectral": lambda x, k: spectral.fit(x, k, key=KEY, m=min(6, max(1, len(x) - 1)))[0],
  "few_shot": lambda x, k: few_shot.fit(x, k, key=KEY, neighbours=min(4, max(1, len(x) - 1)), prototypes="means")[0],
  "ppp": lambda x, k: ppp.fit(x, min_size=N // K + 1)[0],
}
every = pytest.mark.parametrize("name", FITS)


def named(labels):
  """The partition, whatever its parts are called: each row says which row was the first of its part."""
  labels = np.asarray(labels)
  return [int(np.flatnonzero(labels == label)[0]) for label in labels]


@pytest.fixture(scope="module")
def groups():
  """Four groups of twelve, a quarter away from each other and fifty times as narrow; rows of one are neighbours."""
  middles = 0.25 * np.concatenate([np.eye(D), [[-1.0, -1.0, -1.0]]])
  truth = np.repeat(np.arange(K), N // K)
  return middles[truth] + 0.005 * np.random.default_rng(0).normal(size=(N, D)), truth


CHANGES = {
  "none": lambda x, order: x,
  "order": lambda x, order: x[order],
  "scale": lambda x, order: 8 * x,
  "place": lambda x, order: x + 512,
  "duplicates": lambda x, order: np.repeat(x[::2], 2, axis=0),
}


@pytest.mark.parametrize("change", CHANGES)
@every
def test_groups_that_lie_apart_are_found_whatever_the_order_the_scale_and_the_place(groups, name, change):
  x, truth = groups
  order = np.random.default_rng(1).permutation(N)
  found = FITS[name](CHANGES[change](x, order).astype(np.float32), K)
  assert named(found.labels) == named(truth[order] if change == "order" else truth)
  assert np.isfinite(float(found.cost))


@every
def test_equal_rows_are_no_obstacle(name):
  found = FITS[name](np.full((N, D), 3.0, np.float32), K)
  labels = np.asarray(found.labels)
  assert labels.shape == (N,) and labels.min() >= 0 and labels.max() < K
  for part in (found.cost, found.centers):
    assert part is None or np.isfinite(part).all()
  if found.centers is not None:
    np.testing.assert_allclose(found.centers, np.full(np.shape(found.centers), 3.0), rtol=1e-5)


def test_the_network_of_centres_sees_directions_only(groups):
  """It may end in a local optimum, so it is compared with itself: lengths do not matter, equal rows stay together."""
  fit = lambda x: tell.fit(x.astype(np.float32), K, key=KEY, encoder="identity", steps=30, batch_size=24, start="rows")
  x, _ = groups
  twice, longer = np.repeat(x[::2], 2, axis=0), 2.0 ** (np.arange(N) % 5)[:, None]
  plain, long, pairs = (np.asarray(fit(rows)[0].labels) for rows in (x, longer * x, twice))
  np.testing.assert_array_equal(plain, long)
  np.testing.assert_array_equal(pairs[::2], pairs[1::2])
  assert len(set(plain)) > 1 and len(set(pairs)) > 1


EDGES = {"one cluster": (5, 1), "a cluster a row": (5, 5), "one row": (1, 1)}
REFUSED = {("spectral", "one row"): "cluster.neighbours", ("few_shot", "one row"): "cluster.neighbours"}


@pytest.mark.parametrize("edge", EDGES)
@every
def test_one_cluster_takes_all_and_as_many_as_rows_take_one_each(name, edge):
  n, k = EDGES[edge]
  x = np.arange(n * D, dtype=np.float32).reshape(n, D) ** 2
  if (name, edge) in REFUSED:
    with pytest.raises(Invalid) as refused:
      FITS[name](x, k)
    assert refused.value.field == REFUSED[name, edge]
    return
  found = FITS[name](x, k)
  if name == "ppp":  # never asked how many
    k = 1
  assert named(found.labels) == ([0] * n if k == 1 else list(range(n)))
  assert np.isfinite(float(found.cost))
  if found.centers is not None and k == 1:
    np.testing.assert_allclose(found.centers[0], x.mean(0), rtol=1e-4)
