"""Linear probes: can a person's attributes be read off the hidden states, when nobody would say them any more?

Source: Alain and Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", 2017; as an audit of
unlearning in Lynch et al., "Eight Methods to Evaluate Robust Unlearning in LLMs", 2024; with the shuffled control of
Hewitt and Liang, "Designing and Interpreting Probes with Control Tasks", 2019.

For every relation (where a person was born) and every block, a logistic regression learns from the hidden state at the
last token of questions about known persons which token the answer begins with, and is then asked about the persons to
be forgotten. Controls: the same on the reference, which never saw them, and with shuffled labels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.audit import inside
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once
from ue_jax.train import logistic

TINY = 1e-6  # added to the deviation of a feature


def measure(
  known: str = "retain", asked: str = "forget", site: str = "residual",
  penalties: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0), steps: int = 300, seed: int = 0, chunk: int = 256,
) -> Procedure:  # fmt: skip
  """Request -> Scores `<asked>/block_i/probe`, `<asked>/block_i/shuffled` and `<asked>/probe`, accuracies in [0, 1].

  `<asked>/probe` is the best block's. With a reference the probes are best near the same probes of the reference;
  without, near chance (a uniform guess among the answers of the relation), as the shuffled ones always are.

  Args:
    known: set that the regressions learn from. A fifth of its persons chooses among `penalties`, block by block.
    asked: set that is asked about; rows whose answer begins like no known one of their relation are left out.
    site: of every block, a site of `models.transformer`.
    penalties: on the squared weights, of standardised features.
    steps: of the regression.
    seed: of the persons that choose, and of the shuffled labels.
    chunk: samples computed at once.

  Raises:
    Invalid: for an unknown set or site, no row to ask about, or what is not a decoder over token sequences.
  """
  require(len(penalties) > 0 and min(penalties) > 0, "measure.penalties", penalties, "give numbers above 0")

  def score(key, request: Request) -> Scores:
    del key
    data = request.data
    for name in (known, asked):
      require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
    rows = np.concatenate([data.sets[known], data.sets[asked]])
    task = problem(data, rows, len(data.sets[known]), seed)
    look = lambda subject: _accuracies(subject, data, rows, site, task, penalties, steps, chunk)
    mine, shuffled = look(request.subject)
    ideal = look(request.reference)[0] if request.reference else np.full(len(mine), task.chance)
    n, out = int(task.asked_mask.sum()), {}
    for i, (a, b, target) in enumerate(zip(mine, shuffled, ideal)):
      out[f"{asked}/block_{i}/probe"] = Score(float(a), n, "near", float(target))
      out[f"{asked}/block_{i}/shuffled"] = Score(float(b), n, "near", task.chance)
    return {**out, f"{asked}/probe": Score(float(mine.max()), n, "near", float(ideal.max()))}

  return once(score)


class Problem(NamedTuple):
  """Which rows of the features belong together: relation r has rows `known[r]` and `asked[r]`, padded.

  Attributes:
    known, asked: int32 `[relations, n]`, rows of the features.
    known_mask, asked_mask: float32 of the same shapes, 0 for padding.
    label, wanted: int32 of the same shapes, classes counted within the relation.
    wrong: int32 like `label`, the labels shuffled within the relation.
    choosing: float32 like `known_mask`, 1 for rows of the persons that choose the penalty.
    present: bool `[relations, classes]`.
    chance: of a uniform guess, over the rows that are asked about.
  """

  known: np.ndarray
  asked: np.ndarray
  known_mask: np.ndarray
  asked_mask: np.ndarray
  label: np.ndarray
  wanted: np.ndarray
  wrong: np.ndarray
  choosing: np.ndarray
  present: np.ndarray
  chance: float


def problem(data: Data, rows: np.ndarray, count: int, seed: int = 0) -> Problem:
  """The regressions of positions `rows` in the data, of which the first `count` are known.

  Rows belong together by `relation`, if the data has it, and to one person by `person`, else to themselves.

  Raises:
    Invalid: if no answer of the other rows begins like one of the known.
  """
  token = inside.prompts(data, rows)[2]
  relation = data.arrays.get("relation", np.zeros(data.n, np.int32))[rows]
  person = data.arrays.get("person", data.arrays["index"])[rows]
  rng, parts = np.random.default_rng(seed), []
  everyone = np.unique(person[:count])
  choosers = rng.permutation(everyone)[: max(len(everyone) // 5, 1)]
  for r in np.unique(relation):
    mine = np.flatnonzero(relation == r)
    known, others = mine[mine < count], mine[mine >= count]
    classes = np.unique(token[known])
    others = others[np.isin(token[others], classes)]
    if len(others):
      label = np.searchsorted(classes, token[known])
      parts.append((known, others, label, np.searchsorted(classes, token[others]), rng.permutation(label),
                    np.isin(person[known], choosers), np.ones(len(classes), bool)))  # fmt: skip
  require(bool(parts), "measure.asked", "no row", "name sets that share relations and answers")
  known, asked, label, wanted, wrong, choosing, present = (_padded(column) for column in zip(*parts))
  known_mask, asked_mask = (_padded([np.ones(len(p[i]), np.float32) for p in parts]) for i in (0, 1))
  chance = float((asked_mask / present.sum(1, keepdims=True)).sum() / asked_mask.sum())
  choosing = choosing.astype(np.float32)
  return Problem(known, asked, known_mask, asked_mask, label, wanted, wrong, choosing, present, chance)


def accuracies(
  features: np.ndarray, task: Problem, penalties: Sequence[float], steps: int = 300
) -> tuple[np.ndarray, np.ndarray]:
  """Shares of right answers to what is asked, with true and with shuffled labels, each float64 `[places]`.

  Args:
    features: float32 `[places, rows, d]`.
    task: which row is what.
    penalties: see `measure`.
    steps: see `measure`.
  """
  grid = np.sort(np.asarray(penalties, np.float32))[::-1]  # of equally good penalties the largest is the first
  share = lambda x, label: np.asarray(_hits(x, task, label, grid, steps)).sum() / float(task.asked_mask.sum())
  right, shuffled = ([share(x, label) for x in features] for label in (task.label, task.wrong))
  return np.array(right, np.float64), np.array(shuffled, np.float64)


@functools.partial(jax.jit, static_argnums=4)
def _hits(features: jax.Array, task: Problem, labels: jax.Array, penalties: jax.Array, steps: int) -> jax.Array:
  """float32 `[relations, asked]`, 1 where the answer is right: the penalty is chosen over all relations together."""

  def one(known, label, mask, present, there, penalty):
    found = logistic.fit(features[known], label, mask, present, penalty, steps)
    return logistic.predict(features[there], found, present)

  every = jax.vmap(one, in_axes=(0, 0, 0, 0, 0, None))
  learning = task.known_mask * (1 - task.choosing)
  tried = jax.lax.map(lambda p: every(task.known, labels, learning, task.present, task.known, p), penalties)
  good = jnp.sum(jnp.where(tried == labels, task.known_mask * task.choosing, jnp.float32(0)), axis=(1, 2))
  said = every(task.known, labels, task.known_mask, task.present, task.asked, penalties[jnp.argmax(good)])
  return jnp.where(said == task.wanted, task.asked_mask, jnp.float32(0))


def _accuracies(
  subject: Subject, data: Data, rows: np.ndarray, site: str, task: Problem, penalties: Sequence[float], steps: int,
  chunk: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
  sites = [f"block_{i}/{site}" for i in range(inside.blocks(subject))]
  features = inside.last(subject, data, rows, sites, chunk)
  return accuracies(standardised(features, task), task, penalties, steps)


def standardised(features: np.ndarray, task: Problem) -> np.ndarray:
  """Features `[places, rows, d]` less their mean over the known rows, over their deviation there."""
  known = features[:, np.unique(task.known[task.known_mask > 0])].astype(np.float64)
  middle, spread = known.mean(1, keepdims=True), known.std(1, keepdims=True)
  return ((features - middle) / (spread + TINY)).astype(np.float32)


def _padded(columns: Sequence[np.ndarray]) -> np.ndarray:
  """Rows of different lengths as one array, filled up with zeros."""
  out = np.zeros((len(columns), max(map(len, columns))), np.asarray(columns[0]).dtype)
  for i, column in enumerate(columns):
    out[i, : len(column)] = column
  return out.astype(np.int32) if np.issubdtype(out.dtype, np.integer) else out
