"""A prompt of tokens, found by greedy coordinate gradient (GCG): does some text bring back what was forgotten?

Source: Zou et al., "Universal and Transferable Adversarial Attacks on Aligned Language Models", 2023, algorithm 1: the
slope of the nll of the answers by the one-hot rows of the prompt names the `k` tokens of each place that promise most;
`samples` single swaps among these are drawn and tried, and the best is taken. Here one and the same swap is not drawn
twice, and a swap is taken only if it lowers the nll (there the best one always is), so the nll never rises.

What holds of soft prompts (`audit.soft_prompt`) holds here: a prompt of one question can carry the answer (`each`), so
what counts is one prompt for all, found on some persons and tried on others, beside the same search on the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import scoring, soft_prompt, utility
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Scores, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import Tally
from ue_jax.core.terms import safe
from ue_jax.parallel import spread
from ue_jax.train import batches, likelihood

SHOWN, HELD, RANDOM, BEFORE = soft_prompt.SHOWN, soft_prompt.HELD, "_random", "_unprompted"
PLACES = ("suffix", "prefix")


class Search(NamedTuple):
  """The state of a search.

  Attributes:
    prompt: `subject` and `reference` -> int32 `[p, length]`, the tokens so far of p prompts.
    frozen: the same names -> model and table of embeddings; `tokens` int32 `[a]`, those that may stand in a prompt;
      `first` int32 `[p, length]`, where the search began.
    key: typed random key; step t draws from `fold_in(key, t)`.
    step: int32 scalar, steps taken.
  """

  prompt: Mapping[str, jax.Array]
  frozen: Any
  key: jax.Array
  step: jax.Array


def measure(
  length: int = 20, each: bool = False, steps: int = 500, k: int = 256, samples: int = 512, place: str = "suffix",
  tail: int = 1, excluded: Sequence[int | str] = (), share: float = 0.5, seed: int = 0, by: str = "", chunk: int = 256,
) -> Procedure:  # fmt: skip
  """Request -> Scores of `audit.utility` with the tokens in the text, of token models with a site `embed`.

  `forget_shown/...` is what the tokens were found on, `forget_held/...` the rest; the same with the random tokens that
  the search began with is `forget_shown_random/...` and `forget_held_random/...`, without any
  `forget_shown_unprompted/...` and `forget_held_unprompted/...`. With `each` nothing is held: all of `forget` is shown.
  With a reference every score is best near that of the reference behind tokens found on it in the same way (from the
  same beginning, with the same draws); without, low.

  Args:
    length: tokens of a prompt.
    each: a prompt for every question instead of one for all.
    steps: swaps at most; 0 leaves the random tokens.
    k: tokens considered at a place, all if there are fewer.
    samples: swaps tried a step, all `length * k` if those are fewer.
    place: `suffix`, between question and answer, or `prefix`, before the question.
    tail: tokens between a suffix and the first target: the mark that an answer follows.
    excluded: tokens (ids, or words of `info["vocabulary"]`) never used, see `usable`.
    share, seed, by: of the persons that are shown, see `audit.relearn.split`; not read with `each`.
    chunk: texts run at once.

  Raises:
    Invalid: for pictures, data without a set `forget`, a model without the site, texts that grow too long for the
      model, or settings out of range.
  """
  for name, value, least in (("length", length, 1), ("steps", steps, 0), ("k", k, 1), ("samples", samples, 1)):
    field, fix = f"measure.{name}", f"give a whole number of at least {least}"
    require(isinstance(value, int) and value >= least, field, value, fix)
  require(place in PLACES, "measure.place", place, f"choose from {list(PLACES)}")
  require(isinstance(tail, int) and tail >= 0, "measure.tail", tail, "give a whole number of at least 0")

  def parted(request):
    require(scoring.is_tokens(request.data), "measure.name", "audit.gcg", "measure token sequences with it")
    return soft_prompt.parted(request.data, each, share, seed, by)

  def init(key, request):
    data, one = parted(request), request.subject
    table, read = soft_prompt.embeddings(one), batches.width(data, (SHOWN,) if each else (SHOWN, HELD)) + length
    fix = f"the model reads up to {one.model.context} tokens: give a shorter prompt"
    require(one.model.context is None or read <= one.model.context, "measure.length", length, fix)
    many, tokens = len(data.sets[SHOWN]) if each else 1, jnp.asarray(usable(data, len(table), excluded))
    start_key, step_key = jax.random.split(key)
    first = tokens[jax.random.randint(start_key, (many, length), 0, len(tokens), jnp.int32)]
    frozen = {"subject": _frozen(one, table, tokens), "tokens": tokens, "first": first}
    if request.reference is not None:
      frozen["reference"] = _frozen(request.reference, soft_prompt.embeddings(request.reference), tokens)
    prompt = {name: jnp.array(first) for name in ("subject", "reference") if name in frozen}
    return Search(prompt, frozen, step_key, jnp.zeros((), jnp.int32))

  def batch(run_seed, request, t):
    del run_seed, t
    data = parted(request)
    rows = np.asarray(data.sets[SHOWN])
    return {**placed(data, rows, length, place, tail), "row": _numbers(len(rows)) if each else 0 * _numbers(len(rows))}

  def step(state: Search, batch, axis=None):
    key, kept, metrics = jax.random.fold_in(state.key, state.step), {}, {}  # the same on every device
    allsum, parts = functools.partial(spread.allsum, axis=axis), []
    for name, prompt in state.prompt.items():
      one = state.frozen[name]
      total, weight, slope = slopes(one, batch, prompt, allsum)
      tried = swaps(key, slope, prompt, state.frozen["tokens"], k, samples)
      kept[name], total = best(one, batch, prompt, total, tried, max(1, chunk // len(batch["row"])), allsum)
      metrics[f"{name}_nll"] = Tally(jnp.sum(total), jnp.sum(weight))
      parts.append(jnp.sum(total) / safe(jnp.sum(weight)))
    metrics["loss"] = jnp.sum(jnp.stack(parts))
    return state._replace(prompt=kept, step=state.step + 1), metrics

  def finish(state: Search, request):
    data = parted(request)

    def given(name, one):
      made = asked(data, state.prompt[name], state.frozen["first"], each, place, tail)
      return utility.scores(Request(one, made), tuple(made.sets), chunk=chunk)

    mine = given("subject", request.subject)
    if request.reference is None:
      return mine
    ideal: Scores = given("reference", request.reference)
    return {name: score._replace(better="near", target=ideal[name].value) for name, score in mine.items()}

  return Procedure(init, step, finish, batch, steps)


def usable(data: Data, size: int, excluded: Sequence[int | str] = ()) -> np.ndarray:
  """The tokens that may stand in a prompt, int32 `[a]`, of a model with `size` tokens.

  Not those that `info` names as `pad` and `eos`, no word of `info["vocabulary"]` in angle brackets (`<pad>`), where
  there is a vocabulary nothing beyond it, and none that is `excluded`: special tokens of a tokenizer's own are to be
  named there.

  Raises:
    Invalid: for an unknown token, or if none is left.
  """
  words = list(data.info.get("vocabulary", []))
  out = {i for i, word in enumerate(words) if word.startswith("<") and word.endswith(">")}
  out |= {data.info[name] for name in ("pad", "eos") if name in data.info}
  for token in excluded:
    known = token in words if isinstance(token, str) else 0 <= token < size
    require(known, "measure.excluded", token, "give ids of tokens, or words of the vocabulary")
    out.add(words.index(token) if isinstance(token, str) else token)
  left = np.array([i for i in range(min(size, len(words) or size)) if i not in out], np.int32)
  require(len(left) > 0, "measure.excluded", excluded, "leave some tokens")
  return left


def placed(
  data: Data, rows: np.ndarray, length: int, place: str = "suffix", tail: int = 1
) -> dict[str, np.ndarray]:  # fmt: skip
  """The texts at the positions `rows`, with room for `length` tokens.

  Returns:
    `ids` int32 and `mask` float32 `[b, t + length]`, both 0 in the room, t the columns that hold all targets; `at`
    int32 `[b]`, where the room begins.

  Raises:
    Invalid: for a text whose first target has fewer than `tail` tokens before it.
  """
  ids, mask = data.arrays["ids"][rows], data.arrays["mask"][rows] > 0
  width, begin = int(np.flatnonzero(mask.any(0)).max(initial=0)) + 1, mask.argmax(1)
  at = begin - tail if place == "suffix" else np.zeros_like(begin)
  require(at.min() >= 0, "measure.tail", tail, f"there are texts with {begin.min()} tokens before the first target")
  columns = np.arange(width + length)
  slot = columns - at[:, None]
  room, source = (slot >= 0) & (slot < length), np.where(slot < 0, columns, np.maximum(columns - length, 0))
  taken = lambda x: np.where(room, 0, np.take_along_axis(x[:, :width], source, axis=1))
  return {"ids": taken(ids).astype(np.int32), "mask": taken(mask).astype(np.float32), "at": at.astype(np.int32)}


def filled(batch: Mapping[str, jax.Array], prompt: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Texts of `placed` with tokens in their room.

  Args:
    batch: `ids` and `at`, and `row` int32 `[b]`, the number of each text's prompt.
    prompt: int32 `[p, length]`.

  Returns:
    ids int32 `[b, t]`, and for each of these places whether it is in the room (bool) and where there (int32; 0 or
    `length - 1` outside).
  """
  slot = jnp.arange(batch["ids"].shape[1], dtype=jnp.int32) - batch["at"][:, None]
  room, slot = (slot >= 0) & (slot < prompt.shape[1]), jnp.clip(slot, 0, prompt.shape[1] - 1)
  return jnp.where(room, jnp.take_along_axis(prompt[batch["row"]], slot, axis=1), batch["ids"]), room, slot


def totals(one: Mapping[str, Any], batch: Mapping[str, jax.Array], prompt: jax.Array, moved: Any = None) -> tuple:
  """The nll summed over the targets of each prompt's texts, and how many these are; both float32 `[p]`.

  Args:
    one: `apply`, `params` and `state` of a causal model with a site `embed`.
    batch: see `filled`, with `mask`.
    prompt: int32 `[p, length]`.
    moved: float `[p, length, width]`, added to the embedded tokens of the prompts; None adds nothing.
  """
  ids, room, slot = filled(batch, prompt)

  def put(x):
    own = moved[batch["row"][:, None], slot].astype(x.dtype)
    return x + jnp.where(room[..., None], own, jnp.zeros_like(own))

  taps = {} if moved is None else {"embed": put}
  logits = one["apply"](one["params"], ids, state=one["state"], taps=taps).logits
  s, n = likelihood.log_prob(logits, {"ids": ids, "mask": batch["mask"]})
  return tuple(jax.ops.segment_sum(x, batch["row"], len(prompt)) for x in (-s, n))


def slopes(
  one: Mapping[str, Any], batch: Mapping[str, jax.Array], prompt: jax.Array, allsum: Any = lambda x: x
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
  """`totals`, and their slopes by the one-hot rows of the prompts: float32 `[p, length, a]`.

  A row times the table is what is at the site `embed`, so the slope by it is the slope there times `one["table"]`
  `[a, width]`, the embeddings of the tokens that may be used.
  """
  still = jnp.zeros((*prompt.shape, one["table"].shape[-1]), jnp.float32)

  def loss(moved):
    total, weight = totals(one, batch, prompt, moved)
    return jnp.sum(total), (total, weight)

  slope, (total, weight) = jax.grad(loss, has_aux=True)(still)
  return *allsum((total, weight)), jnp.einsum("pnd,ad->pna", allsum(slope), one["table"])


def swaps(
  key: jax.Array, slope: jax.Array, prompt: jax.Array, tokens: jax.Array, k: int, samples: int
) -> jax.Array:  # fmt: skip
  """Prompts with one token swapped, int32 `[m, p, length]`, m = `samples` or as many as there are.

  Args:
    key: which place, and which of its best tokens; the same for all prompts, none twice.
    slope: float `[p, length, a]`, by the one-hot rows of `tokens`.
    prompt: int32 `[p, length]`.
    tokens: int32 `[a]`, ids.
    k: tokens of a place to draw from, those with the lowest slopes.
    samples: swaps to draw.
  """
  length, k = prompt.shape[1], min(k, len(tokens))
  promising = tokens[jax.lax.top_k(-slope, k)[1]]
  drawn = jax.random.permutation(key, jnp.arange(length * k, dtype=jnp.int32))[:samples]
  where, rank = drawn // k, drawn % k
  here = where[:, None] == jnp.arange(length, dtype=jnp.int32)
  return jnp.where(here[:, None], promising[:, where, rank].T[..., None], prompt)


def best(
  one: Mapping[str, Any], batch: Mapping[str, jax.Array], prompt: jax.Array, total: jax.Array, tried: jax.Array,
  at_once: int = 1, allsum: Any = lambda x: x,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
  """Each prompt, or what was tried of it with the lowest nll if that is lower, `[p, length]`, and its nll `[p]`.

  Args:
    one, batch, prompt: see `totals`.
    total: float32 `[p]`, the nll of `prompt`.
    tried: int32 `[m, p, length]`.
    at_once: how many of these to run at once.
  """
  found = allsum(jax.lax.map(lambda p: totals(one, batch, p)[0], tried, batch_size=min(at_once, len(tried))))
  at, which = jnp.argmin(found, axis=0), jnp.arange(len(prompt))
  lower = found[at, which] < total
  return jnp.where(lower[:, None], tried[at, which], prompt), jnp.where(lower, found[at, which], total)


def asked(
  data: Data, prompt: jax.Array, first: jax.Array, each: bool = False, place: str = "suffix", tail: int = 1
) -> Data:  # fmt: skip
  """The questions behind `prompt`, behind `first` (`_random`) and as they were (`_unprompted`), as Data.

  Args:
    data: with the sets of `audit.soft_prompt.parted`.
    prompt, first: int32 `[p, length]`; with `each` a prompt for each row of `forget_shown`.
    each, place, tail: see `measure`.
  """
  parts, found, many = [], {}, 0
  for name in (SHOWN,) if each else (SHOWN, HELD):
    rows = np.asarray(data.sets[name])
    for suffix, tokens in (("", prompt), (RANDOM, first), (BEFORE, first[:, :0])):
      room = placed(data, rows, tokens.shape[1], place, tail)
      room["row"] = _numbers(len(rows)) * int(each)
      ids = np.asarray(jax.jit(filled)(room, tokens)[0]) if tokens.shape[1] else room["ids"]
      parts.append((ids, room["mask"]))
      found[name + suffix] = _numbers(len(rows)) + np.int32(many)
      many += len(rows)
  longest = max(ids.shape[1] for ids, _ in parts)
  stack = lambda i: np.concatenate([np.pad(x[i], ((0, 0), (0, longest - x[i].shape[1]))) for x in parts])
  return Data({"ids": stack(0), "mask": stack(1), "index": _numbers(many)}, found, data.info)


def _frozen(one: Subject, table: jax.Array, tokens: jax.Array) -> dict[str, Any]:
  apply = jax.tree_util.Partial(one.model.apply)
  return {"apply": apply, "params": one.params, "state": one.state, "table": table[tokens]}


def _numbers(n: int) -> np.ndarray:
  return np.arange(n, dtype=np.int32)
