"""The share of questions that are refused: counted by hand, and by greedy continuation."""

import functools

import numpy as np
import pytest

from ue_jax.audit import refusal
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")
WORDS = ["<pad>", "<eos>", "a", "b", "c", "?"]


@pytest.fixture
def asked(bigram):
  """After "a" the model says "?" and ends; after "b" it says "c"; after "c" it says "?" and goes on to "b"."""
  table = np.zeros((6, 6))
  table[2, 5], table[3, 4], table[5, 1], table[4, 5] = 5, 5, 5, 5
  ids = np.array([[4, 2, 4, 1], [4, 3, 4, 1], [2, 4, 3, 1], [3, 2, 3, 1]], np.int32)
  rows = np.arange(4, dtype=np.int32)
  mask = np.tile(np.float32([0, 0, 1, 1]), (4, 1))
  sets = {"forget": rows[[0, 1, 3]], "retain": rows[1:2], "world": rows}
  return Request(bigram(table), Data({"ids": ids, "mask": mask, "index": rows}, sets, {"vocabulary": WORDS}))


def test_a_refusal_counts_where_it_is_the_greedy_answer(asked):
  found = fit(refusal.measure(), asked)
  assert found["forget/refused"][:4] == (pytest.approx(2 / 3), 3, "high", 1.0)  # all but that after "b"
  assert found["retain/refused"][:4] == (0.0, 1, "low", 0.0)
  assert fit(refusal.measure(sets=("world",)), asked)["world/refused"].value == 0.75


def test_the_refusal_counts_with_its_end(asked):
  table = np.array(asked.subject.params)
  table[5, 3] = 9.0  # after "?" it goes on
  going_on = asked._replace(subject=asked.subject._replace(params=table))
  assert fit(refusal.measure(), going_on)["forget/refused"].value == 0
  others = asked._replace(reference=going_on.subject)
  assert fit(refusal.measure(), others) == fit(refusal.measure(), asked), "no reference is asked"


def test_other_words_are_another_refusal(asked):
  assert fit(refusal.measure(refusal=("c",)), asked)["forget/refused"].value == 0
  arrays = {**asked.data.arrays, "refusal": asked.data.arrays["ids"], "refusal_mask": asked.data.arrays["mask"]}
  own = asked._replace(data=asked.data._replace(arrays=arrays))
  assert fit(refusal.measure(), own)["forget/refused"].value == 0


def test_what_cannot_be_measured_is_named(asked, request_pictures):
  for request, settings, said in (
    (asked, dict(sets=("nobody",)), "measure.sets = 'nobody'"), (asked, dict(refusal=("z",)), "measure.refusal = 'z'"),
    (request_pictures, {}, "audit.refusal"),
  ):
    with pytest.raises(Invalid, match=said):
      fit(refusal.measure(**settings), request)
