"""Greedy continuation of prompts, with the cache of a model that has one, else by sequences seen whole."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pieces import pieces
from ue_jax.models import generate

PAD, EOS = 0, 1


def answers(
  subject: Subject, data: Data, rows: np.ndarray, new: int = 0, chunk: int = 256, pad: int | None = None,
  eos: int | None = None,
) -> tuple[list[list[int]], list[list[int]]]:
  """What the subject says after the prompt of each row, and what it should say.

  Args:
    subject: a causal token model.
    data: with `ids` and `mask`; the prompt ends where the first target is.
    rows: positions in the data.
    new: most tokens to generate; 0: as many as the longest answer of these rows has.
    chunk: samples computed at once.
    pad, eos: ids of the tokeniser; None: those that `data.info` names, else 0 and 1.

  Returns:
    Two lists of token ids, cut before the end token: generations and references.

  Raises:
    Invalid: for rows without a target or a prompt, or more tokens than the model reads.
  """
  ids, mask = data.arrays["ids"][rows], data.arrays["mask"][rows] > 0
  require(bool(mask.any(1).all()) and not mask[:, 0].any(), "measure.sets", "a row without prompt or answer",
          "name sets of questions with answers")  # fmt: skip
  start, last = mask.argmax(1), mask.shape[1] - mask[:, ::-1].argmax(1)
  new = new or int((last - start).max())
  most, longest = subject.model.context, int(start.max())
  fix = f"the model reads up to {most} tokens: generate fewer, or ask shorter questions"
  require(most is None or longest + new <= most, "measure.new", f"{new} behind a prompt of {longest} tokens", fix)
  pad, eos = (data.info.get(name, usual) if given is None else given
              for name, given, usual in (("pad", pad, PAD), ("eos", eos, EOS)))  # fmt: skip
  speak, parts = _cached if subject.model.cache else _whole, []
  for at in pieces(len(rows), chunk, "measure.chunk"):
    parts.append(speak(subject, ids[at], start[at], longest, new, pad, eos))
  said = np.concatenate(parts)[: len(rows)]
  cut = lambda row: row[: row.index(eos)] if eos in row else row
  return [cut(row.tolist()) for row in said], [cut(row[s:e].tolist()) for row, s, e in zip(ids, start, last)]


def _cached(subject, ids, start, longest, new, pad, eos) -> np.ndarray:
  """The `new` tokens behind the first `start` of each row of `ids`, `[b, new]`: one token is read at a time."""
  prompts = generate.left([row[:s].tolist() for row, s in zip(ids, start)], pad, longest)
  return np.asarray(generate.generate(subject.model, subject.params, prompts, new, stop=(eos,), pad=pad).ids)


def _whole(subject, ids, start, longest, new, pad, eos) -> np.ndarray:
  """The same by a model without a cache: all is read again for each token."""
  prompts = np.where(np.arange(ids.shape[1]) < start[:, None], ids, pad).astype(np.int32)
  prompts = np.pad(prompts, ((0, 0), (0, max(0, longest + new - ids.shape[1]))), constant_values=pad)
  said = greedy(subject.model.apply, subject.params, subject.state, prompts, start, new, pad, eos)
  return np.take_along_axis(np.asarray(said), start[:, None] + np.arange(new), axis=1)


@functools.partial(jax.jit, static_argnums=(0, 5, 6, 7))
def greedy(
  apply: Any, params: Any, state: Any, ids: jax.Array, start: jax.Array, new: int, pad: int = PAD, eos: int = EOS
) -> jax.Array:
  """The most likely continuation, token by token, until `eos` or `new` tokens.

  Args:
    apply: of a causal model.
    params, state: its trees.
    ids: int32 `[b, t]`, prompts padded on the right, `t` at least `start + new`.
    start: int `[b]`, the length of each prompt, at least 1.
    new: most tokens to generate.
    pad: what is behind the end.
    eos: the end token, kept.

  Returns:
    ids int32 `[b, t]` with the continuations filled in.
  """
  rows = jnp.arange(ids.shape[0], dtype=jnp.int32)
  start = start.astype(jnp.int32)

  def going(carry):
    step, _, done = carry
    return (step < new) & ~jnp.all(done)

  def body(carry):
    step, ids, done = carry
    logits = apply(params, ids, state=state).logits[rows, start + step - 1]  # later positions see no earlier ones
    token = jnp.where(done, jnp.int32(pad), jnp.argmax(logits, axis=-1).astype(jnp.int32))
    return step + 1, ids.at[rows, start + step].set(token), done | (token == eos)

  first = (jnp.zeros((), jnp.int32), ids.astype(jnp.int32), jnp.zeros(ids.shape[0], bool))
  return jax.lax.while_loop(going, body, first)[1]
