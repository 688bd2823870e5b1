import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import confidences
from ue_jax.audit.outputs import Outputs
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop, membership

fit = functools.partial(loop.fit, mode="one")


def said(p, labels):
  return Outputs(np.log(np.array(p)), {}, np.array(labels))


def test_statistics_of_a_hand_made_sample():
  found = confidences.statistics(said([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]], [0, 1]))
  entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
  np.testing.assert_allclose(found["entropy"], entropy)
  np.testing.assert_allclose(found["confidence"], [0.7, 0.2])
  np.testing.assert_array_equal(found["correctness"], [1, 0])
  want = [
    -0.3 * np.log(0.7) - 0.2 * np.log(0.8) - 0.1 * np.log(0.9),
    -0.8 * np.log(0.2) - 0.7 * np.log(0.3) - 0.1 * np.log(0.9),
  ]
  np.testing.assert_allclose(found["modified_entropy"], want)
  np.testing.assert_allclose(found["probabilities"], [[0.7, 0.2, 0.1]] * 2)


def test_statistics_stay_finite_where_probabilities_are_none():
  found = confidences.statistics(Outputs(np.array([[900.0, 0.0], [900.0, 0.0]]), {}, np.array([0, 1])))
  assert all(np.isfinite(x).all() for x in found.values())
  assert found["modified_entropy"][1] > 50 > 1e-9 > abs(found["modified_entropy"][0])


@pytest.mark.parametrize("classifier", confidences.CLASSIFIERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_classifier_finds_the_side_of_the_members(classifier, sign):
  rng = np.random.default_rng(0)
  members, outsiders = sign * rng.normal(2, 0.5, 90), sign * rng.normal(0, 0.5, 70)
  asked = sign * np.array([2.5, 2.0, 0.1, -0.4])
  np.testing.assert_array_equal(
    confidences.nonmembers(members, outsiders, asked, classifier), [False, False, True, True]
  )


@pytest.mark.parametrize("classifier", confidences.CLASSIFIERS)
def test_where_nothing_tells_them_apart_nobody_is_called_anything(classifier):
  called = confidences.nonmembers(np.ones(9), np.ones(5), np.array([1.0, 0.0]), classifier)
  np.testing.assert_array_equal(called, [0.5, 0.5])


def test_the_cut_is_the_best_of_all_cuts():
  rng = np.random.default_rng(1)
  for _ in range(20):
    x, y, asked = rng.integers(0, 6, 14) / 4, rng.permutation(np.repeat([0, 1], 7)), np.arange(-1, 8) / 4
    got = membership._cut(x, y, x)
    rules = [(x <= t) == side for t in np.append(x, -1.0) for side in (True, False)]
    assert (got == y).sum() == max((rule == y).sum() for rule in rules)
    assert membership._cut(x, y, asked).shape == (9,)


def test_the_simple_attack_is_at_a_coin_on_equals_and_right_on_unequals():
  rng = np.random.default_rng(2)
  same = confidences.simple(rng.normal(size=400), rng.normal(size=300))
  apart = confidences.simple(rng.normal(size=100) - 8, rng.normal(size=90))
  assert abs(same - 0.5) < 0.12 and apart == 1.0
  with pytest.raises(Invalid, match="two samples"):
    confidences.simple(np.zeros(1), np.zeros(5))


@pytest.fixture(scope="module")
def asked(request_pictures):
  """A class is forgotten; the control is one that gives it no chance."""
  data = request_pictures.data
  shape, rows = data.arrays["shape"], data.sets["train"]
  sets = {**data.sets, "forget": rows[shape[rows] == 2], "retain": rows[shape[rows] != 2]}
  test = data.sets["test"]
  sets |= {"forget_test": test[shape[test] == 2], "retain_test": test[shape[test] != 2]}
  return Request(request_pictures.subject, Data(data.arrays, sets, data.info))


def without_class_two(subject):
  head = subject.params["head"]
  return subject._replace(params={**subject.params, "head": {**head, "bias": head["bias"] - np.float32([0, 0, 50])}})


def test_the_control_is_the_target_and_what_was_never_seen_without_one(asked):
  gone = without_class_two(asked.subject)
  with_control = fit(confidences.measure(label="shape"), asked._replace(reference=gone))
  own = fit(confidences.measure(label="shape"), Request(gone, asked.data))
  assert set(own) == {*(f"{a}/efficacy" for a in confidences.STATISTICS), "entropy/member", "simple/accuracy"}
  for name, score in with_control.items():
    assert (score.better, score.target) == ("near", own[name].value)
  assert own["confidence/efficacy"].value == 1.0  # no member is so sure to be something else
  alone = fit(confidences.measure(("confidence",), label="shape"), asked)["confidence/efficacy"]
  assert alone.value < 0.9 and 0 <= alone.target <= 1 and alone.n == 30


def test_a_model_that_says_the_same_of_everything_has_the_share_of_a_coin(asked):
  """Not 0, a verdict that nothing was forgotten, and not 1."""
  collapsed = asked.subject._replace(params=jax.tree.map(np.zeros_like, asked.subject.params))
  measure = confidences.measure(("confidence", "entropy", "probabilities"), label="shape")
  found = fit(measure, Request(collapsed, asked.data))
  assert {name: (score.value, score.target) for name, score in found.items()} == dict.fromkeys(found, (0.5, 0.5))


def test_unknown_names_are_refused():
  for settings, named in (({"attacks": ("age",)}, "attacks"), ({"classifier": "oracle"}, "classifier"),
                          ({"classifier": "threshold"}, "probabilities")):
    with pytest.raises(Invalid, match=named):
      confidences.measure(**settings)
