"""The logit lens: what would be said if the model ended after each of its blocks.

Source: nostalgebraist, "Interpreting GPT: the Logit Lens", 2020; as an audit of unlearning in Patil, Hase and Bansal,
"Can Sensitive Information Be Deleted From LLMs?", ICLR 2024. The FINAL norm and the head are applied to what stands at
a site of block l, at the last token of the prompt; what is read is the first token of the answer. After the last block
these are the logits of the model, bit for bit.

An answer that an inner block ranks first and the last one does not is hidden, not forgotten. `leak` is the largest
share of answers that any one place ranks first; only what exceeds the reference's counts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import inside
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.pieces import pieces
from ue_jax.core.procedure import Procedure, once

SITES = ("residual", "mlp_out", "attention")
FORGOTTEN = ("forget", "relearn", "holdout")


def measure(sets: Sequence[str] = ("forget",), sites: Sequence[str] = ("residual",), chunk: int = 64) -> Procedure:
  """Request -> Scores `<set>/block_i/<site>/first`, `.../log_p`, `.../rank`, and `<set>/leak`.

  `first` in [0, 1]: the share of rows whose answer's first token is the most likely one; `log_p` <= 0: its mean
  log-probability, nats; `rank` >= 1: its mean rank. `leak`: the largest `first` of the set. With a reference all are
  best near the reference's; without, on `forget*` and `holdout*` near those of a uniform guess, elsewhere near those of
  certainty.

  Args:
    sets: which sets.
    sites: of every block, among `residual` (the stream after the block), `mlp_out` and `attention` (what they add).
    chunk: samples computed at once; each takes a head a place.

  Raises:
    Invalid: for an unknown set or site, or what is not a decoder over token sequences.
  """
  for site in sites:
    require(site in SITES, "measure.sites", site, f"choose from {SITES}")
  require(len(sites) > 0, "measure.sites", sites, f"choose from {SITES}")

  def score(key, request: Request) -> Scores:
    del key
    out = {}
    for name in sets:
      mine = read(request.subject, request.data, name, sites, chunk)
      ideal = read(request.reference, request.data, name, sites, chunk) if request.reference else None
      out |= {f"{name}/{what}": one for what, one in _scores(mine, ideal, name.startswith(FORGOTTEN)).items()}
    return out

  return once(score)


class Reading(NamedTuple):
  """What the lens shows of the right first token of every row.

  Attributes:
    places: `block_i/<site>`.
    log_p: float64 `[places, m]`, its log-probability, nats.
    rank: int64 `[places, m]`, 1 for the most likely token; behind all that are equally likely.
    choices: size of the vocabulary.
  """

  places: tuple[str, ...]
  log_p: np.ndarray
  rank: np.ndarray
  choices: int


def read(subject: Subject, data: Data, name: str, sites: Sequence[str] = ("residual",), chunk: int = 64) -> Reading:
  """The lens on the rows of a set. For errors see `measure`."""
  require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  rows = np.asarray(data.sets[name])
  ids, at, answer = inside.prompts(data, rows)
  places = tuple(f"block_{i}/{site}" for i in range(inside.blocks(subject)) for site in sites)
  parts = []
  for some in pieces(len(rows), chunk, "measure.chunk"):
    shown = (ids[some], at[some], answer[some])
    parts.append(_read(subject.model.apply, subject.params, subject.state, *shown, places, inside.blocks(subject)))
  log_p, rank, choices = zip(*jax.device_get(parts))
  join = lambda x, dtype: np.concatenate(x, axis=-1)[:, : len(rows)].astype(dtype)
  return Reading(places, join(log_p, np.float64), join(rank, np.int64), int(choices[0]))


def ended(apply: Any, params: Any, state: Any, ids: jax.Array, value: jax.Array, blocks: int) -> jax.Array:
  """Final norm and head applied to `value` `[b, t, width]`: logits float32 `[b, t, vocabulary]`.

  `value` takes the place of the stream after the last block, so what comes before is not computed, and what comes
  behind is the model's own, whatever its norm and head are.

  Args:
    apply: of a decoder.
    params, state: its trees.
    ids: int32 `[b, t]`; only the shape matters.
    blocks: how many the decoder has.
  """
  return apply(params, ids, state=state, taps={f"block_{blocks - 1}/residual": lambda _: value}).logits


@functools.partial(jax.jit, static_argnums=(0, 6, 7))
def _read(
  apply: Any, params: Any, state: Any, ids: jax.Array, at: jax.Array, answer: jax.Array, places: tuple[str, ...],
  blocks: int,
) -> tuple[jax.Array, jax.Array, int]:  # fmt: skip
  rows = jnp.arange(ids.shape[0])

  def one(value):
    there = value[rows, at][:, None]  # norm and head look at one place at a time: the others need no logits
    found = ended(apply, params, state, ids[:, :1], there, blocks)[:, 0]
    not_below = jnp.sum(found >= found[rows, answer][:, None], axis=-1)
    return jax.nn.log_softmax(found, axis=-1)[rows, answer], not_below

  choices = jax.eval_shape(lambda: apply(params, ids, state=state).logits).shape[-1]
  log_p, rank = jax.lax.map(one, jnp.stack(inside.values(apply, params, state, ids, places)))
  return log_p, rank, choices


def _scores(mine: Reading, ideal: Reading | None, forgotten: bool) -> dict[str, Score]:
  m = mine.choices
  usual = (1 / m, -float(np.log(m)), (m + 1) / 2) if forgotten else (1.0, 0.0, 1.0)
  aims = _means(ideal) if ideal else [usual] * len(mine.places)
  spans = ((0.0, 1.0), (-float("inf"), 0.0), (1.0, float(m)))
  n, found, out = mine.rank.shape[1], _means(mine), {}
  for place, values, targets in zip(mine.places, found, aims):
    for what, value, target, span in zip(("first", "log_p", "rank"), values, targets, spans):
      out[f"{place}/{what}"] = Score(value, n, "near", target, *span)
  return {**out, "leak": Score(max(x[0] for x in found), n, "near", max(x[0] for x in aims))}


def _means(reading: Reading) -> list[tuple[float, float, float]]:
  """first, log_p, rank of each place."""
  first, log_p, rank = (reading.rank == 1).mean(1), np.minimum(reading.log_p.mean(1), 0), reading.rank.mean(1)
  return [tuple(map(float, values)) for values in zip(first, log_p, rank)]
