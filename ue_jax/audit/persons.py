"""How sure the figures of a language model are: a bootstrap over persons, not over questions.

Questions about one person are strongly dependent: a model that lost the person lost them all. So it is persons who are
drawn again with replacement, each with all of its questions, as often as the set has persons (Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, chapter 8: units are what is independent). Of every set and of the scores `ex`
and `p` of `audit.utility`:

| score | is | ideal |
| --- | --- | --- |
| `<set>/<score>/error` | one standard error of the score | 0 |
| `<set>/<score>/excess` | the score less that of the reference, on the same questions | 0 |
| `<set>/<score>/excess_low`, `excess_high` | its 95 % interval: the same persons drawn for both | around 0 |

It says nothing of other seeds of training or unlearning: those are further runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from ue_jax.audit import scoring, utility
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once

LEVEL = 0.95


def measure(sets: Sequence[str] = (), by: str = "person", draws: int = 2000, chunk: int = 256) -> Procedure:
  """Request -> Scores of the table above; those of the excess if the request has a reference. For token sequences.

  Args:
    sets: which sets; empty: those of `audit.utility` whose sequences all belong to somebody, of two persons at least.
    by: the array, int32 `[n]`, that says to whom a sequence belongs; below 0: to nobody.
    draws: how often the persons are drawn again.
    chunk: samples computed at once.

  Raises:
    Invalid: for pictures, an array or a set that is not there, a set with sequences of nobody or of one person alone,
      or less than 100 draws.
  """
  good = isinstance(draws, int) and draws >= 100
  require(good, "measure.draws", draws, "give a whole number >= 100: an interval is read off its tails")

  def score(key: jax.Array, request: Request) -> Scores:
    data = request.data
    require(scoring.is_tokens(data), "measure.name", "audit.persons", "use it on token sequences")
    require(by in data.arrays, "measure.by", by, f"choose from {sorted(data.arrays)}")
    names = tuple(sets) or tuple(n for n in utility.default_sets(data) if not _wrong(_owners(data, n, by)))
    require(len(names) > 0, "measure.sets", sets, f"no set is of two or more of {by!r}: name another array")
    mine = scoring.score(request.subject, data, names, chunk=chunk)  # which names the sets that are not there
    theirs = request.reference and scoring.score(request.reference, data, names, chunk=chunk)
    out = {}
    for i, name in enumerate(names):
      there = mine[name].mask.any(-1)  # the others are padding
      owners = _owners(data, name, by)[there]
      wrong = _wrong(owners)
      require(not wrong, "measure.sets", name, f"{wrong}: name sets of two or more of {by!r}")
      drawn = counts(jax.random.fold_in(key, i), len(np.unique(owners)), draws)
      here, other = _values(mine[name]), theirs and _values(theirs[name])
      for what, values in here.items():
        found = figures(values[there], other and other[what][there], owners[there], drawn)
        out |= {f"{name}/{what}/{figure}": score for figure, score in found.items()}
    return out

  return once(score)


def counts(key: jax.Array, persons: int, draws: int) -> np.ndarray:
  """How often each person is drawn, int64 `[draws, persons]`; every row adds up to `persons`."""
  drawn = np.asarray(jax.random.randint(key, (draws, persons), 0, persons))
  flat = drawn + persons * np.arange(draws)[:, None]
  return np.bincount(flat.reshape(-1), minlength=draws * persons).reshape(draws, persons)


def figures(mine: np.ndarray, theirs: np.ndarray | None, owners: np.ndarray, drawn: np.ndarray) -> dict[str, Score]:
  """`error` and, where there is a reference, `excess`, `excess_low` and `excess_high` of means over questions.

  Args:
    mine: float `[m]` in [0, 1], a value a question, of the subject.
    theirs: the same of the reference, or None.
    owners: int `[m]`, to whom each question belongs.
    drawn: from `counts`, for as many persons as `owners` has.
  """
  _, at = np.unique(owners, return_inverse=True)
  sizes = drawn @ np.bincount(at, minlength=drawn.shape[1])
  means = lambda values: (drawn @ np.bincount(at, values, minlength=drawn.shape[1])) / sizes
  persons = drawn.shape[1]
  out = {"error": Score(float(means(mine).std(ddof=1)), persons, "low", 0.0)}
  if theirs is not None:
    apart = np.asarray(mine, np.float64) - theirs
    low, high = np.quantile(means(apart), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    for name, value in (("excess", apart.mean()), ("excess_low", low), ("excess_high", high)):
      out[name] = Score(float(value), persons, "near", 0.0, -1.0, 1.0)
  return out


def _values(scored: scoring.Scored) -> dict[str, np.ndarray]:
  """A value a question of the scores that have one, in [0, 1]."""
  return {"ex": scored.exact().astype(np.float64), "p": np.exp(-scored.mean_nll())}


def _owners(data: Data, name: str, by: str) -> np.ndarray:
  """To whom the sequences of a set belong, int32 `[m]`; none for a set that is not there."""
  return np.asarray(data.arrays[by])[np.asarray(data.sets.get(name, ()), int)]


def _wrong(owners: np.ndarray) -> str:
  """Why no persons of a set can be drawn again; empty if they can."""
  if len(owners) and owners.min() < 0:
    return "some of its sequences belong to nobody"
  return "" if len(np.unique(owners)) > 1 else "it is of one person"
