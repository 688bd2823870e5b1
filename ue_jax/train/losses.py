"""Losses per sample or per token, before any mean: a mean belongs to a Term."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def _log_softmax(logits: jax.Array) -> jax.Array:
  return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross entropy in nats, float32 `[...]`.

  Args:
    logits: float `[..., classes]`.
    labels: int `[...]`, or float `[..., classes]` for soft targets that sum to 1.
  """
  if jnp.issubdtype(labels.dtype, jnp.floating):
    return -jnp.sum(labels.astype(jnp.float32) * _log_softmax(logits), axis=-1)
  return _surprise(logits, labels)


@jax.custom_jvp
def _surprise(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """-log p(label). Its own slope, softmax - one-hot, is one pass over the logits where that of a gather is several."""
  logits = logits.astype(jnp.float32)
  top = jnp.max(logits, axis=-1)
  found = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
  return jnp.log(jnp.sum(jnp.exp(logits - top[..., None]), axis=-1)) - (found - top)


@_surprise.defjvp
def _surprise_slope(at, along):
  logits, labels = at
  hit = labels[..., None].astype(jnp.int32) == jnp.arange(logits.shape[-1], dtype=jnp.int32)
  push = jax.nn.softmax(logits.astype(jnp.float32), axis=-1) - hit.astype(jnp.float32)
  return _surprise(logits, labels), jnp.sum(push * along[0].astype(jnp.float32), axis=-1)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 where the largest logit is at the label (at the largest soft target), else 0; float32 `[...]`."""
  if jnp.issubdtype(labels.dtype, jnp.floating):
    labels = jnp.argmax(labels, axis=-1)
  return (jnp.argmax(logits, axis=-1).astype(jnp.int32) == labels.astype(jnp.int32)).astype(jnp.float32)


def token_log_probs(logits: jax.Array, ids: jax.Array) -> jax.Array:
  """log p(ids[:, i] | ids[:, :i]) in nats, float32 `[b, t]`; position 0 has no context and is 0.

  Args:
    logits: float `[b, t, vocabulary]`; position i predicts token i + 1.
    ids: int `[b, t]`.
  """
  found = -cross_entropy(logits, jnp.roll(ids, -1, axis=1))  # all rows: a slice of the logits would be a copy of them
  return jnp.pad(found[:, :-1], ((0, 0), (1, 0)))


def sequence_log_prob(logits: jax.Array, ids: jax.Array, mask: jax.Array) -> jax.Array:
  """The sum of `token_log_probs` over the target tokens, float32 `[b]`; `mask` is float 0/1 `[b, t]`."""
  return jnp.sum(token_log_probs(logits, ids) * mask.astype(jnp.float32), axis=-1)


@jax.custom_jvp
def kl(p_logits: jax.Array, q_logits: jax.Array) -> jax.Array:
  """KL(p || q) in nats of the two softmax distributions over the last axis, float32 `[...]`, >= 0.

  Its slope by the logits of q is q - p: exactly zero for equal logits, where an optimiser that divides by the size of
  what it gets (Adam) would make whole steps of rounding errors.
  """
  log_p, log_q = _log_softmax(p_logits), _log_softmax(q_logits)
  return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


@kl.defjvp
def _kl_slope(at, along):
  (p_logits, q_logits), (dp, dq) = at, (x.astype(jnp.float32) for x in along)
  log_p, log_q = _log_softmax(p_logits), _log_softmax(q_logits)
  p, apart = jnp.exp(log_p), log_p - log_q
  value = jnp.sum(p * apart, axis=-1)
  return value, jnp.sum(p * (apart - value[..., None]) * dp + (jnp.exp(log_q) - p) * dq, axis=-1)
