import jax
import numpy as np
import pytest

from ue_jax.audit import composition
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request


def data(**sets):
  sets = {name: np.asarray(rows, np.int32) for name, rows in sets.items()}
  label = np.repeat(np.arange(2, dtype=np.int32), 5)
  return Data({"index": np.arange(10, dtype=np.int32), "label": label}, sets, {"labels": {"label": ["a", "b"]}})


def test_shares_and_shift_are_those_counted_by_hand():
  train = [0, 1, 2, 3, 5, 6, 7, 8]
  asked = data(forget=[0, 1, 2, 5], retain=[3, 6, 7, 8], noisy=[0, 5, 6, 9], train=train, test=[4, 9])
  found = composition.measure().finish(composition.measure().init(jax.random.key(0), None), Request(None, asked))
  assert set(found) == {"noisy", "label/shift"}, "all of the union, or nothing of it, says nothing"
  assert found["noisy"].value == 2 / 4 and found["noisy"].target == 3 / 8 and found["noisy"].better == "near"
  assert found["label/shift"].value == pytest.approx(3 / 4 - 4 / 8)  # the first class: 3 of 4, in the union 4 of 8
  assert all(score.n == 4 for score in found.values())


def test_a_whole_class_is_as_far_off_as_can_be():
  asked = data(forget=range(5), retain=range(5, 10))
  assert composition.composition(asked)["label/shift"].value == pytest.approx(0.5)


def test_what_is_not_there_is_named():
  with pytest.raises(Invalid, match="measure.sets = 'retain'"):
    composition.composition(data(forget=[0]))
  with pytest.raises(Invalid, match="measure.labels = 'age'"):
    composition.composition(data(forget=[0], retain=[1]), ("age",))
