"""LiRA on small networks that learnt labels without a pattern by heart."""

import functools

import numpy as np
import pytest

from ue_jax.audit import lira
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.forget import retrain
from ue_jax.models import mlp
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one", steps_per_call=50)


def test_what_was_learnt_by_heart_is_told_and_training_again_is_not(by_heart):
  train, asked = by_heart
  measure = lira.measure(train, models=8)
  known, again = (fit(measure, asked._replace(subject=one)) for one in (asked.subject, asked.reference))
  assert known["lira/auc"].value >= 0.8 > 0.65 >= again["lira/auc"].value >= 0.35
  assert known["lira/auc"].target == again["lira/auc"].value and known["lira/auc"].n == 30 + 80
  assert known["lira/tpr@0.01"].value >= again["lira/tpr@0.01"].value  # of 80 unseen ones: no false positive at all
  alone = fit(measure, asked._replace(reference=None))
  assert (alone["lira/auc"].target, alone["lira/tpr@0.001"].target) == (0.5, 0.001)
  assert alone["lira/auc"].value == known["lira/auc"].value


def test_random_labels_of_samples_never_seen_are_at_a_coin():
  """1200 a side, so that the deviation of an AUC at the null is .012: the interval is four of them on either side."""
  rng, rows = np.random.default_rng(0), np.arange(2500, dtype=np.int32)
  image, label = rng.integers(0, 256, (2500, 8, 8, 1), np.uint8), rng.integers(0, 3, 2500).astype(np.int32)
  sets = {"train": rows[:1300], "retain": rows[:100], "forget": rows[100:1300], "test": rows[1300:]}
  data = Data({"image": image, "label": label, "index": rows}, sets, {"labels": {"label": list("abc")}})
  train = supervised.train(mlp.model(3, widths=(128,)), steps=300, batch_size=100, rate=1e-2)
  seen = Request(fit(train, data), data)
  never, measure = fit(retrain.method(train), seen), lira.measure(train, models=8)
  known, null = (fit(measure, seen._replace(subject=one))["lira/auc"] for one in (seen.subject, never))
  assert 0.45 <= null.value <= 0.55 and null.n == 2400
  assert known.value >= 0.65  # the same attack on who learnt them by heart


def test_numbers_of_models_that_cannot_be_are_refused(by_heart):
  train, asked = by_heart
  with pytest.raises(Invalid, match="even number"):
    lira.measure(train, models=7)
  with pytest.raises(Invalid, match="measure.sets = 'nobody'"):
    fit(lira.measure(train, nonmembers="nobody"), asked)
