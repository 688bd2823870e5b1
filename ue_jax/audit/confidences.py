"""Membership by a classifier on confidences: what the tables of picture unlearning call MIA.

Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models", 2021, for the statistics; Jia et
al., "Model Sparsity Can Simplify Machine Unlearning", 2023, for the use (MIA-efficacy); Chundawat et al., "Can Bad
Teaching Induce Forgetting?", 2023, for the entropy alone; the kit of the NeurIPS 2023 challenge for `simple`.

A classifier learns to tell samples that are still trained on (a random part of `retain`, as many as there are others)
from samples never seen, by one statistic, and is then asked about the set `forget`:

| statistic | of one sample with label y and probabilities p |
| --- | --- |
| `correctness` | 1 if y is the most likely class |
| `confidence` | p_y |
| `entropy` | - sum_k p_k log p_k |
| `modified_entropy` | - (1 - p_y) log p_y - sum_{k != y} p_k log(1 - p_k) |
| `probabilities` | the vector p |

`<statistic>/efficacy` is the share of `forget` called never seen. It is best near the retrained model's, NOT near 1. A
statistic with one value for all, as under a collapsed model, tells nothing: the share is 0.5 then, a coin's.
`entropy/member` is 1 minus that for the entropy, the figure of the second paper. `simple/accuracy`: how well a logistic
regression on the loss alone tells `forget` from the unseen, over ten stratified shuffles; 0.5 is best.
These attacks judge a whole population: methods that they pass may still be caught sample by sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ue_jax.audit.outputs import Outputs, outputs
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

STATISTICS = ("correctness", "confidence", "entropy", "modified_entropy", "probabilities")
CLASSIFIERS = ("svc", "logistic", "threshold")
FLOOR = 1e-30  # inside logarithms


def measure(
  attacks: Sequence[str] = STATISTICS, classifier: str = "svc", label: str = "label", seed: int = 0, chunk: int = 512
) -> Procedure:
  """Request -> Scores `<statistic>/efficacy`, `entropy/member` and `simple/accuracy`, all in [0, 1].

  Reads `forget`, `retain`, and `retain_test` where there is one, else `test`. Without a reference the target of an
  efficacy is what the attack says of samples never seen: of `forget_test` where there is one, else of `test`.

  Args:
    attacks: names in `STATISTICS`.
    classifier: `svc` (C = 3, RBF, as released), `logistic`, or `threshold` (one cut; of one number only).
    label: the labelling.
    seed: which part of `retain`, and the shuffles.
    chunk: samples computed at once.

  Raises:
    Invalid: for an unknown attack or classifier, missing sets, tokens, or outputs that are not finite.
  """
  for name in attacks:
    require(name in STATISTICS, "measure.attacks", name, f"choose from {STATISTICS}")
  require(classifier in CLASSIFIERS, "measure.classifier", classifier, f"choose one of {CLASSIFIERS}")
  wide = classifier == "threshold" and "probabilities" in attacks
  require(not wide, "measure.attacks", "probabilities", "a threshold cuts one number: leave it out, or take 'logistic'")

  def score(key, request: Request) -> Scores:
    del key
    mine = values(request.subject, request.data, attacks, classifier, label, seed, chunk)
    unseen = {name: value for name, (value, _) in mine.items() if name.endswith("/unseen")}
    aims = {name: unseen.get(name.replace("/efficacy", "/unseen"), 0.5) for name in mine}
    if "entropy/member" in mine:
      aims["entropy/member"] = 1 - unseen["entropy/unseen"]
    if request.reference is not None:
      ideal = values(request.reference, request.data, attacks, classifier, label, seed, chunk)
      aims = {name: value for name, (value, _) in ideal.items()}
    return {name: Score(value, n, "near", aims[name]) for name, (value, n) in mine.items() if name not in unseen}

  return once(score)


def values(
  subject: Subject, data: Data, attacks: Sequence[str] = STATISTICS, classifier: str = "svc", label: str = "label",
  seed: int = 0, chunk: int = 512,
) -> dict[str, tuple[float, int]]:  # fmt: skip
  """name -> (value, n) of what `measure` reports, and `<statistic>/unseen`: the efficacy on samples never seen."""
  never = "retain_test" if "retain_test" in data.sets else "test"
  fresh = "forget_test" if "forget_test" in data.sets else never
  said = outputs(subject, data, dict.fromkeys(("forget", "retain", never, fresh)), label, chunk)
  found = {name: statistics(one) for name, one in said.items()}
  out = {}
  for attack in attacks:
    inside, outside = found["retain"][attack], found[never][attack]
    called = lambda name: nonmembers(inside, outside, found[name][attack], classifier, seed)  # noqa: B023
    out[f"{attack}/efficacy"] = (float(called("forget").mean()), len(said["forget"].labels))
    out[f"{attack}/unseen"] = (float(called(fresh).mean()), len(said[fresh].labels))
  if "entropy" in attacks:
    share, n = out["entropy/efficacy"]
    out["entropy/member"] = (1 - share, n)
  losses = [-np.log(np.maximum(found[name]["confidence"], FLOOR)) for name in ("forget", fresh)]
  out["simple/accuracy"] = (simple(*losses, seed), 2 * min(map(len, losses)))
  return out


def statistics(said: Outputs) -> dict[str, np.ndarray]:
  """The statistics of every sample, float64: `[m]`, and `[m, classes]` for `probabilities`."""
  log_p = said.log_probs()
  p, mine = np.exp(log_p), np.arange(log_p.shape[1]) == said.labels[:, None]
  p_y = p[mine]
  others = np.where(mine, 0.0, p * np.log(np.maximum(1 - p, FLOOR))).sum(-1)
  return {
    "correctness": said.hits().astype(np.float64),
    "confidence": p_y,
    "entropy": -(p * np.maximum(log_p, np.log(FLOOR))).sum(-1),
    "modified_entropy": -(1 - p_y) * np.maximum(log_p[mine], np.log(FLOOR)) - others,
    "probabilities": p,
  }


def nonmembers(
  members: np.ndarray, outsiders: np.ndarray, asked: np.ndarray, classifier: str = "svc", seed: int = 0
) -> np.ndarray:
  """Which of the samples asked about are called never seen: 1, or 0 for trained on, float64 `[a]`.

  Where all samples to learn from have one and the same value, as under a model that says the same of everything, there
  is no call to make: 0.5 for all, so that their share is no verdict. 0 or 1 would say that nobody or everybody is out.

  Args:
    members: float `[m]` or `[m, d]`, a statistic of samples trained on; a random part is taken where there are more
      than outsiders (the release takes the first rows), and the reverse.
    outsiders: `[n]` or `[n, d]`, of samples never seen.
    asked: `[a]` or `[a, d]`.
    classifier: a name in `CLASSIFIERS`.
    seed: names the part.
  """
  rng, size = np.random.default_rng(seed), min(len(members), len(outsiders))
  require(size > 0 and len(asked) > 0, "measure.sets", "no sample", "name sets that are not empty")
  draw = lambda x: x[np.sort(rng.permutation(len(x))[:size])].reshape(size, -1)
  x, y = np.concatenate([draw(members), draw(outsiders)]), np.repeat([0, 1], size)
  asked = asked.reshape(len(asked), -1)
  if (x == x[0]).all():
    return np.full(len(asked), 0.5)
  if classifier == "threshold":
    return _cut(x[:, 0], y, asked[:, 0]).astype(np.float64)
  return (_fitted(classifier, x, y).predict(asked) == 1).astype(np.float64)


def simple(inside: np.ndarray, outside: np.ndarray, seed: int = 0, shuffles: int = 10) -> float:
  """Mean accuracy of a logistic regression on the loss over stratified shuffles, on equally many of both.

  Args:
    inside: float `[a]`, losses of what should be forgotten.
    outside: float `[b]`, losses of samples never seen.
    seed: names the equal parts and the shuffles.
    shuffles: of nine tenths for training and one tenth for testing.

  Raises:
    Invalid: for fewer than two samples a side.
  """
  from sklearn import model_selection

  rng, size = np.random.default_rng(seed), min(len(inside), len(outside))
  require(size >= 2, "measure.sets", size, "give at least two samples a side")
  x = np.concatenate([rng.permutation(inside)[:size], rng.permutation(outside)[:size]])[:, None]
  y = np.repeat([1, 0], size)
  cuts = model_selection.StratifiedShuffleSplit(shuffles, test_size=max(0.1, 1 / size), random_state=seed).split(x, y)
  return float(np.mean([(_fitted("plain", x[a], y[a]).predict(x[b]) == y[b]).mean() for a, b in cuts]))


def _fitted(classifier: str, x: np.ndarray, y: np.ndarray) -> Any:
  """A trained classifier of scikit-learn; imported here, for it takes a second."""
  from sklearn import linear_model, svm

  makers: Mapping[str, Any] = {
    "svc": lambda: svm.SVC(C=3.0, kernel="rbf", gamma="auto"),
    "logistic": lambda: linear_model.LogisticRegression(C=100.0, max_iter=1000),
    "plain": lambda: linear_model.LogisticRegression(),
  }
  return makers[classifier]().fit(x, y)


def _cut(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
  """Calls by the single threshold, on either side, most often right on `(x, y)`, where both kinds are equally many."""
  order = np.argsort(x, kind="stable")
  x, y = x[order], y[order]
  ends = np.flatnonzero(np.append(x[1:] != x[:-1], True))  # a cut behind the last of equal values
  right = np.cumsum(2 * y - 1)[ends]  # outsiders less members among those not above the cut
  at, below = int(np.argmax(np.abs(right))), bool(right[np.argmax(np.abs(right))] > 0)
  return (asked <= x[ends[at]]) == below
