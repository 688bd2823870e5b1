"""The challenge's score: against a literal transcription of its definition, and its values on known distributions."""

import numpy as np
import pytest

from ue_jax.audit import challenge, outputs
from ue_jax.core.errors import Invalid
from ue_jax.forget import retrain
from ue_jax.train import loop


def literal(a, b, delta=1e-5):
  """Epsilon of one sample, attack by attack."""
  if np.ptp(a) < 0.01 * np.ptp(b) or np.ptp(b) < 0.01 * np.ptp(a):
    return 50.0
  pos, neg = (b, a) if np.median(b) > np.median(a) else (a, b)
  ends = np.concatenate([a, b]).min(), np.concatenate([a, b]).max()
  rates = {(np.sum(neg >= t), np.sum(pos < t)) for t in np.linspace(*ends, int(np.ceil((ends[1] - ends[0]) * 100)))}
  narrow, wide = (neg, pos) if np.ptp(pos) >= np.ptp(neg) else (pos, neg)
  low, high, n = narrow.min() + np.ptp(narrow) - 2, narrow.max() + 2, len(a)
  for right in np.linspace(low, high, int(np.ceil((high - low) * 100))):
    left = np.linspace(right - np.ptp(narrow) - 2, right - np.ptp(narrow) + 2, 400)[:, None]
    false_pos, true_pos = (((left <= x) & (x <= right)).sum(1) for x in (wide, narrow))
    rates |= set(zip(false_pos.tolist(), (n - true_pos).tolist()))
  if (0, 0) in rates:
    return 50.0
  ways = [np.log(1 - delta - x / n) - np.log(y / n) for p in rates if min(p) > 0 for x, y in (p, p[::-1]) if x < n]
  return min(max(ways), 50.0)


@pytest.mark.parametrize("shift, scale", [(0.0, 1.0), (0.7, 0.4), (9.0, 1.0), (0.0, 0.001)])
def test_epsilon_is_that_of_every_attack_tried_in_turn(shift, scale):
  rng = np.random.default_rng(5)
  a, b = rng.normal(shift, scale, 24), rng.normal(0, 1, 24)
  want = pytest.approx(literal(a, b), abs=1e-9)
  assert challenge.epsilons(a[:, None], b[:, None])[0] == want == challenge.epsilons(b[:, None], a[:, None])[0]


# F of normal banks as measured independently of this code: shift, scale, models, F
KNOWN = [(0.0, 1.0, 32, 0.16), (0.0, 1.0, 128, 0.16), (0.0, 1.0, 512, 0.16), (0.5, 1.0, 512, 0.059),
         (1.0, 1.0, 512, 0.015), (2.0, 1.0, 512, 0.0016), (0.0, 0.5, 512, 0.0034)]


def mean_points(shift, scale, models, samples=200):
  rng = np.random.default_rng(0)
  found = challenge.epsilons(rng.normal(shift, scale, (models, samples)), rng.normal(size=(models, samples)))
  return challenge.points(found, models).mean()


@pytest.mark.parametrize("shift, scale, models, want", KNOWN)
def test_the_score_of_known_distributions_within_three_tenths(shift, scale, models, want):
  """The standard error of 200 samples is 3 to 6 % of F."""
  assert abs(mean_points(shift, scale, models) - want) <= 0.3 * want


def test_the_score_of_banks_far_apart_to_the_one_digit_that_is_known():
  """1e-4 at a shift of 6. Here it is 1.32e-4 (6000 samples, standard error 2e-6): the same digit, and so have 114 of
  150 draws of 40 samples. Within .3 of 1e-4 sharp are 65 of the draws, and the mean is not."""
  assert abs(mean_points(6.0, 1.0, 512) - 1e-4) < 0.5e-4


def test_the_score_is_the_mean_of_the_points():
  rng = np.random.default_rng(3)
  a, b = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
  assert challenge.score(a, b) == challenge.points(challenge.epsilons(a, b), 40).mean() > 0.05


def test_points_halve_with_every_half_and_end_where_the_banks_do():
  np.testing.assert_array_equal(challenge.points(np.array([0.0, 0.49, 0.5, 1.2, 6.9, 7.0, 50.0]), 512),
                                [1, 1, 0.5, 0.25, 2.0**-13, 0, 0])
  assert challenge.points(np.array([3.4, 3.6]), 32).tolist() == [2.0**-6, 2.0**-7]
  assert challenge.points(np.array([4.0]), 32).tolist() == [0.0]  # log 31 = 3.4


def test_the_floor_changes_phi_only_where_it_has_no_digits_left():
  rng = np.random.default_rng(1)
  logits, labels = 5 * rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
  np.testing.assert_allclose(challenge.floored_phi(logits, labels), outputs.phi(logits, labels), rtol=1e-9)
  sure = np.array([[900.0, 0.0]])
  assert challenge.floored_phi(sure, np.array([0]))[0] == pytest.approx(-np.log(1e-45))
  assert outputs.phi(sure, np.array([0]))[0] == 900.0


def test_utility_multiplies():
  assert challenge.final(0.1, (0.9, 1.0), (0.8, 0.9)) == pytest.approx(0.1 * 0.9 * 0.8 / 0.9)
  assert challenge.final(0.1, (1.0, 1.0), (1.0, 1.0), time_share=0.2) == 0.1
  assert challenge.final(0.1, (1.0, 1.0), (1.0, 1.0), time_share=0.21) == 0.0


def test_banks_that_say_nothing_are_refused():
  rng = np.random.default_rng(0)
  a = rng.normal(size=(8, 2))
  for other, said in ((a[:5], "two arrays"), (a * np.nan, "check the models")):
    with pytest.raises(Invalid, match=said):
      challenge.epsilons(a, other)
  with pytest.raises(Invalid, match="models that differ"):
    challenge.epsilons(np.ones((8, 1)), np.ones((8, 1)))


def test_training_again_keeps_most_points_and_doing_nothing_few(by_heart):
  train, asked = by_heart
  run = lambda method: loop.fit(challenge.measure(train, method, models=8), asked, mode="one")
  again, nothing = run(retrain.method(train)), run(None)
  name = "challenge/forgetting"
  assert again[name].value > 0.1 > 0.06 > nothing[name].value and again[name].n == 30
  assert again["challenge/final"].value == pytest.approx(again[name].value, rel=0.2)  # both banks are as useful
  with pytest.raises(Invalid, match="measure.models = 2"):
    challenge.measure(train, models=2)
