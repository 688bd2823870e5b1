"""What a subject can do: accuracy, or exact match, probability and nll, on every named set.

For token sequences, with s the log-probability of the answer and n the number of its tokens (Maini et al.,
"TOFU: A Task of Fictitious Unlearning for LLMs", 2024, section 2.2.1):
  `ex`  share of sequences whose target tokens are all the most likely ones (teacher forcing);
  `p`   mean over sequences of exp(s / n);
  `nll` - sum s / sum n.
A sequence without a target is padding: it counts for nothing, and a set of such alone scores 0 of 0 sequences.
For pictures: `accuracy` and `nll`.

What is good depends on the set and on the run:
- with a reference (retrained without the forget set), as close to the reference as possible, everywhere;
- without, low on what should be forgotten (`forget*`, `relearn*`) or was never seen (`holdout*`), high elsewhere;
- after protection (`request.clean` is there), low on clean pictures that the subject did not train on
  (`test`: chance; `test_permuted`: none), high on protected ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.audit import scoring
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once

PICTURES = (
  "train", "forget", "retain", "test", "forget_test", "retain_test", "test_protected", "test_permuted",
)
FORGOTTEN = ("forget", "relearn", "holdout")


def measure(sets: Sequence[str] = (), label: str = "label", chunk: int = 256) -> Procedure:
  """Request -> Scores named `<set>/ex`, `<set>/p`, `<set>/nll`, or `<set>/accuracy`, `<set>/nll`.

  Args:
    sets: which sets; empty: for tokens all of the data but `train` when it is split into forget and
      retain, for pictures those of `PICTURES` that exist.
    label: the labelling, for pictures.
    chunk: samples computed at once.

  Raises:
    Invalid: for an unknown set or labelling.
  """

  return once(lambda key, request: scores(request, sets, label, chunk))


def scores(request: Request, sets: Sequence[str] = (), label: str = "label", chunk: int = 256) -> Scores:
  """What `measure` finds, for use by hand and by other measures."""
  names = tuple(sets) or default_sets(request.data)
  mine = _values(scoring.score(request.subject, request.data, names, label, chunk), request.data)
  if request.reference is None:
    return {name: Score(value, n, *_aim(name, choices, request)) for name, (value, n, choices) in mine.items()}
  ideal = _values(scoring.score(request.reference, request.data, names, label, chunk), request.data)
  return {name: Score(value, n, "near", ideal[name][0], *_range(name)) for name, (value, n, _) in mine.items()}


def default_sets(data: Data) -> tuple[str, ...]:
  """The sets worth looking at when none are named."""
  if not scoring.is_tokens(data):
    return tuple(name for name in PICTURES if name in data.sets)
  split = {"forget", "retain"} <= set(data.sets)
  usual = (name for name in data.sets if not name.endswith("_perturbed"))  # those hold wrong answers
  return tuple(name for name in usual if not (split and name == "train"))


def _values(scored: dict[str, scoring.Scored], data: Data) -> dict[str, tuple[float, int, int]]:
  """name -> (value, n, number of outputs)."""
  out = {}
  for name, one in scored.items():
    there = one.mask.any(-1)
    m, targets = int(there.sum()), int(one.mask.sum())
    out[f"{name}/ex" if scoring.is_tokens(data) else f"{name}/accuracy"] = (_mean(one.exact()[there]), m, one.choices)
    if scoring.is_tokens(data):
      out[f"{name}/p"] = (_mean(np.exp(-one.mean_nll()[there])), m, one.choices)
    nll = -float(one.log_probs.sum(dtype=np.float64)) / max(targets, 1)
    out[f"{name}/nll"] = (nll, targets, one.choices)
  return out


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else 0.0


def _range(name: str) -> tuple[float, float]:
  return (0.0, float("inf")) if name.endswith("/nll") else (0.0, 1.0)


def _aim(name: str, choices: int, request: Request) -> tuple[str, float, float, float]:
  """(better, target, low, high) when there is no reference to be near to."""
  group, what = name.rsplit("/", 1)
  unlike_train = group.startswith(FORGOTTEN)
  chance = 0.0 if what in ("ex", "p") else 1.0 / choices
  if request.clean is not None and group in ("test", "test_permuted"):
    unlike_train, chance = True, 1.0 / choices if group == "test" else 0.0
  if what == "nll":  # beyond the nll of a uniform guess is not forgotten better, it is damage
    return ("near", float(np.log(choices)) if unlike_train else 0.0, *_range(name))
  return ("low", chance, 0.0, 1.0) if unlike_train else ("high", 1.0, 0.0, 1.0)
