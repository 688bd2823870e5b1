"""Continuations of token sequences, with a cache of keys and values: greedy, or drawn from what is likely.

Sources: Holtzman et al., "The Curious Case of Neural Text Degeneration" (ICLR 2020), for the nucleus (`top_p`); Fan et
al., "Hierarchical Neural Story Generation" (ACL 2018), for `top_k`. Both together as in `transformers`: first the
temperature, then the `top_k`, then the nucleus among those that are left.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.models.attention import Tokens
from ue_jax.models.model import Model, classes_of


class Continuation(NamedTuple):
  """What was generated.

  Attributes:
    ids: int32 `[batch, steps]`, `pad` after the end.
    length: int32 `[batch]`: tokens up to the first stop id, which counts; `steps` if there was none.
  """

  ids: jax.Array
  length: jax.Array


def generate(
  model: Model,
  params: Any,
  prompt: Tokens | Any,
  steps: int,
  *,
  key: jax.Array | None = None,
  temperature: jax.Array | float = 1.0,
  top_k: jax.Array | int | None = None,
  top_p: jax.Array | float | None = None,
  stop: Sequence[int] = (),
  pad: int = 0,
) -> Continuation:
  """Continues prompts by up to `steps` tokens; one program for each shape of prompts and number of steps.

  Args:
    model: a language model, with a cache.
    params: its parameters.
    prompt: int32 `[batch, length]`, or `Tokens` for prompts of different lengths, padded on the LEFT; see `left`.
    steps: most new tokens a row, above 0. It ends sooner when all rows have met a stop id.
    key: one PRNG key, to draw each token from the distribution; None: always the likeliest one.
    temperature: above 0; logits are divided by it before drawing. May be traced, like `top_k` and `top_p`.
    top_k: draw among the so many likeliest tokens; None: among all.
    top_p: draw among the likeliest tokens that together reach this probability, in (0, 1]; None: among all.
    stop: ids that end a row.
    pad: id that fills rows after their end.

  Raises:
    Invalid: for a model without cache, prompts that are empty or padded on the right, numbers out of range, or more
      tokens than the model reads.
  """
  prompt = _checked(model, prompt, steps)
  long, most = prompt.ids.shape[1], model.context
  fix = f"the model reads up to {most} tokens: shorten the prompt, or continue by less"
  require(most is None or long + steps <= most, "generate.prompt", f"{long} tokens and {steps} new ones", fix)
  _check_sampling(key, temperature, top_k, top_p)
  vocabulary = classes_of(model, params, {}, prompt)
  for name, ids in (("stop", tuple(stop)), ("pad", (pad,))):
    known = all(0 <= int(i) < vocabulary for i in ids)
    require(known, f"generate.{name}", ids, f"give ids from 0 to {vocabulary - 1}")
  plain = top_k is None and top_p is None
  sampling = None if key is None else (
    jnp.float32(temperature), jnp.int32(vocabulary if top_k is None else top_k),
    jnp.float32(1.0 if top_p is None else top_p),
  )  # fmt: skip
  stop, pad = jnp.asarray(tuple(stop), jnp.int32), jnp.int32(pad)
  return _generate(model.apply, model.cache, params, prompt, steps, key, sampling, plain, stop, pad)


def left(rows: Sequence[Sequence[int]], pad: int = 0, length: int | None = None) -> Tokens:
  """Prompts of different lengths as `Tokens`, padded on the left: ids int32 and valid bool, `[batch, length]`.

  Args:
    rows: the ids of each prompt, at least one.
    pad: id to fill with; it is never read.
    length: of all rows; None: that of the longest prompt.

  Raises:
    Invalid: for an empty prompt, or one that is longer than `length`.
  """
  require(len(rows) > 0 and min(map(len, rows)) > 0, "prompt", rows, "give prompts of at least one token")
  longest = max(map(len, rows))
  length = longest if length is None else length
  require(longest <= length, "prompt", longest, f"give prompts of at most {length} tokens")
  ids, valid = np.full((len(rows), length), pad, np.int32), np.zeros((len(rows), length), bool)
  for i, row in enumerate(rows):
    ids[i, length - len(row) :], valid[i, length - len(row) :] = row, True
  return Tokens(ids, valid)


def draw(
  key: jax.Array, logits: jax.Array, temperature: jax.Array, top_k: jax.Array, top_p: jax.Array
) -> jax.Array:
  """One token a row, int32, from logits `[batch, vocabulary]`: of the `top_k` likeliest and the nucleus of `top_p`."""
  order = jnp.argsort(-logits, axis=-1)
  scaled = jnp.take_along_axis(logits, order, axis=-1) / temperature
  scaled = jnp.where(jnp.arange(logits.shape[-1]) < top_k, scaled, -jnp.inf)
  p = jax.nn.softmax(scaled, axis=-1)
  before = jnp.cumsum(p, axis=-1) - p  # the first token is always kept: nothing is before it
  rank = jax.random.categorical(key, jnp.where(before < top_p, scaled, -jnp.inf), axis=-1)
  return jnp.take_along_axis(order, rank[:, None], axis=-1)[:, 0].astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("apply", "cache", "steps", "plain"))
def _generate(apply, cache, params, prompt, steps, key, sampling, plain, stop, pad):
  """`plain`: nothing is cut from the distribution, so that nothing has to be sorted."""
  batch, length = prompt.ids.shape

  def choose(i, logits):
    if sampling is None:
      return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    here = jax.random.fold_in(key, i)
    if plain:
      return jax.random.categorical(here, logits / sampling[0], axis=-1).astype(jnp.int32)
    return draw(here, logits, *sampling)

  def unfinished(carry):
    return (carry[0] < steps) & ~jnp.all(carry[1])

  def step(carry):
    i, done, ids, lengths, logits, state = carry
    token = jnp.where(done, pad, choose(i, logits))
    ids = jax.lax.dynamic_update_slice_in_dim(ids, token[:, None], i, 1)
    lengths = lengths + (~done).astype(jnp.int32)
    done = done | jnp.any(token[:, None] == stop, axis=1)
    out = apply(params, token[:, None], state=state)  # of the last token too: a branch would cost more than it saves
    return i + 1, done, ids, lengths, out.logits[:, -1], out.state

  first = apply(params, prompt, state=cache(params, batch, length + steps))
  carry = (
    jnp.int32(0), jnp.zeros(batch, bool), jnp.full((batch, steps), pad, jnp.int32), jnp.zeros(batch, jnp.int32),
    first.logits[:, -1], first.state,
  )  # fmt: skip
  _, _, ids, lengths, _, _ = jax.lax.while_loop(unfinished, step, carry)
  return Continuation(ids, lengths)


def _checked(model, prompt, steps):
  require(model.cache is not None, "generate.model", "a model without cache", "give a language model")
  require(type(steps) is int and steps > 0, "generate.steps", steps, "give a whole number above 0")
  ids, valid = prompt if isinstance(prompt, Tokens) else (prompt, None)
  require(jnp.ndim(ids) == 2 and min(jnp.shape(ids)) > 0, "generate.prompt", jnp.shape(ids), "give ids [batch, length]")
  if valid is None:
    return Tokens(jnp.asarray(ids, jnp.int32), jnp.ones(jnp.shape(ids), bool))
  require(jnp.shape(valid) == jnp.shape(ids), "generate.prompt", jnp.shape(valid), f"give valid {jnp.shape(ids)}")
  valid = jnp.asarray(valid, bool)
  if not isinstance(valid, jax.core.Tracer):
    good = np.asarray(valid[:, -1]).all() and not (np.asarray(valid[:, :-1]) & ~np.asarray(valid[:, 1:])).any()
    require(good, "generate.prompt", "padding on the right or inside", "pad on the left, as models.generate.left does")
  return Tokens(jnp.asarray(ids, jnp.int32), valid)


def _check_sampling(key, temperature, top_k, top_p):
  given = (("top_k", top_k), ("top_p", top_p))
  for name, value in given:
    require(value is None or key is not None, f"generate.{name}", value, "give a key too: without one nothing is drawn")
  ranges = {"temperature": (temperature, lambda x: x > 0, "give one above 0; for greedy decoding give no key"),
            "top_k": (top_k, lambda x: x >= 1 and x == int(x), "give a whole number above 0, or None"),
            "top_p": (top_p, lambda x: 0 < x <= 1, "give one in (0, 1], or None")}  # fmt: skip
  for name, (value, good, fix) in ranges.items():
    if value is not None and not isinstance(value, jax.core.Tracer):
      require(bool(good(value)), f"generate.{name}", value, fix)
