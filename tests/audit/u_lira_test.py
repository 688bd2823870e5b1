"""U-LiRA: normals of which the truth is known, and small networks that learnt labels without a pattern by heart."""

import functools

import numpy as np
import pytest

from ue_jax.audit import shadows, u_lira
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.forget import retrain
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one", steps_per_call=50)


def test_a_method_that_does_nothing_is_caught_and_training_again_is_not(by_heart):
  train, asked = by_heart
  nothing = fit(u_lira.measure(train, None, models=12, targets=20), asked)["u_lira/accuracy"]
  again = fit(u_lira.measure(train, retrain.method(train), models=12, targets=20), asked)["u_lira/accuracy"]
  assert nothing.value >= 0.75 and abs(again.value - 0.5) < 0.1
  assert (nothing.better, nothing.target, nothing.n) == ("near", 0.5, 240)


@pytest.mark.parametrize("gap", [0.0, 1.0, 3.0])
def test_u_lira_is_right_as_often_as_two_normals_allow(gap):
  from scipy import stats

  rng = np.random.default_rng(1)
  inside = shadows.halves(200, 40, 1)
  phi = rng.normal(size=(40, 200)) + gap * inside + 5 * rng.normal(size=200)
  assert u_lira.told(phi, inside).mean() == pytest.approx(stats.norm.cdf(gap / 2), abs=0.03)


def test_numbers_of_models_that_cannot_be_are_refused(by_heart):
  train, asked = by_heart
  with pytest.raises(Invalid, match="even number"):
    u_lira.measure(train, models=4)
  with pytest.raises(Invalid, match="measure.sets = 'retain'"):
    data = asked.data
    sets = {name: rows for name, rows in data.sets.items() if name != "retain"}
    fit(u_lira.measure(train), Request(asked.subject, Data(data.arrays, sets, data.info)))
