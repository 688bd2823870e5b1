"""LiRA: was a sample trained on, judged sample by sample with shadow models.

Carlini et al., "Membership Inference Attacks From First Principles", 2022, the online attack with normals. The shadow
models are trained by the same recipe on random halves of what was trained on and what was not, taken together, as one
vmapped program; a sample's score is the log-ratio of `shadows.log_ratio` at the audited model's phi.

`lira/auc` is 1 where forgotten samples are still told from samples never seen, 0.5 where not; `lira/tpr@0.01` is the
share of them that is told while one in a hundred unseen ones is taken for one. Both are best near the reference's.
Far stronger than attacks that look at a population (`confidences`), and it still asks one model: see `u_lira`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ue_jax.audit import membership, shadows
from ue_jax.core import tree
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Score, Scores, Subject
from ue_jax.core.procedure import Procedure, once

RATES = (0.001, 0.01)


def measure(
  train: Procedure, models: int = 16, members: str = "", nonmembers: str = "", label: str = "label",
  seed: int | None = None, chunk: int = 512,
) -> Procedure:  # fmt: skip
  """Request -> Scores `lira/auc`, `lira/tpr@0.001`, `lira/tpr@0.01`, all in [0, 1]. For picture classifiers.

  Args:
    train: the procedure that trained the subject, with the same settings.
    models: shadow models, an even number. A sample has a spread of its own where 64 with and 64 without each are given:
      128 models, or a few more for an odd number of samples. Stricter than published: 64 in all.
    members: the set that was trained on, or asked to be forgotten; empty: `forget`, or `train` where there is none.
    nonmembers: the set never seen; empty: `forget_test` where there is one, else `test`.
    label: the labelling.
    seed: of the halves and of the trainings; None: from the key, another one for every run.
    chunk: samples computed at once.

  Raises:
    Invalid: for an odd number of models, missing sets, tokens, or outputs that are not finite.
  """
  require(models >= 4 and models % 2 == 0, "measure.models", models, "give an even number, at least 4")
  held: dict[str, Any] = {}  # the shadow models of the data seen last serve every subject that is asked about

  def score(key, request: Request) -> Scores:
    drawn, has = shadows.seed_of(key, seed), request.data.sets
    inside = members or ("forget" if "forget" in has else "train")
    outside = nonmembers or ("forget_test" if "forget_test" in has else "test")
    for name in ("train", inside, outside):
      require(name in has, "measure.sets", name, f"choose from {sorted(has)}")
    known = (drawn, tree.fingerprint([dict(request.data.arrays), dict(request.data.sets)]))
    if held.get("known") != known:
      told = _shadowed(train, request.data, (inside, outside), models, label, drawn, chunk)
      held.update(known=known, told=told)
    told = held["told"]
    mine = told(request.subject)
    ideal = told(request.reference) if request.reference is not None else None
    n = len(has[inside]) + len(has[outside])
    aims = {"auc": 0.5, **{f"tpr@{rate}": rate for rate in RATES}} if ideal is None else ideal
    return {f"lira/{name}": Score(value, n, "near", aims[name]) for name, value in mine.items()}

  return once(score)


def _shadowed(train, data: Data, sets: tuple[str, str], models: int, label: str, seed: int, chunk: int):
  """A function from a Subject to what the attack says of it, after the shadow models are trained."""
  asked = np.concatenate([np.asarray(data.sets[name]) for name in sets])
  pool = np.unique(np.concatenate([np.asarray(data.sets["train"]), asked]))
  given = shadows.halves(len(pool), models, seed)
  trained = shadows.train_many(train, data, [pool[one] for one in given], seed)
  every = Data(data.arrays, {**data.sets, "asked": asked}, data.info)
  phi = shadows.confidences(trained, every, "asked", label, chunk)
  inside = given[:, np.searchsorted(pool, asked)]
  n = len(data.sets[sets[0]])

  def told(subject: Subject) -> dict[str, float]:
    ratio = shadows.log_ratio(shadows.confidences([subject], every, "asked", label, chunk)[0], phi, inside)
    auc = membership.auc(-ratio[:n], -ratio[n:])  # of scores that are small for members
    return {"auc": auc, **{f"tpr@{r}": tpr for r, tpr in zip(RATES, shadows.rates(ratio[:n], ratio[n:], RATES))}}

  return told
