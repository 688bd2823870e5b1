"""The bootstrap over persons: beside closed forms, and where persons and questions differ."""

import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import persons, utility
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
WORDS = ["<pad>", "<eos>", "a", "b", "c"]


@pytest.fixture
def asked(bigram):
  """Six questions of three persons and one of nobody; the subject knows those that are answered by c after a."""
  table, other = np.zeros((5, 5)), np.zeros((5, 5))
  table[2, 4], other[3, 4] = 9, 9
  ids = np.array([[2, 4], [2, 4], [3, 4], [3, 4], [2, 4], [3, 4], [2, 4]], np.int32)
  arrays = {"ids": ids, "mask": np.tile(np.float32([0, 1]), (7, 1)), "person": np.int32([0, 0, 1, 1, 2, 2, -1])}
  sets = {"forget": np.arange(6), "world": np.arange(7), "one": np.arange(2)}
  data = Data(arrays | {"index": np.arange(7)}, sets, {"vocabulary": WORDS})
  return Request(bigram(table), data, reference=bigram(other))


def test_the_error_is_that_of_the_means_of_persons_and_not_of_questions():
  draw = np.random.default_rng(0)
  each = draw.uniform(size=40)
  owners, drawn = np.repeat(np.arange(40), 5), persons.counts(jax.random.key(0), 40, 20000)
  same = persons.figures(np.repeat(each, 5), None, owners, drawn)["error"]
  assert same[1:4] == (40, "low", 0.0)
  np.testing.assert_allclose(same.value, each.std() / np.sqrt(40), rtol=0.02)  # as if each were asked once
  alone = persons.figures(np.repeat(each, 5), None, np.arange(200), persons.counts(jax.random.key(0), 200, 20000))
  np.testing.assert_allclose(alone["error"].value, same.value / np.sqrt(5), rtol=0.03)  # far too sure


def test_persons_with_more_questions_weigh_more():
  values, owners = np.float64([1, 1, 1, 0]), np.int32([7, 7, 7, 3])
  found = persons.figures(values, None, owners, persons.counts(jax.random.key(1), 2, 40000))
  means = np.repeat([0, 0.75, 0.75, 1], 1)  # drawn: the second twice, both in either order, the first twice
  np.testing.assert_allclose(found["error"].value, means.std(), rtol=0.02)


def test_the_interval_is_of_the_difference_on_the_same_persons():
  draw = np.random.default_rng(1)
  level, drawn = draw.uniform(size=60), persons.counts(jax.random.key(2), 60, 20000)
  apart = 0.2 + 0.05 * draw.standard_normal(60)
  found = persons.figures(level + apart, level, np.arange(60), drawn)
  np.testing.assert_allclose(found["excess"].value, apart.mean(), rtol=1e-6)
  half = 1.96 * apart.std() / np.sqrt(60)  # what all persons differ in is not in it
  np.testing.assert_allclose(
    [found["excess_low"].value, found["excess_high"].value], [apart.mean() - half, apart.mean() + half], rtol=0.02
  )


def test_the_excess_is_the_difference_of_the_scores_of_utility(asked):
  found = fit(persons.measure(), asked)
  assert {name.split("/")[0] for name in found} == {"forget"}, "the others are of nobody, too, or of one"
  subject = fit(utility.measure(sets=("forget",)), asked._replace(reference=None))
  reference = fit(utility.measure(sets=("forget",)), asked._replace(subject=asked.reference, reference=None))
  for what in ("ex", "p"):
    apart = subject[f"forget/{what}"].value - reference[f"forget/{what}"].value
    np.testing.assert_allclose(found[f"forget/{what}/excess"].value, apart, atol=1e-6)
    assert found[f"forget/{what}/excess_low"].value <= apart <= found[f"forget/{what}/excess_high"].value
  assert found["forget/ex/error"].value > 0.1
  alone = fit(persons.measure(), asked._replace(reference=None))
  assert sorted(alone) == ["forget/ex/error", "forget/p/error"]
  assert alone["forget/ex/error"] == found["forget/ex/error"]


def test_what_cannot_be_drawn_again_is_named(asked, request_pictures):
  for request, settings, said in (
    (asked, dict(sets=("nobody",)), "measure.sets = 'nobody'"), (asked, dict(sets=("one",)), "it is of one person"),
    (asked, dict(sets=("world",)), "belong to nobody"), (asked, dict(by="author"), "measure.by = 'author'"),
    (request_pictures, {}, "audit.persons"),
  ):  # fmt: skip
    with pytest.raises(Invalid, match=said):
      fit(persons.measure(**settings), request)
  with pytest.raises(Invalid, match="measure.draws"):
    persons.measure(draws=10)
