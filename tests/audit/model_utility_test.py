import functools

import numpy as np
import pytest

from ue_jax.audit import model_utility, rouge, truth, utility
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


def test_the_harmonic_mean():
  assert model_utility.harmonic_mean([1, 1, 0.5]) == pytest.approx(3 / 4)
  assert model_utility.harmonic_mean([0.3] * 9) == pytest.approx(0.3)
  assert model_utility.harmonic_mean([1.0, 0.0, 1.0]) == 0.0
  for bad in ([], [1, -1], [np.nan]):
    with pytest.raises(Invalid):
      model_utility.harmonic_mean(bad)


def test_it_is_made_of_the_numbers_of_the_other_measures(request_tokens):
  alone = request_tokens._replace(reference=None)
  scores = fit(model_utility.measure(plain=("retain",), normalised=("holdout",)), alone)
  subject, data = alone.subject, alone.data
  found = truth.nlls(subject, data, "holdout")
  want = {
    "retain/utility_p": utility.scores(alone, ("retain",))["retain/p"].value,
    "retain/utility_rouge": rouge.means(subject, data, ("retain",))["retain"][0],
    "retain/utility_truth_ratio": truth.truer(truth.ratios(truth.nlls(subject, data, "retain"))),
    "holdout/utility_p": truth.normalised(found).mean(),
    "holdout/utility_rouge": rouge.means(subject, data, ("holdout",))["holdout"][0],
    "holdout/utility_truth_ratio": truth.truer(truth.ratios(found)),
  }
  for name, value in want.items():
    assert scores[name].value == pytest.approx(value), name
  assert scores["utility"].value == pytest.approx(len(want) / sum(1 / max(v, 1e-300) for v in want.values()))
  assert (scores["utility"].better, scores["utility"].target) == ("high", 1.0)


def test_a_ruined_model_has_none(request_tokens):
  kept = fit(model_utility.measure(("retain",), ()), request_tokens)["utility"]
  import jax

  flat = request_tokens.subject._replace(params=jax.tree.map(lambda x: x * 0, request_tokens.subject.params))
  ruined = fit(model_utility.measure(("retain",), ()), Request(flat, request_tokens.data))["utility"]
  assert kept.value > 0.9 and kept.better == "near" and ruined.value < 0.05
