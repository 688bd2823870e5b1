"""Figures made of shares: known numbers, their ends, and where they say nothing."""

import math

import pytest

from ue_jax.audit import derived
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Score


def share(value, n=20):
  return Score(value, n, "low", 0.0)


@pytest.mark.parametrize("u, r, f, want", [
  (0.4, 0.1, 0.7, 0.5), (0.1, 0.1, 0.7, 0.0), (0.7, 0.1, 0.7, 1.0),
  (0.05, 0.1, 0.7, -1 / 12), (0.0, 0.6, 0.7, -1.0), (1.0, 0.5, 0.6, 1.5),  # the last two are cut
])  # fmt: skip
def test_retention_counts_from_the_reference_to_the_original(u, r, f, want):
  found = derived.retention(share(u, 7), share(r), share(f))
  assert found.value == pytest.approx(want)
  assert found[1:] == (7, "near", 0.0, -1.0, 1.5)


@pytest.mark.parametrize("a, u, f, want, most", [
  (0.5, 0.2, 0.8, 0.5, 4 / 3), (0.2, 0.2, 1.0, 0.0, 1.0), (1.0, 0.2, 1.0, 1.0, 1.0), (0.0, 0.5, 1.0, -1.0, 1.0),
])  # fmt: skip
def test_recovery_counts_from_after_unlearning_to_before_it(a, u, f, want, most):
  found = derived.recovery(share(a, 9), share(u), share(f))
  assert found.value == pytest.approx(want)
  assert found[1:5] == (9, "near", 0.0, -math.inf) and found.high == pytest.approx(most)


def test_what_the_reference_learns_under_the_same_attack_is_taken_off():
  full = share(1.0)
  mine, control = (derived.recovery(share(a), share(u), full) for a, u in ((0.6, 0.2), (0.3, 0.0)))
  found = derived.beyond(mine, control)
  assert found.value == pytest.approx(0.5 - 0.3) and found[1:] == (20, "near", 0.0, -math.inf, math.inf)
  assert derived.beyond(control, control).value == 0


def test_where_there_was_nothing_to_keep_or_to_bring_back_they_say_nothing():
  assert math.isnan(derived.retention(share(0.5), share(0.9), share(0.9)).value)
  nothing = derived.recovery(share(0.9), share(0.8), share(0.8))
  assert math.isnan(nothing.value) and math.isnan(derived.beyond(nothing, share(0.0)).value)


@pytest.mark.parametrize("wrong", [1.2, -0.1, math.nan])
def test_what_is_no_share_is_refused(wrong):
  for made in (derived.retention, derived.recovery):
    with pytest.raises(Invalid, match="derived.share"):
      made(share(wrong), share(0.1), share(0.9))
