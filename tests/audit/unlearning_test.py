import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import unlearning
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")


@pytest.fixture(scope="module")
def asked(request_pictures):
  """One of three classes is to be forgotten; the reference never saw it."""
  data = request_pictures.data
  shape, train, test = data.arrays["shape"], data.sets["train"], data.sets["test"]
  sets = {
    **data.sets, "forget": train[shape[train] == 2], "retain": train[shape[train] != 2],
    "forget_test": test[shape[test] == 2], "retain_test": test[shape[test] != 2],
  }
  data = Data(data.arrays, sets, data.info)
  again = supervised.train(
    request_pictures.subject.model, label="shape", train_set="retain", steps=60, batch_size=30, rate=1e-2
  )
  return Request(request_pictures.subject, data, reference=fit(again, data, steps_per_call=20, seed=1))


def test_gap_and_tug_of_war_of_hand_made_figures():
  mine, ideal = dict(UA=0.2, RA=0.9, TA=0.8, MIA=0.5), dict(UA=0.3, RA=1.0, TA=0.85, MIA=0.1)
  assert unlearning.average_gap(mine, ideal) == pytest.approx((0.1 + 0.1 + 0.05 + 0.4) / 4)
  assert unlearning.tug_of_war(mine, ideal) == pytest.approx(0.9 * 0.9 * 0.95)
  assert unlearning.tug_of_war(mine, ideal, ("MIA", "RA", "TA")) == pytest.approx(0.6 * 0.9 * 0.95)


def test_the_model_trained_again_has_no_gap_to_itself(asked):
  scores = fit(unlearning.measure(label="shape"), asked._replace(subject=asked.reference))
  assert scores["gap"].value == 0.0 and scores["ToW"].value == scores["ToW_MIA"].value == 1.0
  assert scores["UA"].value == scores["UA"].target == 1.0 and scores["TFA"].value == 0.0


def test_doing_nothing_is_far_away_and_ruin_is_too(asked):
  nothing = fit(unlearning.measure(label="shape"), asked)
  assert nothing["UA"].value < 0.1 and nothing["ToW"].value < 0.1 and nothing["gap"].value > 0.2
  blank = asked.subject._replace(params=jax.tree.map(np.zeros_like, asked.subject.params))
  ruined = fit(unlearning.measure(label="shape"), asked._replace(subject=blank))  # it calls everything class 0
  assert ruined["UA"].value == 1.0 and ruined["RA"].value == 0.5 and ruined["ToW"].value < 0.3
  assert (ruined["RA"].better, ruined["RA"].target) == ("near", 1.0)


def test_accuracies_are_shares_of_their_own_sets(asked):
  found = unlearning.accuracies(asked.subject, asked.data, "shape")
  assert {name: n for name, (_, n) in found.items()} == {"UA": 30, "RA": 60, "TA": 20, "TFA": 10}


def test_without_a_control_a_class_should_be_gone_and_a_random_part_be_like_test_pictures(asked):
  scores = fit(unlearning.measure(label="shape"), asked._replace(reference=None))
  assert (scores["UA"].better, scores["UA"].target) == ("near", 1.0) and "gap" not in scores
  data = asked.data
  sets = {"forget": data.sets["train"][::9], "retain": np.delete(data.sets["train"], np.s_[::9]),
          "test": data.sets["test"]}
  scores = fit(unlearning.measure(label="shape"), Request(asked.subject, Data(data.arrays, sets, data.info)))
  assert scores["UA"].target == pytest.approx(1 - scores["TA"].value) and scores["TA"].n == 30 and "TFA" not in scores
