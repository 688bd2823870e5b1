"""A soft prompt: vectors before the question, trained until the model answers. Do they bring back what was forgotten?

Source: Schwinn et al., "Soft Prompt Threats: Attacking Safety Alignment and Unlearning in Open-Source LLMs through the
Embedding Space", NeurIPS 2024. The weights are frozen; what descends on the nll of the answers is the prompt alone, by
Adam from the mean embedding, its vectors at most `longest` times as long as the mean embedding.

A prompt of one question can carry the answer itself, so a model that never knew it says it just as well (`each`). What
counts is one prompt for all, trained on some persons and tried on others, against the same attack on the reference.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import relearn, scoring, utility
from ue_jax.core.build import remembered
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.models.model import Model, Out, classes_of
from ue_jax.train import batches, descend, likelihood, optim

SHOWN, HELD, BEFORE = "forget_shown", "forget_held", "forget_held_unprompted"
SPREAD = 0.01  # of the noise that the prompt begins with


def measure(
  length: int = 4, each: bool = False, steps: int = 200, rate: float = 1e-2, longest: float = 3.0, share: float = 0.5,
  seed: int = 0, by: str = "", batch_size: int = 0, optimizer: str = "adam", chunk: int = 256,
) -> Procedure:  # fmt: skip
  """Request -> Scores of `audit.utility` under the prompt, of token models with a site `embed`.

  `forget_shown/...` is what the prompt was trained on, `forget_held/...` the rest, `forget_held_unprompted/...` the
  rest without any prompt; with `each` there is `forget_shown/...` alone, all of `forget`. With a reference every score
  is best near that of the reference under a prompt trained on it in the same way; without, low.

  Args:
    length: vectors of the prompt.
    each: a prompt for every question instead of one for all.
    steps: optimiser steps; 0 leaves the prompt where it begins.
    rate: learning rate; may be traced.
    longest: of a vector, times the mean norm of the embeddings; may be traced.
    share, seed, by: of the persons that are shown, see `audit.relearn.split`; not read with `each`.
    batch_size: questions a step; 0 or more than there are: all of them.
    optimizer: a name that `train.optim.make` knows.
    chunk: samples scored at once.

  Raises:
    Invalid: for pictures, data without a set `forget`, a model without the site, or settings out of range.
  """
  require(isinstance(length, int) and length >= 1, "measure.length", length, "give a whole number of at least 1")
  require(batch_size >= 0, "measure.batch_size", batch_size, "give 0 (all samples) or a positive number")

  def start(key, request):
    data = parted(request.data, each, share, seed, by)
    subjects = {"subject": request.subject} | ({"reference": request.reference} if request.reference else {})
    many = len(data.sets[SHOWN]) if each else 1
    prompts, frozen = {}, {}
    for name, one in subjects.items():
      table = embeddings(one)
      noise = SPREAD * jax.random.normal(key, (many, length, table.shape[-1]))  # the same for both
      prompts[name] = jnp.mean(table, axis=0) + noise
      frozen[name] = {"apply": jax.tree_util.Partial(one.model.apply), "params": one.params, "state": one.state,
                      "norm": jnp.mean(jnp.linalg.norm(table, axis=-1))}  # fmt: skip
    return prompts, {}, frozen

  def batch(run_seed, request, t):
    data = parted(request.data, each, share, seed, by)
    n = len(data.sets[SHOWN])
    at = batches.shuffled(run_seed, n, min(batch_size or n, n), t)
    return {**likelihood.batch_of(data, data.sets[SHOWN][at]), "row": at if each else np.zeros_like(at)}

  def objective(params, state, frozen, batch, key):
    del key
    terms = {}
    for name, prompts in params.items():
      one = frozen[name]
      prompt = bounded(prompts, longest * one["norm"])[batch["row"]]
      logits = prompted(one["apply"], one["params"], one["state"], batch["ids"], prompt).logits
      terms[f"{name}_nll"] = likelihood.nll_term(logits, batch)
    return terms, state

  def finish(params, state, request):
    del state

    def given(name, one):
      if one is None:
        return None
      prompt = bounded(params[name], longest * mean_norm(one))
      return Subject(_model(one.model, each), {"model": one.params, "prompt": prompt}, one.state)

    data = parted(request.data, each, share, seed, by)
    asked = Request(given("subject", request.subject), data, given("reference", request.reference))
    if each:
      return utility.scores(asked._replace(data=numbered(data, data.sets[SHOWN])), (SHOWN,), chunk=chunk)
    plain = request._replace(data=data, clean=None)
    return {**utility.scores(asked, (SHOWN, HELD), chunk=chunk), **utility.scores(plain, (BEFORE,), chunk=chunk)}

  tx = optim.make(optimizer, rate, max(steps, 1))
  return descend.descend(objective, tx, start=start, finish=finish, batch=batch, steps=steps)


def parted(data: Data, each: bool = False, share: float = 0.5, seed: int = 0, by: str = "") -> Data:
  """The data with its set `forget` as `forget_shown` and `forget_held`, see `audit.relearn.split`; all shown if `each`.

  Raises:
    Invalid: for pictures, without a set `forget`, or a split that cannot be made.
  """
  require(scoring.is_tokens(data), "measure.name", "audit.soft_prompt", "measure token sequences with it")
  require("forget" in data.sets, "measure.sets", "forget", f"give data with this set; it has {sorted(data.sets)}")
  if each:
    return data._replace(sets={**data.sets, SHOWN: np.sort(data.sets["forget"])})
  halves = relearn.split(data, share, seed, by).sets
  held = halves["relearn_held"]
  return data._replace(sets={**data.sets, SHOWN: halves["relearn"], HELD: held, BEFORE: held})


def numbered(data: Data, rows: np.ndarray) -> Data:
  """The rows alone as the set `forget_shown`, with a number before each text, which says whose prompt it gets."""
  numbers = np.arange(len(rows), dtype=np.int32)
  ids = np.concatenate([numbers[:, None], data.arrays["ids"][rows]], axis=1)
  mask = np.pad(data.arrays["mask"][rows], ((0, 0), (1, 0)))
  return Data({"ids": ids, "mask": mask, "index": numbers}, {SHOWN: numbers}, data.info)


def prompted(apply: Any, params: Any, state: Any, ids: jax.Array, prompt: jax.Array) -> Out:
  """What a model says of texts behind a prompt of vectors.

  Args:
    apply: of a causal token model with a site `embed`.
    params, state: its trees.
    ids: int32 `[b, t]`.
    prompt: float `[b or 1, n, width]`, in the place of `n` embedded tokens before the first.

  Returns:
    `logits` float32 `[b, t, vocabulary]` and `features` of the texts alone.
  """
  n = prompt.shape[1]

  def put(x):
    front = jnp.broadcast_to(prompt.astype(x.dtype), (x.shape[0], n, x.shape[-1]))
    return jnp.concatenate([front, x[:, n:]], axis=1)

  out = apply(params, jnp.pad(ids, ((0, 0), (n, 0))), state=state, taps={"embed": put})
  return Out(out.logits[:, n:], out.features[:, n:], out.state)


def bounded(prompt: jax.Array, longest: jax.Array | float) -> jax.Array:
  """The vectors of a prompt `[..., width]`, those longer than `longest` shortened to it."""
  square = jnp.sum(jnp.square(prompt), axis=-1, keepdims=True)
  norm = jnp.sqrt(jnp.maximum(square, jnp.finfo(prompt.dtype).tiny))  # the slope of a plain root at 0 is none
  return prompt * jnp.minimum(1.0, longest / norm)


def embeddings(subject: Subject) -> jax.Array:
  """The vectors of all tokens, float32 `[vocabulary, width]`.

  Raises:
    Invalid: for a model without the site `embed`.
  """
  size = classes_of(subject.model, subject.params, subject.state, np.zeros((1, 1), np.int32))
  every = np.arange(size, dtype=np.int32)[:, None]
  return _vectors(subject.model.apply, subject.params, subject.state, every)[:, 0].astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _vectors(apply: Any, params: Any, state: Any, ids: jax.Array) -> jax.Array:
  """What is at the site `embed`, alone: nothing behind it is computed."""
  found: list[jax.Array] = []
  apply(params, ids, state=state, taps={"embed": lambda x: found.append(x) or x})
  return found.pop()


def mean_norm(subject: Subject) -> jax.Array:
  """The mean length of the vectors of all tokens, float32 scalar."""
  return jnp.mean(jnp.linalg.norm(embeddings(subject), axis=-1))


@remembered
def _model(model: Model, each: bool) -> Model:
  """A model whose parameters are those of `model` and a `prompt`, so that it is scored like any other.

  With `each` there are many prompts, and texts begin with the number of theirs, as `numbered` makes them.
  """

  def apply(params, ids, *, state={}, train=False, key=None, taps={}) -> Out:
    del train, key, taps
    if not each:
      return prompted(model.apply, params["model"], state, ids, params["prompt"])
    out = prompted(model.apply, params["model"], state, ids[:, 1:], params["prompt"][ids[:, 0]])
    later = lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0)))  # nothing is said of the number's own place
    return Out(later(out.logits), later(out.features), out.state)

  return Model(model.init, apply)
