import numpy as np
import pytest

from ue_jax.audit import alignment
from ue_jax.core.errors import Invalid


@pytest.fixture(scope="module")
def pair():
  """Two representations of 500 samples that share some directions."""
  rng = np.random.default_rng(0)
  shared = rng.normal(size=(500, 5))
  x = shared @ rng.normal(size=(5, 16)) + 0.5 * rng.normal(size=(500, 16)) + 7
  y = np.maximum(shared @ rng.normal(size=(5, 12)) + rng.normal(size=(500, 12)), 0)
  return x, y


def gram(x, y):
  centre = np.eye(len(x)) - 1 / len(x)
  k, l = (centre @ one @ one.T @ centre for one in (x, y))
  return np.sum(k * l) / np.sqrt(np.sum(k * k) * np.sum(l * l))


def test_the_feature_form_is_the_gram_form(pair):
  assert alignment.cka(*pair) == pytest.approx(gram(*pair), abs=1e-10)


def test_it_is_blind_to_turns_scales_shifts_and_the_order_of_the_samples(pair):
  x, y = pair
  rng = np.random.default_rng(1)
  turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
  order = rng.permutation(500)
  want = alignment.cka(x, y)
  assert alignment.cka((-3 * x @ turn + 5)[order], y[order]) == pytest.approx(want, abs=1e-10)
  assert alignment.cka(x, -2 * x @ turn) == pytest.approx(1.0) and 0.05 < want < 0.95
  assert alignment.cka(y, x) == pytest.approx(want)
  uneven = x * np.arange(1, 17)  # no isotropic scale: it must be seen
  assert abs(alignment.cka(uneven, y) - want) > 0.01


@pytest.mark.parametrize("device", [False, True])
def test_moments_of_parts_add_up(pair, device):
  x, y = (one - one.mean(0) for one in pair)
  parts = [alignment.moments(x[a:b], y[a:b], 64, device) for a, b in ((0, 190), (190, 500))]
  whole = alignment.Moments(*(sum(field) for field in zip(*parts)))
  assert alignment.from_moments(whole) == pytest.approx(gram(*pair), abs=1e-5 if device else 1e-10)
  assert all(field.dtype == np.float64 for field in whole)


def test_the_unbiased_estimate_is_that_of_its_definition_and_near_the_full_one(pair):
  x, y = pair

  def hsic(x, y):  # with the n x n matrices
    n = len(x)
    k, l = (one @ one.T * (1 - np.eye(n)) for one in (x, y))
    one = np.ones(n)
    inner = np.trace(k @ l) + one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ l @ one
    return inner / (n * (n - 3))

  got = alignment.cka(x, y, "unbiased")
  assert got == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)), abs=1e-8)
  assert abs(got - alignment.cka(x, y)) <= 0.005
  rng = np.random.default_rng(2)
  noise = rng.normal(size=(40, 30)), rng.normal(size=(40, 30))  # few unrelated samples
  assert alignment.cka(*noise) > 0.3 and abs(alignment.cka(*noise, "unbiased")) < 0.1


def test_the_released_form_is_the_mean_over_batches_in_file_order(pair):
  x, y = pair
  want = np.mean([gram(x[i : i + 128], y[i : i + 128]) for i in (0, 128, 256, 384)])
  assert alignment.cka(x, y, "batched", batch=128) == pytest.approx(want, abs=1e-10)
  assert alignment.cka(x, y, "batched", batch=499) == pytest.approx(gram(x[:499], y[:499]))  # one sample is none
  assert alignment.cka(x, y, "batched") == pytest.approx(alignment.cka(x, y))


def test_what_cannot_be_compared_is_refused(pair):
  x, y = pair
  for a, b, said in ((x, y[:-1], "same samples"), (np.ones_like(x), y, "constant"), (x * np.nan, y, "NaN")):
    with pytest.raises(Invalid, match=said):
      alignment.cka(a, b)
  with pytest.raises(Invalid, match="at least 4"):
    alignment.cka(x[:3], y[:3], "unbiased")
  with pytest.raises(Invalid, match="measure.estimator"):
    alignment.cka(x, y, "kernel")
