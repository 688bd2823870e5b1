import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import membership
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


def brute_force(members, nonmembers):
  pairs = [(b > a) + 0.5 * (b == a) for a in members for b in nonmembers]
  return sum(pairs) / len(pairs)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_is_the_share_of_pairs_in_order_with_ties_as_half(levels):
  rng = np.random.default_rng(levels)
  members, nonmembers = rng.integers(0, levels, 37) / 8, rng.integers(0, levels, 23) / 8 + 0.125
  assert membership.auc(members, nonmembers) == brute_force(members, nonmembers)


def test_auc_of_known_cases():
  assert membership.auc(np.array([0.1, 0.2]), np.array([0.3, 9.0])) == 1.0
  assert membership.auc(np.array([5.0]), np.array([1.0])) == 0.0
  assert membership.auc(np.zeros(4), np.zeros(3)) == 0.5
  assert membership.auc(np.array([1.0, np.inf]), np.array([np.inf])) == 0.75


def test_auc_depends_on_the_order_only():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=30), rng.normal(size=20)
  assert membership.auc(np.exp(a), np.exp(b)) == membership.auc(a, b) == 1 - membership.auc(b, a)


def test_trained_persons_are_told_apart_and_untrained_ones_are_not(request_tokens):
  trained = fit(membership.measure(), request_tokens)["loss/auc"]
  control = fit(membership.measure(), Request(request_tokens.reference, request_tokens.data))["loss/auc"]
  assert trained.value > 0.95 and trained.n == 32
  assert 0.2 < control.value < 0.8
  assert (trained.better, trained.target) == ("near", control.value)  # exact unlearning, not a coin, is the aim
  alone = fit(membership.measure(), request_tokens._replace(reference=None))["loss/auc"]
  assert (alone.better, alone.target, alone.value) == ("near", 0.5, trained.value)


def test_pictures_compare_train_with_test(request_pictures):
  score = fit(membership.measure(label="shape"), request_pictures)["loss/auc"]
  assert score.n == 120 and 0.3 < score.value < 0.8  # a network that generalises
  with pytest.raises(Invalid, match="measure.whole = True: leave it out"):
    fit(membership.measure(label="shape", whole=True), request_pictures)


def test_scores_without_a_rank_are_refused(request_tokens):
  broken = jax.tree.map(lambda x: x * np.float32("nan"), request_tokens.subject.params)
  asked = request_tokens._replace(subject=request_tokens.subject._replace(params=broken))
  with pytest.raises(Invalid, match="NaN"):
    fit(membership.measure(), asked)
  with pytest.raises(Invalid, match="measure.sets = 'nobody'"):
    fit(membership.measure(nonmembers="nobody"), request_tokens)


@pytest.mark.parametrize("fpr, want", [(0.0, 0.25), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75)])
def test_true_positives_are_counted_where_few_nonmembers_are_taken_for_members(fpr, want):
  members, nonmembers = np.array([0.0, 1.5, 2.5, 9.0]), np.array([4.0, 3.0, 2.0, 1.0])
  assert membership.tpr(members, nonmembers, fpr) == want  # at most fpr of the four nonmembers are below


def test_the_share_recognised_stands_beside_the_auc_if_asked_for(request_tokens):
  found = fit(membership.measure(fpr=0.1), request_tokens)
  control = fit(membership.measure(fpr=0.1), Request(request_tokens.reference, request_tokens.data))["loss/tpr"]
  assert found["loss/tpr"].value > 0.9 and found["loss/tpr"].n == 16
  assert found["loss/tpr"].target == control.value < 0.5 and control.target == 0.1
  assert set(fit(membership.measure(), request_tokens)) == {"loss/auc"}
  with pytest.raises(Invalid, match="measure.fpr = 1"):
    membership.measure(fpr=1)
