import functools

import numpy as np
import pytest

from ue_jax.audit import asr
from ue_jax.audit.outputs import Outputs
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


def test_softmax_vectors_are_sorted_and_forget_which_class_is_which():
  logits = np.log(np.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]))
  np.testing.assert_allclose(asr.sorted_softmax(Outputs(logits, {}, np.zeros(2, int))), [[0.1, 0.2, 0.7]] * 2)


def test_a_model_that_knows_them_by_heart_is_told_from_one_that_never_saw_them(by_heart):
  asked = by_heart[1]  # the labels have no pattern: who is sure of a sample has seen it
  measure = asr.measure(trees=20)
  known, never = (fit(measure, asked._replace(subject=s))["ASR"] for s in (asked.subject, asked.reference))
  assert known.value > 0.6 and abs(never.value - 0.5) < 0.08  # 80 and 70 samples
  assert (known.better, known.target, known.low, known.high) == ("near", never.value, 0.0, 1.0)
  assert never.value == never.target and known.n == 30 + 40
  assert fit(measure, asked._replace(reference=None))["ASR"] == known._replace(target=0.5)


def test_samples_are_drawn_and_not_taken_in_the_order_of_the_file(by_heart, monkeypatch):
  asked, seen = by_heart[1], []
  monkeypatch.setattr(asr, "told", lambda learned, asked, trees, seed: seen.append((*learned, *asked)) or 0.5)
  asr.success(asked.subject, asked.data, draws=2)
  assert [[len(part) for part in draw] for draw in seen] == [[30, 40, 30, 40]] * 2  # of 50 in `retain`, 80 in `test`
  rows = lambda *parts: sorted(map(tuple, np.concatenate(parts).tolist()))
  forget, retain, never = (
    asr.sorted_softmax(said) for said in asr.outputs(asked.subject, asked.data, ("forget", "retain", "test")).values()
  )
  (_, first, members, second), other = seen
  assert rows(first, second) == rows(never) and rows(members) == rows(forget)  # the halves share no sample
  assert rows(first) not in (rows(never[:40]), rows(never[40:]), rows(other[1]))
  assert all(set(rows(draw[0])) <= set(rows(retain)) for draw in seen) and rows(seen[0][0]) != rows(other[0])


def test_either_kind_weighs_the_same_and_nothing_to_tell_by_is_a_coin():
  rng = np.random.default_rng(0)
  draw = lambda n, shift: rng.normal(size=(n, 3)) + shift
  few, many = draw(20, 4), draw(200, 0)
  assert asr.told((few, many), (draw(10, 4), draw(300, 0)), trees=10) > 0.9
  assert asr.told((few, many), (draw(10, 0), draw(300, 0)), trees=10) == pytest.approx(0.5, abs=0.1)
  assert asr.told((few, many), (draw(10, 0), draw(300, 4)), trees=10) < 0.1  # the other way round
  assert asr.told((np.ones((4, 2)), np.ones((9, 2))), (few[:, :2], many[:, :2])) == 0.5


def test_numbers_and_sets_out_of_range_are_refused(by_heart):
  asked = by_heart[1]
  for settings in (dict(draws=0), dict(trees=0.5)):
    with pytest.raises(Invalid, match=f"measure.{next(iter(settings))}"):
      asr.measure(**settings)
  with pytest.raises(Invalid, match="measure.sets = 'holdout'"):
    fit(asr.measure("holdout"), asked)
  alone = Data(asked.data.arrays, {**asked.data.sets, "test": asked.data.sets["test"][:1]}, asked.data.info)
  with pytest.raises(Invalid, match="at least two samples"):
    fit(asr.measure(), asked._replace(data=alone))
