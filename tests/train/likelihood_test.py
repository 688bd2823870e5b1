"""Likelihoods of targets, against a loop over them."""

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.models.model import Out
from ue_jax.train import likelihood

MASK = np.float32([[0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
IDS = np.random.default_rng(1).integers(0, 4, (3, 4)).astype(np.int32)
TABLE = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)  # logits of the next token
TOKENS = Data({"ids": IDS, "mask": MASK, "index": np.arange(3, dtype=np.int32)}, {})
BATCH = likelihood.batch_of(TOKENS, np.arange(3))


def bigram(params, ids, *, state={}):
  return Out(params[ids], params[ids], state)


def oracle():
  """s and n by a loop over targets."""
  log_p = TABLE.astype(np.float64) - np.log(np.exp(TABLE.astype(np.float64)).sum(-1, keepdims=True))
  s = [sum(log_p[row[t - 1], row[t]] for t in range(1, 4) if m[t]) for row, m in zip(IDS, MASK)]
  return np.array(s), MASK.sum(-1)


def test_log_prob_sums_the_targets_of_a_sequence():
  s, n = likelihood.log_prob(likelihood.logits(bigram, jnp.asarray(TABLE), {}, BATCH), BATCH)
  expected = oracle()
  np.testing.assert_allclose(s, expected[0], rtol=1e-5)
  np.testing.assert_array_equal(n, expected[1])


def test_log_prob_of_a_picture_is_that_of_its_label():
  logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], jnp.float32))
  batch = {"image": jnp.zeros((2, 1, 1, 1)), "label": jnp.array([1, 2]), "mask": jnp.array([1.0, 0.0])}
  s, n = likelihood.log_prob(logits, batch)
  np.testing.assert_allclose(s, [np.log(0.2), 0.0], rtol=1e-5)
  np.testing.assert_array_equal(n, [1, 0])


def test_a_sample_is_exact_if_every_target_is_the_most_likely_output():
  best = TABLE.argmax(-1)
  ids = IDS.copy()
  ids[0, 2], ids[1, 2] = best[ids[0, 1]], best[ids[1, 1]]
  ids[1, 3] = (best[ids[1, 2]] + 1) % 4  # one of two is wrong
  ids[2, 2:] = best[ids[2, 1]], best[best[ids[2, 1]]]
  batch = {"ids": np.concatenate([ids, ids[:1]]), "mask": np.concatenate([MASK, MASK[:1] * 0])}  # the last: padding
  found = likelihood.exact(jnp.asarray(TABLE)[batch["ids"]], batch)
  assert found.tolist() == [1, 0, 1, 0] and found.dtype == jnp.float32
  picture = {"image": np.zeros((3, 1)), "label": np.int32([1, 0, 1]), "mask": np.float32([1, 1, 0])}
  assert likelihood.exact(jnp.float32([[0, 1], [0, 1], [0, 1]]), picture).tolist() == [1, 0, 0]


def test_nll_is_a_mean_over_targets_and_not_over_samples():
  term = likelihood.nll_term(jnp.asarray(TABLE)[IDS], BATCH, -2.0)
  s, n = oracle()
  np.testing.assert_allclose(term.total / term.weight, -s.sum() / n.sum(), rtol=1e-5)
  assert abs(s.sum() / n.sum() - np.mean(s / n)) > 0.01  # the two means differ here
  assert term.scale == -2.0


def test_a_batch_holds_the_rows_asked_for_and_pictures_count_as_one_target():
  np.testing.assert_array_equal(likelihood.batch_of(TOKENS, np.array([2, 0]))["ids"], IDS[[2, 0]])
  arrays = {"image": np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), "shape": np.int64([3, 2, 1, 0])}
  batch = likelihood.batch_of(Data(arrays, {}), np.array([3, 1]), "shape")
  assert batch["image"].ravel().tolist() == [3, 1] and batch["label"].tolist() == [0, 2]
  assert batch["label"].dtype == np.int32 and batch["mask"].tolist() == [1, 1]
  assert jax.tree.map(lambda x: len(x), batch) == {"image": 2, "label": 2, "mask": 2}
