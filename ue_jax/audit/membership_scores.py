"""Scores of single sequences for membership inference, each larger the less the sequence looks like a member.

| name | score | source |
| --- | --- | --- |
| `loss` | nll per target | Yeom et al., "Privacy Risk in Machine Learning", CSF 2018 |
| `zlib` | nll per target / bytes of the zlib-compressed targets | Carlini et al., "Extracting Training Data", 2021 |
| `reference` | nll per target less that of the reference | the same |
| `min_k` | - mean of the lowest share k of the log-probabilities | Shi et al., "Detecting Pretraining Data", 2024 |
| `min_k_pp` | the same of (log p - mean) / sd under the model's own next token | Zhang et al., "Min-K%++", 2024 |
| `gradnorm` | mean over tensors of the norm of the gradient of the nll | Wang et al., "Pandora's White-Box", 2024 |

`min_k`, `min_k_pp` and `gradnorm` leave the last target (the end token) out, the others keep it.

Targets are the tokens of the answer, as where unlearning is measured on questions (TOFU). The sources above ask of
whole texts whether a model was trained on them, prompts included, and so does MUSE for its PrivLeak: that is `whole`,
for every attack. On short facts the two differ, and both are worth a look: the name is in the prompt, the object in the
answer.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.pieces import pieces
from ue_jax.train import language, losses

ATTACKS = ("loss", "zlib", "reference", "min_k", "min_k_pp", "gradnorm")
FLOOR = 1e-6  # of the variance in `min_k_pp`


def score(
  attack: str, request: Request, name: str, k: float = 0.4, chunk: int = 256,
  decode: Callable[[Sequence[int]], str] | None = None, whole: bool = False,
) -> np.ndarray:  # fmt: skip
  """The score of every sequence of a set that has targets enough, float64 `[m]`.

  Args:
    attack: one of `ATTACKS`.
    request: with `reference` for the attack of that name.
    name: of the set.
    k: share of the targets that `min_k` and `min_k_pp` look at, above 0 and up to 1.
    chunk: samples computed at once.
    decode: token ids -> text, for `zlib`; None: the words of `info["vocabulary"]` with blanks between.
    whole: every token up to the last target counts as one, but the first, which nothing predicts; `zlib` compresses
      all of that text.

  Raises:
    Invalid: for an unknown attack or set, or what the attack needs and is not there.
  """
  require(attack in ATTACKS, "measure.attacks", attack, f"choose from {ATTACKS}")
  require(0 < k <= 1, "measure.k", k, "give a share above 0, at most 1")
  given, subject = request.data, request.subject
  data = whole_texts(given) if whole else given
  if attack in ("min_k", "min_k_pp"):
    values, mask = tokens(subject, data, name, attack == "min_k_pp", chunk)
    return lowest(values, scoring.without_last(mask), k)
  if attack == "gradnorm":
    return gradient_norms(subject, data, name)
  found = scoring.score(subject, data, (name,), chunk=chunk)[name].mean_nll()
  if attack == "reference":
    require(request.reference is not None, "measure.attacks", attack, "set config.reference: the model to compare with")
    return found - scoring.score(request.reference, data, (name,), chunk=chunk)[name].mean_nll()
  return found / compressed(given, name, decode, whole) if attack == "zlib" else found


def whole_texts(data: Data) -> Data:
  """The data with every token as a target that stands before the last one, but the first token of each text."""
  mask = language.weights(jnp.asarray(data.arrays["mask"]), 1.0) > 0
  return data._replace(arrays={**data.arrays, "mask": np.asarray(mask, np.float32)})


def lowest(values: np.ndarray, mask: np.ndarray, k: float) -> np.ndarray:
  """- mean of the lowest max(1, floor(k n)) of the n values of each row that has any, float64.

  Args:
    values: float `[m, t]`.
    mask: bool `[m, t]`, what counts.
    k: share, in (0, 1].
  """
  rows = mask.any(1)
  values, n = np.where(mask, values, np.inf)[rows].astype(np.float64), mask[rows].sum(1)
  count = np.maximum(1, np.floor(k * n + 1e-9)).astype(np.int64)
  ordered = np.where(np.arange(values.shape[1]) < count[:, None], np.sort(values, axis=1), 0.0)
  return -ordered.sum(1) / count


def standardised(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
  """(log p - mu) / sd of every token, float64 `[m, t]`, 0 at position 0.

  mu and sd are those of the log-probability of the next token drawn from the model (sd^2 at least 1e-6).

  Args:
    logits: float `[m, t, v]`; position i predicts token i + 1.
    ids: int `[m, t]`.
  """
  log_p, mean, variance = (np.asarray(x, np.float64) for x in _moments(jnp.asarray(logits), jnp.asarray(ids)))
  return (log_p - mean) / np.sqrt(np.maximum(variance, FLOOR))


def _moments(logits: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """log p of each token, and mean and variance of log p under p; `[m, t]`, 0 at position 0."""
  every = jax.nn.log_softmax(logits[:, :-1].astype(jnp.float32), axis=-1)
  p = jnp.exp(every)
  mean = jnp.sum(p * jnp.where(p > 0, every, 0), axis=-1)
  spread = jnp.where(p > 0, every - mean[..., None], 0)
  variance = jnp.sum(p * jnp.square(spread), axis=-1)  # two passes: the difference of squares loses all digits
  shift = lambda x: jnp.pad(x, ((0, 0), (1, 0)))
  return losses.token_log_probs(logits, ids), shift(mean), shift(variance)


@functools.partial(jax.jit, static_argnums=0)
def _moments_of(apply: Any, params: Any, state: Any, ids: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  return _moments(apply(params, ids, state=state).logits, ids)


def tokens(
  subject: Subject, data: Data, name: str, standard: bool = False, chunk: int = 256
) -> tuple[np.ndarray, np.ndarray]:
  """The log-probability of every token of a set, or the standardised one, float64 `[m, t]`, and where targets are."""
  rows = _rows(data, name)
  ids, mask = data.arrays["ids"][rows], data.arrays["mask"][rows] > 0
  if not standard:
    return scoring.score(subject, data, (name,), chunk=chunk)[name].log_probs.astype(np.float64), mask
  parts = []
  for at in pieces(len(rows), chunk, "measure.chunk"):
    log_p, mean, variance = _moments_of(subject.model.apply, subject.params, subject.state, ids[at])
    log_p, mean, variance = (np.asarray(x, np.float64) for x in (log_p, mean, variance))
    parts.append((log_p - mean) / np.sqrt(np.maximum(variance, FLOOR)))
  return np.concatenate(parts)[: len(rows)], mask


def gradient_norms(subject: Subject, data: Data, name: str) -> np.ndarray:
  """Mean over tensors of the norm of the gradient of the nll per target, one sequence at a time, float64 `[m]`."""
  rows = _rows(data, name)
  mask = scoring.without_last(data.arrays["mask"][rows] > 0)
  rows, mask = rows[mask.any(1)], mask[mask.any(1)].astype(np.float32)
  found = _norms(subject.model.apply, subject.params, subject.state, data.arrays["ids"][rows], mask)
  return np.asarray(found, np.float64)


@functools.partial(jax.jit, static_argnums=0)
def _norms(apply: Any, params: Any, state: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
  def nll(params, ids, mask):
    logits = apply(params, ids[None], state=state).logits
    return -losses.sequence_log_prob(logits, ids[None], mask[None])[0] / jnp.sum(mask)

  def one(sample):
    leaves = jax.tree.leaves(jax.grad(nll)(params, *sample))
    return jnp.mean(jnp.stack([jnp.sqrt(jnp.sum(jnp.square(g.astype(jnp.float32)))) for g in leaves]))

  return jax.lax.map(one, (ids, mask))


def compressed(
  data: Data, name: str, decode: Callable[[Sequence[int]], str] | None = None, whole: bool = False
) -> np.ndarray:
  """Bytes of the zlib-compressed text of the targets of each row, int64 `[m]`; `whole`: of all up to the last one."""
  if decode is None:
    vocabulary = data.info.get("vocabulary", [])
    require(len(vocabulary) > 0, "measure.decode", None, "give a function that makes text of token ids")
    decode = lambda ids: " ".join(vocabulary[i] for i in ids)
  rows = _rows(data, name)
  mask = data.arrays["mask"][rows] > 0
  pairs = zip(data.arrays["ids"][rows], np.flip(np.cumsum(np.flip(mask, 1), 1), 1) > 0 if whole else mask)
  return np.array([len(zlib.compress(decode(ids[mask].tolist()).encode("utf-8"))) for ids, mask in pairs])


def _rows(data: Data, name: str) -> np.ndarray:
  require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  return np.asarray(data.sets[name])
