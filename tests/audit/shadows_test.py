"""The statistics of shadow models, on normals of which the truth is known."""

import numpy as np
import pytest
from scipy import stats

from ue_jax.audit import membership, shadows
from ue_jax.core import keys
from ue_jax.core.errors import Invalid


def world(models, samples, gap, seed=0):
  """phi of normals that differ by `gap`, and which model knew which sample."""
  rng = np.random.default_rng(seed)
  inside = shadows.halves(samples, models, seed)
  return rng.normal(size=(models, samples)) + gap * inside + rng.normal(size=samples) * 3, inside


@pytest.mark.parametrize("pooled", [False, True])
def test_the_ratio_is_that_of_the_fitted_normals(pooled):
  phi, inside = world(12, 6, 1.0)
  observed, want = phi[0] + 0.3, []
  spread = lambda where: np.sqrt(sum(((phi[where[:, i], i] - phi[where[:, i], i].mean()) ** 2).sum() for i in range(6))
                                 / (where.sum() - 6))  # noqa: E731
  for i in range(6):
    a, b = phi[inside[:, i], i], phi[~inside[:, i], i]
    sds = (spread(inside), spread(~inside)) if pooled else (a.std(ddof=1), b.std(ddof=1))
    want.append(stats.norm.logpdf(observed[i], a.mean(), sds[0]) - stats.norm.logpdf(observed[i], b.mean(), sds[1]))
  np.testing.assert_allclose(shadows.log_ratio(observed, phi, inside, pooled), want)


def test_few_models_share_a_spread_and_many_do_not():
  for models, pooled in ((8, True), (126, True), (128, False)):  # 63 a side are few
    phi, inside = world(models, 6, 1.0)
    got, other = (shadows.log_ratio(phi[0], phi, inside, how) for how in (None, not pooled))
    np.testing.assert_array_equal(got, shadows.log_ratio(phi[0], phi, inside, pooled))
    assert np.abs(got - other).max() > 1e-6


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0])
def test_the_attack_reaches_what_two_normals_allow(gap):
  """Samples differ by far more than membership moves them: only the comparison of a sample with itself sees it."""
  phi, inside = world(64, 600, gap)
  ratio = shadows.log_ratio(phi[0], phi[1:], inside[1:])
  auc = membership.auc(-ratio[inside[0]], -ratio[~inside[0]])
  assert auc == pytest.approx(stats.norm.cdf(gap / np.sqrt(2)), abs=0.06)
  if gap == 1.0:
    assert abs(membership.auc(-phi[0][inside[0]], -phi[0][~inside[0]]) - 0.5) < auc - 0.5  # a population attack


def test_rates_are_read_off_the_highest_of_those_outside():
  outside = np.arange(1000.0)
  inside = np.array([10.0, 989.5, 998.5, 2000.0])
  assert shadows.rates(inside, outside, (0.001, 0.01, 0.5)) == [0.5, 0.75, 0.75]
  assert shadows.rates(inside, np.array([500.0]), (0.001,)) == [0.75]  # no false positive at all


def test_halves_give_every_sample_to_half_of_the_models():
  for n in (10, 11):
    given = shadows.halves(n, 8, 1)
    assert (given.sum(1) == n // 2).all()
    assert (given.sum(0) <= 4).all() and given.sum(0).min() >= 4 - (n % 2) * 4
    assert not (given[0] & given[1]).any()
  assert (shadows.halves(10, 8, 1).sum(0) == 4).all()
  with pytest.raises(Invalid, match="even number"):
    shadows.halves(10, 5)


def test_too_few_models_a_side_are_refused():
  phi, inside = world(4, 3, 1.0)
  with pytest.raises(Invalid, match="fewer than two"):
    shadows.log_ratio(phi[0], phi[1:], inside[1:])


def test_every_run_has_shadow_models_of_its_own_unless_a_seed_is_named():
  drawn = [shadows.seed_of(keys.key(seed)) for seed in range(20)]
  assert len(set(drawn)) == 20 and drawn[3] == shadows.seed_of(keys.key(3))
  assert min(drawn) >= 1000  # and not those that runs count by
  assert shadows.seed_of(keys.key(3), 0) == 0
  for bad in (-1, 1.5, "a"):
    with pytest.raises(Invalid, match="measure.seed"):
      shadows.seed_of(keys.key(0), bad)
