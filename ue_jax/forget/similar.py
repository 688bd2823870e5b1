"""Forget sets that another task suffers from: the classes that look most like its pictures.

Source: Kim, Cha and Kim, "Are We Truly Forgetting? A Critical Re-examination of Machine Unlearning Evaluation
Protocols", 2025 ("Top" against "Random" classes). The released lists come without the rule behind them. Here, as an
inference: the classes that the model, before unlearning, says most often of the pictures of the other task.
"""

from __future__ import annotations

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Request
from ue_jax.core.procedure import Procedure, once
from ue_jax.data import splits
from ue_jax.forget import requests, vision
from ue_jax.train import supervised


def select(
  downstream: str = "test", classes: int = 1, label: str = "label", within: str = "train", chunk: int = 512
) -> Procedure:
  """Request -> Request: the sets `forget` and `retain` of `splits.forget_classes`. For picture classifiers.

  `info["similar"]` has the share of `downstream` that each chosen class, as a string, is said of.

  Args:
    downstream: a set of other pictures, as `audit.representation` reads its `downstream`; its labels are not read.
    classes: how many to forget, at most one less than there are.
    label: the labelling that the model knows.
    within: the set that is parted.
    chunk: pictures looked at at once.

  Raises:
    Invalid: for a number of classes out of range, fewer that are said of any picture, or data without the sets.
  """
  good = isinstance(classes, int) and classes >= 1
  require(good, "select.classes", classes, "give a whole number, at least 1")

  def choose(key, request: Request) -> Request:
    del key
    known = vision.check(request, (within,), label)
    requests.check_sets(request.data, (downstream,))  # of other classes, or of none that are known
    share = said(request, downstream, chunk)
    require(classes < known, "select.classes", classes, f"there are {known}: leave one to retain")
    top = np.argsort(-share, kind="stable")[:classes]
    require(share[top[-1]] > 0, "select.classes", classes, f"only {int((share > 0).sum())} are said of '{downstream}'")
    data = splits.forget_classes(request.data, sorted(top.tolist()), label=label, within=within)
    found = {str(one): float(share[one]) for one in top}
    return request._replace(data=data._replace(info={**data.info, "similar": found}))

  return once(choose)


def said(request: Request, name: str, chunk: int = 512) -> np.ndarray:
  """The share of the set `name` that the subject takes for each class, float64 `[classes]`."""
  subject, data = request.subject, request.data
  images = data.arrays["image"][np.asarray(data.sets[name])]
  logits, _ = supervised.predict(subject.model, subject.params, subject.state, images, chunk)
  return np.bincount(logits.argmax(-1), minlength=logits.shape[-1]) / len(images)
