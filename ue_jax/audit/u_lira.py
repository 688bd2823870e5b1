"""U-LiRA: can samples that a method unlearned be told from samples never seen, judged sample by sample?

Hayes et al., "Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy", 2024. It judges the
method, not one model: shadow models are trained with a random half of the targets (samples of the set `forget`) beside
all of `retain`, and the method is asked to forget that half. Of one target, phi over the models that unlearned it and
over those that never saw it (and unlearned others) are two normals; a model left out is told by the larger likelihood.

`u_lira/accuracy` is the share told rightly, over targets and models: 0.5 is perfect unlearning, and what training again
has; what no method at all gives is what there was to unlearn. Population attacks call methods good that this one
breaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ue_jax.audit import shadows
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores
from ue_jax.core.procedure import Procedure, once
from ue_jax.parallel import many


def measure(
  train: Procedure, method: Procedure | None = None, models: int = 16, targets: int = 40, label: str = "label",
  seed: int | None = None, chunk: int = 512,
) -> Procedure:  # fmt: skip
  """Request -> Scores `u_lira/accuracy` in [0, 1]. For picture classifiers.

  Of the request only the data is read: its sets `forget` (the targets are drawn from it) and `retain`.

  Args:
    train: the procedure that trained the subject.
    method: the procedure that made the audited model of it; None: nothing was done.
    models: shadow models, an even number. A target has a spread of its own where 64 with and 64 without it are left
      beside the model that is judged: 130 models. Stricter than published: 64 in all.
    targets: how many; no more than `forget` has.
    label: the labelling.
    seed: of the targets, the halves and the trainings; None: from the key, another one for every run.
    chunk: samples computed at once.

  Raises:
    Invalid: for an odd number of models or fewer than 6, fewer than 2 targets, missing sets, or tokens.
  """
  require(models >= 6 and models % 2 == 0, "measure.models", models, "give an even number, at least 6")
  require(targets >= 2, "measure.targets", targets, "give at least two")

  def score(key, request: Request) -> Scores:
    phi, inside = banks(request, train, method, models, targets, label, shadows.seed_of(key, seed), chunk)
    right = told(phi, inside)
    return {"u_lira/accuracy": Score(float(right.mean()), right.size, "near", 0.5)}

  return once(score)


def banks(
  request: Request, train: Procedure, method: Procedure | None, models: int, targets: int, label: str = "label",
  seed: int = 0, chunk: int = 512,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
  """phi of every target under every unlearned model, float64 `[models, targets]`, and which had known it, bool."""
  data = request.data
  for name in ("forget", "retain"):
    require(name in data.sets, "measure.sets", name, f"choose from {sorted(data.sets)}")
  chosen = np.sort(np.random.default_rng(seed).permutation(np.asarray(data.sets["forget"]))[:targets])
  chosen, retain = chosen[: len(chosen) // 2 * 2], np.asarray(data.sets["retain"])
  inside = shadows.halves(len(chosen), models, seed)
  forgets = [chosen[one] for one in inside]
  subjects = shadows.train_many(train, data, [np.sort(np.concatenate([retain, one])) for one in forgets], seed)
  every = Data(data.arrays, {**data.sets, "targets": chosen}, data.info)
  if method is not None:
    asked = [_asked(every, subject, retain, forget) for subject, forget in zip(subjects, forgets)]
    subjects = many.fit(method, asked, [seed * 1000 + 500 + i for i in range(models)])
  return shadows.confidences(subjects, every, "targets", label, chunk), inside


def told(phi: np.ndarray, inside: np.ndarray) -> np.ndarray:
  """bool `[models, targets]`: a model left out of the fit is told rightly to have known the target or not.

  Args:
    phi: float `[models, targets]`.
    inside: bool `[models, targets]`, which models had known it; at least three with and three without each.
  """
  out = np.zeros(phi.shape, bool)
  for i in range(len(phi)):
    others = np.arange(len(phi)) != i
    out[i] = (shadows.log_ratio(phi[i], phi[others], inside[others]) > 0) == inside[i]
  return out


def _asked(data: Data, subject: Any, retain: np.ndarray, forget: np.ndarray) -> Request:
  rows = np.sort(np.concatenate([retain, forget])).astype(np.int32)
  sets = {**data.sets, "train": rows, "retain": retain.astype(np.int32), "forget": forget.astype(np.int32)}
  return Request(subject, Data(data.arrays, sets, data.info), original=subject)
