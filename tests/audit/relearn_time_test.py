import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import foil, outputs, relearn, relearn_time
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")


@pytest.fixture(scope="module")
def asked(request_pictures):
  """Class 2 of three is to be forgotten; the reference never saw it."""
  data, subject = request_pictures.data, request_pictures.subject
  train = data.sets["train"]
  gone = data.arrays["shape"][train] == 2
  data = Data(data.arrays, {**data.sets, "forget": train[gone], "retain": train[~gone]}, data.info)
  again = supervised.train(subject.model, label="shape", train_set="retain", steps=60, batch_size=30, rate=1e-2)
  return Request(subject, data, fit(again, data, steps_per_call=20, seed=1), subject)


@pytest.mark.parametrize("curve, want", [
  ([0.0, 0.4, 0.96, 0.9], (2.0, 0.0)), ([0.95, 0.1], (0.0, 0.0)), ([0.0, 0.5, 0.9], (2.0, 1.0)),
])  # fmt: skip
def test_the_time_is_the_first_step_that_is_enough_or_the_last_and_censored(curve, want):
  assert relearn_time.time(np.array(curve), 0.95) == want


def test_the_index_of_equals_is_one():
  values = [relearn_time.anamnesis(*pair) for pair in ((0, 0), (7, 7), (3, 6), (9, 6), (2, 0))]
  assert values == [1, 1, 0.5, 1.5, 2]


def test_doing_nothing_takes_no_step_and_training_again_is_its_own_equal(asked):
  measure = relearn_time.measure(steps=40, rate=5e-3, label="shape")
  nothing, again = (fit(measure, asked._replace(subject=one)) for one in (asked.subject, asked.reference))
  assert nothing["relearn_steps"].value == nothing["anamnesis"].value == 0.0
  assert again["anamnesis"].value == 1.0 and again["relearn_steps"].value == again["relearn_steps"].target > 2
  assert again["censored"].value == 0.0


def test_what_was_only_hidden_comes_back_sooner_than_what_was_never_known(asked):
  hidden = fit(foil.method(drop=8.0, label="shape"), asked)
  before = outputs.outputs(hidden, asked.data, ("forget",), "shape")["forget"].hits().mean()
  scores = fit(relearn_time.measure(steps=60, rate=5e-3, label="shape"), asked._replace(subject=hidden))
  assert before < 0.5 and scores["censored"].value == 0 < scores["anamnesis"].value < 0.9


def test_a_cap_is_said(asked):
  scores = fit(relearn_time.measure(steps=1, rate=1e-6, label="shape"), asked._replace(subject=asked.reference))
  assert (scores["relearn_steps"].value, scores["censored"].value, scores["anamnesis"].value) == (1.0, 1.0, 1.0)
  alone = fit(relearn_time.measure(steps=1, rate=1e-6, label="shape"), Request(asked.reference, asked.data))
  assert (alone["censored"].better, alone["relearn_steps"].target) == ("high", 1.0) and "anamnesis" not in alone


def test_the_curve_is_that_of_the_attack_with_the_same_recipe(asked):
  """`audit.relearn` with all samples a step takes the same steps."""
  data = asked.data
  parted = relearn.split(data, label_share := 0.5)
  curve = relearn_time.relearning(
    asked.reference, Data(data.arrays, {**data.sets, "shown": parted.sets["relearn"]}, data.info), steps=12, rate=5e-3,
    shown="shown", label="shape", batch_size=15,
  )  # fmt: skip
  after = fit(relearn.attack(12, 5e-3, label_share, label="shape"), asked._replace(subject=asked.reference))
  want = outputs.outputs(after, data, ("forget",), "shape")["forget"].hits().mean()
  assert len(curve) == 13 and curve[-1] == pytest.approx(want) and curve[0] == 0.0


def test_the_curve_of_a_network_with_convolutions_is_the_same_step_by_step(asked, monkeypatch):
  """On a CPU, where a loop would take its threads."""
  curve = lambda subject: relearn_time.relearning(subject, asked.data, steps=15, rate=2e-2, label="shape")
  want, model = curve(asked.reference), asked.reference.model

  def loop(*args, **settings):
    raise AssertionError("a loop")

  monkeypatch.setattr(relearn_time.mesh, "on_accelerator", lambda: False)
  monkeypatch.setattr(jax.lax, "scan", loop)
  got = curve(asked.reference._replace(model=model._replace(convolutional=True)))
  np.testing.assert_allclose(got, want)
  assert len(set(want)) > 2


def test_what_makes_no_recipe_is_refused(asked):
  for settings, named in (({"steps": 0}, "steps"), ({"margin": 1.0}, "margin")):
    with pytest.raises(Invalid, match=named):
      relearn_time.measure(**settings)
  broken = jax.tree.map(lambda x: x * np.float32("nan"), asked.subject.params)
  with pytest.raises(Invalid, match="NaN"):
    fit(relearn_time.measure(label="shape"), asked._replace(subject=asked.subject._replace(params=broken)))
