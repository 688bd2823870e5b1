import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.audit import scoring, utility
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.train import likelihood, loop

fit = functools.partial(loop.fit, mode="one")


def scored(log_probs, hits, mask):
  return scoring.Scored(np.array(log_probs, np.float32), np.array(hits, bool), np.array(mask, bool), 10)


def test_exact_match_probability_and_nll_on_hand_made_arrays():
  one = scored(
    [[0, -1, -3, 0], [0, 0, -2, -4], [0, -1, 0, 0]],
    [[0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]],
    [[0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]],
  )
  values = utility._values({"x": one}, Data({"ids": None, "index": np.arange(3)}, {}))
  assert values["x/ex"][:2] == (pytest.approx(2 / 3), 3)
  assert values["x/p"][:2] == (pytest.approx(np.mean(np.exp([-2, -3, -1]))), 3)
  assert values["x/nll"][:2] == (pytest.approx(11 / 5), 5)  # over targets: not the mean of the three means


def test_sequences_without_a_target_count_for_nothing_here_as_in_the_likelihoods():
  mask = [[0, 1, 1], [0, 0, 0], [0, 0, 1]]
  one = scored([[0, -1, -3], [0, 0, 0], [0, 0, -2]], [[0, 1, 1], [0, 0, 0], [0, 0, 0]], mask)
  values = utility._values({"x": one, "y": scoring._take(one, np.array([1]))}, Data({"ids": None}, {}))
  assert values["x/ex"][:2] == (0.5, 2) and values["x/p"][:2] == (pytest.approx(np.exp(-2)), 2)
  assert values["y/ex"][:2] == values["y/p"][:2] == (0.0, 0)
  best = jnp.eye(4)[jnp.array([[1, 2, 0], [3, 0, 0], [0, 2, 0]])]  # the next tokens that a model would say
  batch = {"ids": jnp.array([[0, 1, 2], [0, 1, 2], [0, 1, 3]]), "mask": jnp.float32(one.mask)}
  np.testing.assert_array_equal(likelihood.exact(best, batch), one.exact())


def test_without_a_reference_forgotten_is_best_low_and_the_rest_high(request_tokens):
  scores = utility.scores(request_tokens._replace(reference=None))
  assert set(scores) == {f"{s}/{w}" for s in ("forget", "retain", "holdout") for w in ("ex", "p", "nll")}
  assert (scores["forget/ex"].better, scores["forget/ex"].target) == ("low", 0.0)
  assert (scores["retain/p"].better, scores["retain/p"].target) == ("high", 1.0)
  assert scores["forget/nll"].better == "near"
  assert scores["forget/nll"].target == pytest.approx(np.log(len(request_tokens.data.info["vocabulary"])))
  assert scores["retain/ex"].value > 0.95 and scores["holdout/ex"].value < 0.3
  assert scores["retain/nll"].n == int(request_tokens.data.arrays["mask"][request_tokens.data.sets["retain"]].sum())


def test_with_a_reference_it_is_the_target(request_tokens):
  scores = utility.scores(request_tokens)
  control = utility.scores(Request(request_tokens.reference, request_tokens.data))
  for name, score in scores.items():
    assert score.better == "near" and score.target == control[name].value
  assert scores["forget/ex"].value > 0.95 and scores["forget/ex"].target < 0.3


def test_uniform_outputs_give_the_nll_of_a_uniform_guess(request_tokens):
  flat = jax.tree.map(lambda x: x * 0, request_tokens.subject.params)
  scores = utility.scores(Request(Subject(request_tokens.subject.model, flat), request_tokens.data), ("forget",))
  assert scores["forget/nll"].value == pytest.approx(scores["forget/nll"].target, rel=1e-5)
  assert scores["forget/p"].value == pytest.approx(1 / len(request_tokens.data.info["vocabulary"]), rel=1e-4)


def test_pictures_are_measured_by_accuracy(request_pictures):
  scores = fit(utility.measure(label="shape"), request_pictures)
  assert set(scores) == {"train/accuracy", "train/nll", "test/accuracy", "test/nll"}
  subject, data = request_pictures.subject, request_pictures.data
  logits = subject.model.apply(subject.params, data.arrays["image"][data.sets["test"]], state=subject.state).logits
  right = np.asarray(logits).argmax(-1) == data.arrays["shape"][data.sets["test"]]
  assert scores["test/accuracy"].value == pytest.approx(right.mean()) and scores["test/accuracy"].n == 30
  assert (scores["test/accuracy"].better, scores["test/accuracy"].target) == ("high", 1.0)


def test_after_protection_clean_pictures_should_be_at_chance_and_protected_ones_known(request_pictures):
  data = request_pictures.data
  sets = {**data.sets, "test_protected": data.sets["test"], "test_permuted": data.sets["test"]}
  scores = utility.scores(
    request_pictures._replace(data=Data(data.arrays, sets), clean=data), label="shape"
  )
  aims = {name: (s.better, s.target) for name, s in scores.items() if name.endswith("accuracy")}
  assert aims == {
    "train/accuracy": ("high", 1.0), "test/accuracy": ("low", pytest.approx(1 / 3)),
    "test_protected/accuracy": ("high", 1.0), "test_permuted/accuracy": ("low", 0.0),
  }


def test_every_score_lies_in_its_range(request_tokens, request_pictures):
  for scores in (utility.scores(request_tokens), utility.scores(request_pictures, label="shape")):
    for score in scores.values():
      assert score.low <= score.value <= score.high and score.low <= score.target <= score.high and score.n > 0
