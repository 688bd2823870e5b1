"""Losses against numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.train import losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 6, 5)).astype(np.float32) * 3
IDS = RNG.integers(0, 5, (4, 6)).astype(np.int32)


def log_softmax(x):
  x = x.astype(np.float64)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_cross_entropy_of_labels_is_minus_the_log_probability():
  wanted = -np.take_along_axis(log_softmax(LOGITS), IDS[..., None], -1)[..., 0]
  np.testing.assert_allclose(losses.cross_entropy(LOGITS, jnp.asarray(IDS)), wanted, rtol=1e-5, atol=1e-6)


def test_the_slope_of_cross_entropy_is_softmax_minus_one_hot_and_has_a_slope_itself():
  logits, labels, along = jnp.asarray(LOGITS[0]), jnp.asarray(IDS[0]), jnp.asarray(LOGITS[1])
  slope = jax.jit(jax.grad(lambda z: losses.cross_entropy(z, labels).sum()))
  p = np.exp(log_softmax(LOGITS[0]))
  np.testing.assert_allclose(slope(logits), p - np.eye(5)[IDS[0]], atol=1e-6)
  v = np.asarray(along, np.float64)
  wanted = p * (v - (p * v).sum(-1, keepdims=True))
  np.testing.assert_allclose(jax.jit(lambda x, v: jax.jvp(slope, (x,), (v,))[1])(logits, along), wanted, atol=1e-6)


def test_soft_targets_give_the_mixture_of_the_hard_losses():
  one, other = np.eye(5, dtype=np.float32)[IDS], np.eye(5, dtype=np.float32)[(IDS + 1) % 5]
  mixed = losses.cross_entropy(LOGITS, jnp.asarray(0.3 * one + 0.7 * other))
  parts = [losses.cross_entropy(LOGITS, jnp.asarray(i)) for i in (IDS, (IDS + 1) % 5)]
  np.testing.assert_allclose(mixed, 0.3 * parts[0] + 0.7 * parts[1], rtol=1e-5)


def test_large_and_half_precision_logits_stay_finite():
  big = jnp.asarray([[1e4, 0.0], [0.0, 1e4]], jnp.bfloat16)
  out = losses.cross_entropy(big, jnp.asarray([0, 0]))
  assert out.dtype == jnp.float32 and float(out[0]) == 0.0 and np.isfinite(np.asarray(out)).all()


@pytest.mark.parametrize("soft", [False, True])
def test_correct_counts_the_largest_logit(soft):
  logits = jnp.float32([[0, 2, 1], [3, 2, 1], [0, 1, 5]])
  labels = jnp.asarray([1, 2, 2])
  labels = jnp.float32(np.eye(3))[labels] if soft else labels
  assert losses.correct(logits, labels).tolist() == [1.0, 0.0, 1.0]


def test_token_log_probs_are_shifted_by_one_and_start_with_zero():
  wanted = np.zeros((4, 6))
  for b in range(4):
    for t in range(1, 6):
      wanted[b, t] = log_softmax(LOGITS)[b, t - 1, IDS[b, t]]
  np.testing.assert_allclose(losses.token_log_probs(LOGITS, jnp.asarray(IDS)), wanted, rtol=1e-5, atol=1e-6)


def test_sequence_log_prob_sums_the_masked_tokens_only():
  mask = np.float32(RNG.random((4, 6)) < 0.5)
  wanted = (np.asarray(losses.token_log_probs(LOGITS, jnp.asarray(IDS))) * mask).sum(-1)
  np.testing.assert_allclose(losses.sequence_log_prob(LOGITS, jnp.asarray(IDS), jnp.asarray(mask)), wanted, rtol=1e-5)


def test_kl_is_that_of_the_distributions_zero_for_equal_and_not_symmetric():
  p, q = LOGITS[0], LOGITS[1]
  wanted = (np.exp(log_softmax(p)) * (log_softmax(p) - log_softmax(q))).sum(-1)
  np.testing.assert_allclose(losses.kl(p, q), wanted, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(losses.kl(p, p + np.float32(3)), 0, atol=1e-5)
  assert np.abs(np.asarray(losses.kl(p, q) - losses.kl(q, p))).max() > 0.1


def test_the_slope_of_the_divergence_is_that_of_its_definition_and_exactly_zero_between_equals():
  p, q = (jnp.asarray(np.random.default_rng(seed).normal(size=(3, 7)) * 4, jnp.float32) for seed in (0, 1))

  def plain(p, q):
    log_p, log_q = jax.nn.log_softmax(p), jax.nn.log_softmax(q)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))

  got, want = (jax.jit(jax.grad(fn, (0, 1)))(p, q) for fn in (lambda p, q: losses.kl(p, q).sum(), plain))
  for a, b in zip(got, want):
    np.testing.assert_allclose(a, b, atol=1e-5)
  assert not np.any(jax.grad(lambda q: losses.kl(p, q).sum())(p))
