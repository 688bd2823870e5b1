"""Probes on activations made by hand, where what can be read off is known, and on a trained model."""

import numpy as np
import pytest

from ue_jax.audit import linear_probe
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop

GRID = (1e-2, 1.0)


@pytest.fixture(scope="module")
def made():
  """40 known and 10 other persons, two relations of 3 and 4 answers; (data, rows, answers)."""
  rng = np.random.default_rng(0)
  person, relation = np.repeat(np.arange(50), 2), np.tile([0, 1], 50)
  answer = np.where(relation == 0, rng.integers(2, 5, 100), rng.integers(5, 9, 100))
  ids = np.stack([np.ones(100), answer, np.zeros(100)], axis=1).astype(np.int32)
  mask = np.tile(np.array([0, 1, 1], np.float32), (100, 1))
  rows = np.arange(100, dtype=np.int32)
  arrays = {"ids": ids, "mask": mask, "person": person, "relation": relation, "index": rows}
  return Data(arrays, {"retain": rows[:80], "forget": rows[80:]}), rows, answer


def test_what_is_linear_is_read_off_and_noise_is_not(made):
  data, rows, answer = made
  rng = np.random.default_rng(1)
  clear = np.eye(9)[answer] @ rng.normal(size=(9, 12)) + 0.1 * rng.normal(size=(100, 12))
  noise = rng.normal(size=(100, 12))
  task = linear_probe.problem(data, rows, 80)
  features = linear_probe.standardised(np.stack([clear, noise]).astype(np.float32), task)
  right, shuffled = linear_probe.accuracies(features, task, GRID)
  assert right[0] == 1.0 and right[1] <= 0.6
  assert (shuffled <= 0.6).all() and task.chance == pytest.approx((1 / 3 + 1 / 4) / 2)
  again = linear_probe.accuracies(features, task, GRID)
  np.testing.assert_array_equal(again, [right, shuffled])


def test_a_probe_learns_from_the_known_alone(made):
  """Where the others carry the opposite sign, it is wrong about them: nothing of them was seen."""
  data, rows, answer = made
  code = np.random.default_rng(1).normal(size=(9, 12))
  features = (np.eye(9)[answer] @ code * np.where(rows < 80, 1, -1)[:, None])[None].astype(np.float32)
  task = linear_probe.problem(data, rows, 80)
  assert linear_probe.accuracies(linear_probe.standardised(features, task), task, GRID)[0][0] < 0.2


def test_the_rows_of_a_problem(made):
  data, rows, answer = made
  task = linear_probe.problem(data, rows, 80, seed=3)
  assert task.known.shape == (2, 40) and task.asked.shape == (2, 10) and task.present.sum(1).tolist() == [3, 4]
  assert (task.known < 80).all() and (task.asked >= 80).all()
  for r, first in enumerate((2, 5)):
    np.testing.assert_array_equal(task.label[r] + first, answer[task.known[r]])
    np.testing.assert_array_equal(task.wanted[r] + first, answer[task.asked[r]])
    assert sorted(task.wrong[r]) == sorted(task.label[r]) and (task.wrong[r] != task.label[r]).any()
  people = data.arrays["person"][task.known]
  assert len(set(people[task.choosing > 0])) == 8  # a fifth of the persons, with all their rows
  assert not set(people[task.choosing > 0]) & set(people[task.choosing == 0])


def test_answers_that_no_known_person_has_are_not_asked_for(made):
  data, rows, answer = made
  ids = data.arrays["ids"].copy()
  ids[80:82, 1] = (7, 2)  # each the answer of the other relation
  task = linear_probe.problem(Data({**data.arrays, "ids": ids}, data.sets), rows, 80)
  assert task.asked_mask.sum() == 18 and not {80, 81} & set(task.asked[task.asked_mask > 0])
  with pytest.raises(Invalid, match="measure.asked"):
    linear_probe.problem(Data({**data.arrays, "relation": rows}, data.sets), rows, 80)


def test_a_model_that_learned_the_persons_gives_them_away_and_the_reference_does_not(request_tokens):
  found = loop.fit(linear_probe.measure(penalties=(0.1, 1.0)), request_tokens, mode="one")
  mine = found["forget/probe"]
  assert mine.value >= mine.target + 0.3 and mine.better == "near" and mine.n <= 16
  assert found["forget/block_0/probe"].value == mine.value  # it has one block
  assert found["forget/block_0/shuffled"].value < 0.5
  alone = loop.fit(linear_probe.measure(penalties=(0.1,)), request_tokens._replace(reference=None), mode="one")
  assert alone["forget/probe"].target == alone["forget/block_0/shuffled"].target < 0.2


def test_what_it_cannot_learn_from_is_refused(request_tokens, request_pictures):
  fit = lambda settings, request: loop.fit(linear_probe.measure(**settings), request, mode="one")
  with pytest.raises(Invalid, match="measure.penalties"):
    linear_probe.measure(penalties=(0.0,))
  with pytest.raises(Invalid, match="measure.sets = 'nobody'"):
    fit({"known": "nobody"}, request_tokens)
  with pytest.raises(Invalid, match="taps = 'block_0/middle'"):
    fit({"site": "middle"}, request_tokens)
  with pytest.raises(Invalid, match="token sequences"):
    fit({"known": "train", "asked": "test"}, Request(request_pictures.subject, request_pictures.data))
