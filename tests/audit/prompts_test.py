"""Prompts before questions: what stands there, what is asked, and which facts count as reached."""

import numpy as np
import pytest

from ue_jax.audit import prompts, utility
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop


def fit(procedure, request):
  return loop.fit(procedure, request, mode="one")


def words(data, row):
  """The tokens of a row up to its last target, and the targets among them."""
  ids, mask = data.arrays["ids"][row], data.arrays["mask"][row] > 0
  return ids[: len(mask) - mask[::-1].argmax()], ids[mask]


def test_questions_stand_behind_demonstrations_of_other_persons_as_they_were(request_tokens):
  data = request_tokens.data
  made = prompts.prompted(data, ("forget",), (2,), ("forget", "retain"), [(7, 8)])
  assert list(made.sets) == ["forget", "forget behind text 0", "forget behind 2 forget", "forget behind 2 retain"]
  known = {tuple(words(data, row)[0]): row for row in range(data.n)}
  for name, rows in made.sets.items():
    source = name.rpartition(" ")[2]
    for row, old in zip(rows, data.sets["forget"]):
      text, targets = words(made, row)
      own, wanted = words(data, old)
      np.testing.assert_array_equal(text[len(text) - len(own) :], own)
      np.testing.assert_array_equal(targets, wanted)
      before = text[: len(text) - len(own)]
      if name == "forget":
        assert len(before) == 0
      elif name.endswith("text 0"):
        assert before.tolist() == [7, 8]
      else:
        ends = [0, *(np.flatnonzero(before == 1) + 1)]
        shots = [known[tuple(before[a:b])] for a, b in zip(ends, ends[1:])]
        assert len(set(shots)) == 2 and set(shots) <= set(data.sets[source])
        assert data.arrays["person"][old] not in data.arrays["person"][shots]


def test_the_same_seed_shows_the_same_and_another_others(request_tokens):
  made = lambda seed: prompts.prompted(request_tokens.data, ("forget",), (1,), ("retain",), seed=seed).arrays["ids"]
  np.testing.assert_array_equal(made(0), made(0))
  assert (made(0) != made(1)).any()


def test_a_fact_is_reached_if_any_of_its_questions_is_answered(request_tokens, bigram):
  """Counted by hand: a model that says token 5 after 4 alone, facts asked twice."""
  table = np.zeros((9, 9))
  table[4, 5] = table[5, 1] = 9.0
  ids = np.array([[4, 5, 1], [3, 5, 1], [3, 5, 1], [4, 6, 1]], np.int32)
  mask = np.tile(np.array([0, 1, 1], np.float32), (4, 1))
  rows = np.arange(4, dtype=np.int32)
  arrays = {"ids": ids, "mask": mask, "index": rows, "fact": np.array([0, 0, 1, 2], np.int32)}
  found = prompts.reached(bigram(table), Data(arrays, {"a": rows[:2], "b": rows[2:]}))
  assert found.tolist() == [True, False, False]
  alone = {**arrays, "person": rows * 0, "relation": np.array([0, 0, 1, 2], np.int32)}
  asked = Request(bigram(table), Data(alone, {"forget": rows}, {"vocabulary": list("abcdefghi")}))
  scores = fit(prompts.measure(("forget",), shots=(), texts=("a b",)), asked)
  assert scores["reached"].value == pytest.approx(1 / 3) and scores["reached"].n == 3
  assert scores["reached"].better == "low" and scores["forget/ex"].value == 0.25
  assert scores["forget behind text 0/ex"].value == 0.25  # this model sees the last token alone


def test_with_a_reference_everything_is_held_against_it_asked_in_the_same_way(request_tokens):
  found = fit(prompts.measure(("forget",), shots=(1,), shown=("retain",)), request_tokens)
  plain = fit(utility.measure(("forget",)), request_tokens)
  assert found["forget/ex"] == plain["forget/ex"]  # longer padding changes nothing
  np.testing.assert_allclose(found["forget/nll"].value, plain["forget/nll"].value, rtol=1e-4)
  best = max(found[f"{name}/ex"].value for name in ("forget", "forget behind 1 retain"))
  assert found["reached"].value >= best and found["reached"].target >= found["forget/ex"].target
  assert found["reached"].better == "near" and found["reached"].n == 8


def test_what_cannot_be_shown_is_refused(request_tokens, request_pictures):
  with pytest.raises(Invalid, match="measure.sets = 'nobody'"):
    fit(prompts.measure(("forget",), shown=("nobody",)), request_tokens)
  with pytest.raises(Invalid, match="12 sequences of other persons in forget"):
    fit(prompts.measure(("forget",), shots=(13,), shown=("forget",)), request_tokens)
  with pytest.raises(Invalid, match="measure.texts = 'xyzzy'"):
    fit(prompts.measure(("forget",), texts=("where xyzzy",)), request_tokens)
  with pytest.raises(Invalid, match="measure.shots"):
    prompts.measure(shots=(0,))
  with pytest.raises(Invalid, match="token sequences"):
    fit(prompts.measure(("train",), shown=()), Request(request_pictures.subject, request_pictures.data))
