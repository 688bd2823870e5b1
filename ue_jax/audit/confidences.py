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

from collections.abc import Sequence

import numpy as np

from ue_jax.audit.outputs import Outputs, outputs
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once
from ue_jax.train import membership
from ue_jax.train.membership import CLASSIFIERS, FLOOR, STATISTICS, nonmembers


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
  return membership.statistics(said.logits, said.labels)


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
  return float(np.mean([(membership.fitted("plain", x[a], y[a]).predict(x[b]) == y[b]).mean() for a, b in cuts]))
