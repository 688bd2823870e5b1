"""What is not usable is refused by name, whichever method it is given to, before anything is compiled."""

import functools

import jax
import numpy as np
import pytest

from ue_jax.cluster import (
  affinities,
  clara,
  constrained,
  fasterpam,
  few_shot,
  gmm,
  internal,
  k_means,
  mini_batch,
  neighbours,
  ppp,
  scores,
  spectral,
  tell,
)
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data

KEY = jax.random.key(0)
ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
LABELS = [0, 1, 0, 1, 0, 1]


def streamed(x, k):
  x = np.asarray(x, np.float32)
  return mini_batch.cluster(k, "x").init(KEY, Data({"x": x, "index": np.arange(len(x), dtype=np.int32)}, {}))


CLUSTERERS = {
  "k_means": lambda x, k: k_means.fit(x, k, key=KEY),
  "semi_supervised": lambda x, k: constrained.fit(x, np.full(6, -1), k, key=KEY),
  "balanced": lambda x, k: constrained.balanced(x, k, key=KEY),
  "fasterpam": lambda x, k: fasterpam.fit(x, k),
  "clara": lambda x, k: clara.fit(x, k, key=KEY),
  "clarans": lambda x, k: clara.clarans(x, k, key=KEY),
  "gmm": lambda x, k: gmm.fit(x, k, key=KEY),
  "spectral": lambda x, k: spectral.fit(x, k, key=KEY, m=2),
  "few_shot": lambda x, k: few_shot.fit(x, k, key=KEY, neighbours=2),
  "tell": lambda x, k: tell.fit(x, k, key=KEY, encoder="identity", steps=1),
}
OTHERS = {
  "ppp": lambda x: ppp.fit(x),
  "neighbours": lambda x: neighbours.graph(x, 2),
  **{kind: lambda x, kind=kind: affinities.affinity(x, kind, m=2) for kind in affinities.KINDS},
}
SCORES = {
  name: lambda x, name=name: getattr(internal, name)(x, LABELS)
  for name in ("silhouette", "silhouettes", "simplified_silhouette", "calinski_harabasz", "davies_bouldin")
}
ALL = {**{name: lambda x, fit=fit: fit(x, 2) for name, fit in CLUSTERERS.items()}, **OTHERS, **SCORES}
BAD = {
  "nan": (np.where(ROWS == 7, np.nan, ROWS), "NaN or infinity"),
  "infinity": (np.where(ROWS == 7, -np.inf, ROWS), "NaN or infinity"),
  "ragged": ([[1.0, 2.0]] * 5 + [[1.0]], "numbers"),
  "text": ([["a", "b"]] * 6, "numbers"),
  "flat": (np.ones(6), "rows"),
  "nothing": (np.zeros((0, 2)), ""),
  "no_features": (np.zeros((6, 0)), "rows"),
}


def refusal(call, *arguments):
  with pytest.raises(Invalid) as refused:
    call(*arguments)
  return refused.value


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("name", ALL)
def test_rows_that_are_not_tables_of_finite_numbers(name, what):
  x, word = BAD[what]
  found = refusal(ALL[name], x)
  if (name, what) == ("spectral", "nothing"):  # of no rows there are no k
    assert found.field == "cluster.k"
  else:
    assert found.field == ("labels.x" if name in SCORES else "cluster.x")
  assert word in str(found)


@pytest.mark.parametrize("k", [0, -1, 7])
@pytest.mark.parametrize("name", [*CLUSTERERS, "mini_batch"])
def test_numbers_of_clusters_that_there_cannot_be(name, k):
  found = refusal({**CLUSTERERS, "mini_batch": streamed}[name], ROWS, k)
  assert found.field == ("cluster.new" if name == "semi_supervised" else "cluster.k") and str(k) in str(found)


@pytest.mark.parametrize("weights", [[1] * 5 + [-1], [1] * 5 + [np.nan], [1] * 5 + [np.inf], [1, 1, 1], [0] * 6])
@pytest.mark.parametrize("fit", [
  lambda w: k_means.fit(ROWS, 2, key=KEY, weights=w),
  lambda w: constrained.fit(ROWS, np.full(6, -1), 2, key=KEY, weights=w),
  lambda w: gmm.fit(ROWS, 2, key=KEY, weights=w),
], ids=["k_means", "semi_supervised", "gmm"])  # fmt: skip
def test_weights_that_cannot_be(fit, weights):
  assert refusal(fit, weights).field in (["cluster.weights"] if any(weights) else ["cluster.weights", "cluster.k"])


def test_matrices_that_cannot_be():
  """Of dissimilarities, of affinities, and of distances to be judged."""
  for wide in (np.zeros((6, 5)), [[0.0, 1.0], [1.0]], [["a"] * 6] * 6, np.zeros((0, 0)), np.zeros(6)):
    for fit in (fasterpam.fit, lambda **how: clara.fit(key=KEY, **how), lambda **how: clara.clarans(key=KEY, **how)):
      assert refusal(functools.partial(fit, k=2, distances=wide)).field == "cluster.distances"
    assert refusal(affinities.affinity, wide, "precomputed").field == "cluster.x"
    judge = functools.partial(internal.silhouette, metric="precomputed")
    assert refusal(judge, wide, LABELS).field.startswith("labels")
  assert refusal(internal.medoid_silhouette, np.full((6, 2), np.nan)).field == "labels.distances"


def test_labels_that_cannot_be():
  for bad, word in (([0, 1, 0, 1, 0], "label"), ([0, 1, 0, 1, 0, np.nan], "NaN"), ([[0, 1], [0]], "label"), ([], "")):
    for call in (lambda y: internal.silhouette(ROWS, y), lambda y: scores.accuracy(LABELS, y)):
      found = refusal(call, bad)
      assert found.field == "labels" and word in str(found)


def test_queries_are_named_as_such():
  for bad in (BAD["nan"][0], BAD["text"][0], BAD["nothing"][0]):
    assert refusal(few_shot.infer, ROWS, LABELS, bad, 2).field == "cluster.query"
    assert refusal(few_shot.nearest, bad, LABELS, ROWS, 2).field == "cluster.support"
