import functools

import numpy as np
import pytest

from ue_jax.audit import memorize
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


def by_definition(hits, mask, released):
  """em and es by loops: the smallest k after which all targets but the end token are right."""
  em, es = [], []
  for row, m in zip(hits, mask):
    right = [bool(h) for h, target in zip(row, m) if target][:-1]
    if not right:
      continue
    n = len(right)
    k = next(k for k in range(n + 1) if all(right[k:]))
    em.append(sum(right) / n)
    es.append(1 - min(k, n - 1 if released else n) / n)
  return np.array(em), np.array(es)


def test_hand_made_sequences():
  mask = np.array([[0, 0, 1, 1, 1, 1, 1]] * 5 + [[0, 0, 1, 1, 0, 0, 0]], bool)
  hits = np.array([
    [1, 1, 1, 1, 1, 1, 0],  # the end token does not count
    [0, 0, 0, 1, 1, 1, 1],  # one token of prompt is enough
    [0, 0, 1, 1, 1, 0, 1],  # the last target is wrong
    [0, 0, 0, 1, 0, 1, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 1, 0, 0, 0, 0],  # one target
  ], bool)
  em, es = memorize.memorised(hits, mask)
  np.testing.assert_allclose(em, [1, 0.75, 0.75, 0.5, 0, 1])
  np.testing.assert_allclose(es, [1, 0.75, 0, 0.25, 0, 1])
  np.testing.assert_allclose(memorize.memorised(hits, mask, released=True)[1], [1, 0.75, 0.25, 0.25, 0.25, 1])


@pytest.mark.parametrize("released", [False, True])
def test_random_ragged_sequences_match_the_definition(released):
  rng = np.random.default_rng(3)
  start, length = rng.integers(1, 5, 60), rng.integers(0, 6, 60)
  at = np.arange(12)
  mask = (at >= start[:, None]) & (at < (start + length)[:, None])
  hits = rng.random((60, 12)) < 0.7
  for got, want in zip(memorize.memorised(hits, mask, released), by_definition(hits, mask, released)):
    np.testing.assert_allclose(got, want)


def test_padding_columns_change_nothing():
  rng = np.random.default_rng(4)
  mask = np.tile(np.arange(6) >= 2, (20, 1))
  hits = rng.random((20, 6)) < 0.6
  wide = lambda x, fill: np.concatenate([x, np.full((20, 5), fill)], axis=1)
  for got, want in zip(memorize.memorised(wide(hits, True), wide(mask, False)), memorize.memorised(hits, mask)):
    np.testing.assert_array_equal(got, want)


def test_trained_persons_are_memorised_and_untrained_ones_are_not(request_tokens):
  measure = memorize.measure(sets=("forget", "retain"))
  scores = fit(measure, request_tokens)
  control = fit(measure, Request(request_tokens.reference, request_tokens.data))
  assert scores["forget/em"].value > 0.95 and scores["forget/es"].value > 0.95
  assert scores["forget/em"].target == control["forget/em"].value < 0.4
  assert (control["forget/es"].better, control["forget/es"].target) == ("low", 0.0)
  assert (control["retain/es"].better, control["retain/es"].target) == ("high", 1.0)


def test_pictures_are_refused(request_pictures):
  with pytest.raises(Invalid, match="token sequences"):
    fit(memorize.measure(), request_pictures)
