"""LiRA on small networks that learnt labels without a pattern by heart."""

import functools

import pytest

from ue_jax.audit import lira
from ue_jax.core.errors import Invalid
from ue_jax.train import loop

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


def test_numbers_of_models_that_cannot_be_are_refused(by_heart):
  train, asked = by_heart
  with pytest.raises(Invalid, match="even number"):
    lira.measure(train, models=7)
  with pytest.raises(Invalid, match="measure.sets = 'nobody'"):
    fit(lira.measure(train, nonmembers="nobody"), asked)
