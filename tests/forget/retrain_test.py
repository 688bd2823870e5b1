import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import unlearning, utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.data import embedded, packed
from ue_jax.forget import retrain
from ue_jax.models import mlp
from ue_jax.train import language, loop, supervised

fit = functools.partial(loop.fit, mode="one")


def procedure(request, steps=60):
  return supervised.train(request.subject.model, steps=steps, batch_size=20, rate=1e-2)


def test_forget_rows_leave_no_trace(pictures):
  """Absurd labels and white pictures in the forget rows: the same bits."""
  poisoned = {name: np.array(array) for name, array in pictures.data.arrays.items()}
  rows = pictures.data.sets["forget"]
  poisoned["label"][rows] = 10**6
  poisoned["image"][rows] = 255
  train = procedure(pictures, steps=10)
  clean = fit(retrain.method(train), pictures)
  other = fit(retrain.method(train), pictures._replace(data=Data(poisoned, pictures.data.sets, pictures.data.info)))
  assert tree.fingerprint(clean.params) == tree.fingerprint(other.params)


def test_nothing_of_the_subject_is_used(pictures):
  train = procedure(pictures, steps=3)
  absurd = jax.tree.map(lambda x: x * np.float32("nan"), pictures.subject.params)
  other = pictures._replace(subject=Subject(pictures.subject.model, absurd, {}))
  clean, same = (fit(retrain.method(train), request) for request in (pictures, other))
  assert tree.fingerprint(clean.params) == tree.fingerprint(same.params)


def test_it_is_training_on_the_retain_set(pictures):
  train = procedure(pictures, steps=5)
  data = pictures.data
  by_hand = Data(data.arrays, {"train": data.sets["retain"], "test": data.sets["test"]}, data.info)
  want, got = fit(train, by_hand), fit(retrain.method(train), pictures)
  assert tree.fingerprint(want.params) == tree.fingerprint(got.params)


def test_several_sets_can_be_kept(pictures):
  data, train = pictures.data, procedure(pictures, steps=5)
  retain = data.sets["retain"]
  halves = pictures._replace(data=Data(data.arrays, {**data.sets, "a": retain[::2], "b": retain[1::2]}, data.info))
  want, got = fit(retrain.method(train), pictures), fit(retrain.method(train, keep=("a", "b")), halves)
  assert tree.fingerprint(want.params) == tree.fingerprint(got.params)


def test_the_class_left_out_is_unknown_and_the_others_are_known(pictures):
  control = fit(retrain.method(procedure(pictures)), pictures)
  scores = utility.scores(pictures._replace(subject=control), ("forget", "retain"))
  assert scores["forget/accuracy"].value < 0.1 and scores["retain/accuracy"].value > 0.9


def test_a_tenth_of_digits_that_was_not_trained_on_is_as_wrong_as_the_test_pictures():
  data = embedded.data("digits", train=1297, test=500, forget_share=0.1)
  train = supervised.train(mlp.model(10, widths=(128, 64)), steps=800, batch_size=64, rate=2e-3)
  asked = Request(fit(train, data), data)
  again = unlearning.accuracies(fit(retrain.method(train), asked), data)
  known = unlearning.accuracies(asked.subject, data)
  assert abs(again["UA"][0] - (1 - again["TA"][0])) <= 0.05 and again["TA"][0] >= 0.95
  assert again["UA"][0] > known["UA"][0] == 0 and again["UA"][1] == 130  # who has seen it has it all right


def test_it_works_on_tokens(tokens):
  train = language.train(tokens.subject.model, steps=150, batch_size=40, rate=1e-2)
  control = fit(retrain.method(train), tokens, steps_per_call=50)
  scores = utility.scores(tokens._replace(subject=control), ("forget", "retain"))
  assert scores["forget/ex"].value <= 0.3 and scores["retain/ex"].value >= 0.95


def test_rows_of_forget_are_drawn_from_no_set_and_rows_are_packed_once(tokens, monkeypatch):
  packs, pack = [], packed.pack
  monkeypatch.setattr(packed, "pack", lambda *asked: packs.append(asked) or pack(*asked))
  data = tokens.data._replace(sets={**tokens.data.sets, "all": tokens.data.sets["train"]})
  request = tokens._replace(data=data)
  anew = lambda **more: retrain.method(language.train(tokens.subject.model, steps=4, batch_size=40, **more))
  rows = anew(train_sets=("train", "all")).batch(0, request, 0)
  assert set(rows["all"]["index"]) == set(data.arrays["index"][data.sets["retain"]])
  with pytest.raises(Invalid, match="set = 'forget'"):
    anew(train_sets=("forget", "retain")).init(jax.random.key(0), request)
  together = anew(pack=24)
  for t in range(3):
    together.batch(0, request, t)
  assert len(packs) == 1 and len(packs[0][0]) == len(data.sets["retain"])


def test_data_without_a_retain_set_are_refused(pictures):
  bare = pictures._replace(data=Data(pictures.data.arrays, {"train": pictures.data.sets["train"]}))
  with pytest.raises(Invalid, match="retain"):
    retrain.method(procedure(pictures)).init(jax.random.key(0), bare)


def test_a_further_model_of_the_same_seed_has_a_start_and_an_order_of_its_own(pictures):
  train = procedure(pictures, steps=2)
  first, second, third = (retrain.method(train, again=n) for n in (0, 1, 2))
  key = jax.random.key(4)
  starts = [tree.fingerprint(one.init(key, pictures).params) for one in (first, second, third)]
  rows = [tuple(one.batch(4, pictures, 0)["index"]) for one in (first, second, third)]
  assert len(set(starts)) == len(set(rows)) == 3
  assert rows[0] == tuple(train.batch(4, retrain.without_forget(pictures), 0)["index"])
  kept = set(pictures.data.arrays["index"][pictures.data.sets["retain"]])
  assert all(set(many) <= kept for many in rows)
  with pytest.raises(Invalid, match="method.again"):
    retrain.method(train, again=-1)
