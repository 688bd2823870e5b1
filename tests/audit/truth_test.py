import functools

import numpy as np
import pytest
from scipy import stats

from ue_jax.audit import truth
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
NLLS = truth.Nlls(np.array([1.0, 2.0, 0.5]), np.array([[2.0, 4.0], [2.0, np.nan], [0.5, 0.1]]))


def test_ratios_use_the_mean_of_the_losses():
  want = np.exp([-3.0, -2.0, -0.3]) / np.exp([-1.0, -2.0, -0.5])
  np.testing.assert_allclose(truth.ratios(NLLS), want, rtol=1e-8)
  assert truth.alike(truth.ratios(NLLS)) == pytest.approx((np.exp(-2) + 1 + np.exp(-0.2)) / 3)
  assert truth.truer(truth.ratios(NLLS)) == pytest.approx((1 - np.exp(-2)) / 3)
  assert truth.right_share(NLLS) == pytest.approx(np.mean(1 / (1 + want)))


def test_normalised_probability_sums_the_wrong_answers():
  p = lambda *nll: np.exp(-np.array(nll))
  want = [p(1)[0] / p(1, 2, 4).sum(), 0.5, p(0.5)[0] / p(0.5, 0.5, 0.1).sum()]
  np.testing.assert_allclose(truth.normalised(NLLS), want, rtol=1e-8)


def test_impossible_answers_divide_to_numbers():
  found = truth.Nlls(np.array([800.0]), np.array([[900.0, 900.0]]))
  assert truth.ratios(found)[0] == 0 and truth.alike(truth.ratios(found)) == 0 and truth.normalised(found)[0] == 0


@pytest.mark.parametrize("n, m, shift", [(5, 7, 0.0), (40, 40, 0.5), (30, 50, 1.0), (200, 150, 0.3), (1, 1, 2.0)])
def test_the_test_is_that_of_scipy(n, m, shift):
  rng = np.random.default_rng(n)
  a, b = rng.normal(size=n), rng.normal(size=m) + shift
  d, p = truth.kolmogorov_smirnov(a, b)
  want = stats.ks_2samp(a, b, method="exact")
  assert abs(d - want.statistic) < 1e-12 and p == pytest.approx(want.pvalue, rel=1e-9)


def test_ties_and_disjoint_samples():
  rng = np.random.default_rng(0)
  a, b = rng.integers(0, 5, 60) / 4, rng.integers(0, 6, 50) / 4
  assert truth.kolmogorov_smirnov(a, b)[0] == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
  assert truth.kolmogorov_smirnov(a, a) == (0.0, 1.0)
  d, p = truth.kolmogorov_smirnov(np.zeros(400), np.ones(400))
  assert d == 1 and p == pytest.approx(1.0636e-239, rel=1e-4)  # the smallest that TOFU's tables can show
  with pytest.raises(Invalid):
    truth.kolmogorov_smirnov(a, np.array([np.nan]))


def test_rows_of_variants_say_what_the_array_says(request_tokens):
  """The same answers, once as the array `wrong`, once as rows of their own."""
  data, subject = request_tokens.data, request_tokens.subject
  rows = data.sets["forget"]
  one = truth.nlls(subject, data, "forget")
  many = [data.arrays["ids"][rows], *data.arrays["wrong"][rows].swapaxes(0, 1)]
  m, k = len(rows), 3
  arrays = {
    "ids": np.concatenate(many), "mask": np.tile(data.arrays["mask"][rows], (k + 1, 1)),
    "item": np.tile(np.arange(m), k + 1), "variant": np.repeat([0, 2, 3, 4], m), "index": np.arange(m * (k + 1)),
  }  # fmt: skip
  sets = {"forget": np.arange(m), "forget_perturbed": np.arange(m, m * (k + 1))[:-1]}  # one wrong answer fewer
  two = truth.nlls(subject, Data(arrays, sets), "forget")
  np.testing.assert_allclose(two.right, one.right, atol=1e-4)
  assert np.isnan(two.wrong[-1, -1]) and np.isnan(two.wrong).sum() == 1
  np.testing.assert_allclose(two.wrong.ravel()[:-1], one.wrong.ravel()[:-1], atol=1e-4)
  worded = {**arrays, "variant": np.repeat([0, 1, 2, 3], m)}  # the first wrong one is now the right in other words
  three = truth.nlls(subject, Data(worded, sets), "forget")
  np.testing.assert_allclose(three.right, one.wrong[:, 0], atol=1e-4)


def test_who_knows_tells_right_from_wrong_and_who_does_not_does_not(request_tokens):
  scores = fit(truth.measure(), request_tokens)
  alone = fit(truth.measure(), request_tokens._replace(reference=None))
  stranger = fit(truth.measure(), Request(request_tokens.reference, request_tokens.data))
  assert alone["retain/truth_ratio"].value > 0.9 and alone["retain/normalised_p"].value > 0.9
  assert alone["forget/truth_ratio"].value < 0.1 and stranger["forget/truth_ratio"].value > 0.2
  assert alone["forget/normalised_p"].better == "low" and alone["forget/normalised_p"].target == pytest.approx(1 / 4)
  assert scores["forget/truth_ratio"].target == stranger["forget/truth_ratio"].value
  assert scores["forget/quality"].value < 1e-2 and "forget/quality" not in alone
  same = fit(truth.measure(), request_tokens._replace(subject=request_tokens.reference))["forget/quality"]
  assert same.value == 1.0 and (same.better, same.target) == ("high", 1.0)


def test_the_newer_ratio_stands_beside_the_others_if_asked_for(request_tokens):
  found = fit(truth.measure(newer=True), request_tokens)
  usual = {name: score for name, score in found.items() if "right_share" not in name}
  assert usual == fit(truth.measure(), request_tokens)
  both = (request_tokens.subject, request_tokens.reference)
  for name in ("forget", "retain"):
    nlls, control = (truth.nlls(subject, request_tokens.data, name) for subject in both)
    want = np.mean(1 / (1 + truth.ratios(nlls)))
    assert found[f"{name}/right_share"].value == pytest.approx(want) and want > 0.9
    assert found[f"{name}/right_share"][2:4] == ("near", truth.right_share(control))
  alone = fit(truth.measure(newer=True), request_tokens._replace(reference=None))
  assert alone["forget/right_share"][2:4] == ("low", 0.5) and alone["retain/right_share"][2:4] == ("high", 1.0)


def test_sets_without_wrong_answers_are_refused(request_tokens):
  arrays = {name: x for name, x in request_tokens.data.arrays.items() if name != "wrong"}
  for data, name in ((Data(arrays, request_tokens.data.sets), "forget"), (request_tokens.data, "nobody")):
    with pytest.raises(Invalid, match=name):
      truth.nlls(request_tokens.subject, data, name)
