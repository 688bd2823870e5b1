"""ASR: how often boosted trees on sorted softmax vectors tell what was forgotten from what was never seen.

Shen et al., "Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models", ICLR 2024 (attack success rate),
in the form of the released code. The attacker knows which samples are still trained on, and half of the samples never
seen; no label is read:

| | members | not members |
| --- | --- | --- |
| to learn from | `size of forget` samples of `retain` | half of `test` |
| to be asked about | all of `forget` | the other half of `test` |

`ASR` is the share of right answers about the second line, in [0, 1], where either kind weighs as much as the other: the
mean of the share of `forget` that is called a member and the share of the other half that is not. 0.5 is a coin. Best
near the value of the model trained again, else near 0.5; below 0.5 what was forgotten stands out on the other side.

Departures: which samples of `retain` and which half of `test` is drawn at random, several times, and ASR is the mean
over the draws (released: once, the first 5000 test samples in file order); either kind has the same weight (released:
shares of unequally many, so that the sizes of the sets are part of the figure); the trees are those of
`HistGradientBoostingClassifier` of scikit-learn with the settings that XGBoost has by itself (100 trees up to 6 deep,
rate 0.3, L2 1), not XGBoost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ue_jax.audit.outputs import Outputs, outputs
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once


def measure(
  nonmembers: str = "test", draws: int = 3, trees: int = 100, seed: int = 0, label: str = "label", chunk: int = 512
) -> Procedure:
  """Request -> Score `ASR` in [0, 1], best near that of the reference, else near 0.5. For picture classifiers.

  Args:
    nonmembers: the set of samples never seen. As released it has all classes, also where a whole class is forgotten and
      `retain` has none of it: `retain_test` and `forget_test` tell these apart.
    draws: attacks, each with other samples of `retain` and another half of `nonmembers`; the reference has the same.
    trees: boosting rounds of each.
    seed: names the draws.
    label: a labelling that the data has; no attack reads it.
    chunk: samples computed at once.

  Raises:
    Invalid: for numbers below 1, missing sets, fewer than two samples never seen, tokens, or outputs that are not
      finite.
  """
  for name, value in (("draws", draws), ("trees", trees)):
    good = isinstance(value, (int, np.integer)) and value >= 1
    require(good, f"measure.{name}", value, "give a whole number of at least 1")

  def score(key, request: Request) -> Scores:
    del key
    rate = lambda subject: success(subject, request.data, nonmembers, draws, trees, seed, label, chunk)
    value, n = rate(request.subject)
    ideal = 0.5 if request.reference is None else rate(request.reference)[0]
    return {"ASR": Score(value, n, "near", ideal)}

  return once(score)


def success(
  subject: Subject, data: Data, nonmembers: str = "test", draws: int = 3, trees: int = 100, seed: int = 0,
  label: str = "label", chunk: int = 512,
) -> tuple[float, int]:  # fmt: skip
  """The ASR against a subject, in [0, 1], and the number of samples asked about in each draw."""
  said = outputs(subject, data, dict.fromkeys(("forget", "retain", nonmembers)), label, chunk)
  forget, retain, never = (sorted_softmax(said[name]) for name in ("forget", "retain", nonmembers))
  require(min(len(forget), len(retain)) > 0, "measure.sets", "no sample", "give `forget` and `retain` at least one")
  require(len(never) >= 2, "measure.nonmembers", nonmembers, f"name a set of at least two samples, not {len(never)}")
  half, found = len(never) // 2, []
  for draw in range(draws):
    rng = np.random.default_rng((seed, draw))
    inside, outside = retain[rng.permutation(len(retain))[: len(forget)]], rng.permutation(never)
    found.append(told((inside, outside[:half]), (forget, outside[half:]), trees, seed))
  return float(np.mean(found)), len(forget) + len(never) - half


def sorted_softmax(said: Outputs) -> np.ndarray:
  """The probabilities of each sample in ascending order, float64 `[m, classes]`: which class is which is gone."""
  return np.sort(np.exp(said.log_probs()), axis=-1)


def told(learned: Sequence[np.ndarray], asked: Sequence[np.ndarray], trees: int = 100, seed: int = 0) -> float:
  """The share of right answers of boosted trees, in [0, 1], either kind with weight 1/2, in learning and in asking.

  Args:
    learned: members float `[a, d]` and others `[b, d]`, to learn from.
    asked: members `[c, d]` and others `[e, d]`, to be asked about.
    trees: boosting rounds.
    seed: of the trees; it matters above 200 000 samples only, of which some are drawn for the cuts.
  """
  from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second
  from threadpoolctl import threadpool_limits

  x, y = np.concatenate(learned), np.repeat([1, 0], [len(part) for part in learned])
  if (x == x[0]).all():
    return 0.5  # nothing to tell them by
  weight = np.concatenate([np.full(len(part), len(x) / (2 * len(part))) for part in learned])
  made = HistGradientBoostingClassifier(
    max_iter=trees, learning_rate=0.3, max_depth=6, max_leaf_nodes=None, min_samples_leaf=4, l2_regularization=1.0,
    early_stopping=False, random_state=seed,
  )  # fmt: skip
  with threadpool_limits(1):  # of so few samples several threads are slower
    made.fit(x, y, sample_weight=weight)
    called = [made.predict(part) for part in asked]
  return float((called[0].mean() + 1 - called[1].mean()) / 2)
