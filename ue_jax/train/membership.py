"""Membership told from what a classifier says: the statistics of a sample, and who is called never seen by them.

Sources and their use: `audit.confidences`; in streams of tasks `train.by_task`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ue_jax.core.errors import require

STATISTICS = ("correctness", "confidence", "entropy", "modified_entropy", "probabilities")
CLASSIFIERS = ("svc", "logistic", "threshold")
FLOOR = 1e-30  # inside logarithms


def statistics(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
  """The statistics of every sample, float64: `[m]`, and `[m, classes]` for `probabilities`.

  Args:
    logits: float `[m, classes]`.
    labels: int `[m]`.
  """
  shifted = np.asarray(logits, np.float64)
  shifted = shifted - shifted.max(-1, keepdims=True)
  log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
  p, mine = np.exp(log_p), np.arange(log_p.shape[1]) == labels[:, None]
  p_y = p[mine]
  others = np.where(mine, 0.0, p * np.log(np.maximum(1 - p, FLOOR))).sum(-1)
  return {
    "correctness": (shifted.argmax(-1) == labels).astype(np.float64),
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
  return (fitted(classifier, x, y).predict(asked) == 1).astype(np.float64)


def fitted(classifier: str, x: np.ndarray, y: np.ndarray) -> Any:
  """A trained classifier of scikit-learn; imported here, for it takes a second.

  Args:
    classifier: `svc`, `logistic`, or `plain`, a logistic regression with the package's own settings.
    x: float `[n, d]`.
    y: int `[n]`.
  """
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
