"""What a decoder holds inside: the values at its sites, at the last token of every prompt."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.pieces import pieces
from ue_jax.core.tree import named_leaves


def blocks(subject: Subject) -> int:
  """How many blocks the decoder has.

  Raises:
    Invalid: for a model whose parameters are not named `block_0/...`, `block_1/...`.
  """
  found = {name.split("/")[0] for name, _ in named_leaves(subject.params)}
  count = sum(bool(re.fullmatch(r"block_\d+", name)) for name in found)
  require(count > 0, "measure.model", sorted(found), "give a decoder (models.transformer, models.decoder)")
  return count


def prompts(data: Data, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Of rows `[m]`: ids int32 `[m, t]`, the place of the prompt's last token and the answer's first token, int32 `[m]`.

  Raises:
    Invalid: for pictures, or a row without a prompt or an answer.
  """
  require(scoring.is_tokens(data), "measure.name", sorted(data.arrays), "measure token sequences with it")
  ids, mask = data.arrays["ids"][rows], data.arrays["mask"][rows] > 0
  fit = bool(mask.any(1).all()) and not mask[:, 0].any()
  require(fit, "measure.sets", "a row without prompt or answer", "name sets of questions with answers")
  at = mask.argmax(1).astype(np.int32)
  return ids, at - 1, ids[np.arange(len(ids)), at]


def values(apply: Any, params: Any, state: Any, ids: jax.Array, sites: Sequence[str]) -> list[jax.Array]:
  """What the model holds at each site, `[b, t, width]` each, in the order of `sites`; traceable."""
  found: dict[str, jax.Array] = {}

  def keep(site, value):
    found[site] = value
    return value

  apply(params, ids, state=state, taps={site: functools.partial(keep, site) for site in sites})
  return [found[site] for site in sites]


def last(subject: Subject, data: Data, rows: np.ndarray, sites: Sequence[str], chunk: int = 256) -> np.ndarray:
  """What the model holds at the last token of each prompt, float32 `[sites, m, width]`.

  Raises:
    Invalid: see `prompts`; for a site that the model does not have.
  """
  ids, at, _ = prompts(data, rows)
  parts = []
  for some in pieces(len(rows), chunk, "measure.chunk"):
    parts.append(_last(subject.model.apply, subject.params, subject.state, ids[some], at[some], tuple(sites)))
  return np.concatenate(jax.device_get(parts), axis=1)[:, : len(rows)]


@functools.partial(jax.jit, static_argnums=(0, 5))
def _last(apply: Any, params: Any, state: Any, ids: jax.Array, at: jax.Array, sites: tuple[str, ...]) -> jax.Array:
  rows = jnp.arange(ids.shape[0])
  return jnp.stack([x[rows, at].astype(jnp.float32) for x in values(apply, params, state, ids, sites)])
