import jax
import numpy as np
import pytest

from ue_jax.audit import utility
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request
from ue_jax.forget import retrain, shards, sisa
from ue_jax.models import ensemble
from ue_jax.train import loop

HOW = dict(slices=3, slice_steps=20, batch_size=10, rate=1e-2)


def fit(procedure, problem):
  return loop.fit(procedure, problem, mode="one", steps_per_call=20)


@pytest.fixture(scope="module")
def asked(pictures):
  """A Request to an ensemble of three shards to forget one sample, and where that sample is."""
  data, model = pictures.data, ensemble.model(3, members=3, widths=(16,))
  shard, part = shards.places(data.arrays["index"][data.sets["train"]], 3, 3)
  row = int(np.flatnonzero((part == 1) & (shard == 2))[0])
  train = data.sets["train"]
  data = Data(data.arrays, {**data.sets, "forget": train[row : row + 1], "retain": np.delete(train, row)}, data.info)
  return Request(fit(sisa.train(model, **HOW), data), data), 2, 1


@pytest.fixture(scope="module")
def forgotten(asked):
  return fit(sisa.method(**HOW), asked[0])


def shard_of(params, i):
  return tree.fingerprint(jax.tree.map(lambda x: x[i], params))


def test_the_ensemble_learns(asked):
  scores = utility.scores(asked[0], ("train", "test"))
  assert scores["train/accuracy"].value > 0.95 and scores["test/accuracy"].value > 0.9


def test_all_other_shards_keep_their_bits(asked, forgotten):
  request, shard, _ = asked
  for i in range(3):
    same = shard_of(request.subject.params, i) == shard_of(forgotten.params, i)
    assert same == (i != shard)


def test_it_equals_training_without_the_sample(asked, forgotten):
  request = asked[0]
  anew = fit(retrain.method(sisa.train(request.subject.model, **HOW)), request)
  assert tree.fingerprint(anew.params) == tree.fingerprint(forgotten.params)
  assert tree.fingerprint(anew.state) == tree.fingerprint(forgotten.state), "the past, for the next request"


def test_only_the_stages_after_the_sample_are_trained_again_and_counted(asked, forgotten):
  retrained = forgotten.history["retrained"]
  np.testing.assert_array_equal(retrained[:20], 0)
  np.testing.assert_array_equal(retrained[20:], 10)
  assert np.asarray(asked[0].subject.history["retrained"]).sum() == 60 * 30


def test_what_is_forgotten_is_never_drawn(asked):
  request = asked[0]
  poisoned = {name: np.array(array) for name, array in request.data.arrays.items()}
  poisoned["image"][request.data.sets["forget"]] = 255 - poisoned["image"][request.data.sets["forget"]]
  other = request._replace(data=Data(poisoned, request.data.sets, request.data.info))
  ends = [fit(sisa.method(**HOW), r).params for r in (request, other)]
  assert tree.fingerprint(ends[0]) == tree.fingerprint(ends[1])


def test_shards_spread_over_devices_learn_the_same(asked):
  request = asked[0]
  many = loop.fit(sisa.train(request.subject.model, **HOW), request.data, mode="shard_map", devices=jax.devices()[:3],
                  steps_per_call=20)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), many.params, request.subject.params)


def test_places_follow_from_the_identity_alone_and_are_even():
  index = np.arange(6000)
  shard, part = shards.places(index, 5, 4)
  few = np.array([17, 4242, 5])
  np.testing.assert_array_equal(shards.places(few, 5, 4), [shard[few], part[few]])
  cells = np.bincount(shard * 4 + part, minlength=20)
  assert len(cells) == 20 and np.all(np.abs(cells - 300) < 80)  # 4.7 standard deviations


def test_other_subjects_and_other_slices_are_refused(asked, pictures):
  with pytest.raises(Invalid, match="forget.sisa"):
    sisa.method(**HOW).init(jax.random.key(0), pictures)
  with pytest.raises(Invalid, match="trained in 3 slices"):
    sisa.method(**{**HOW, "slices": 2}).init(jax.random.key(0), asked[0])
  with pytest.raises(Invalid, match="models.ensemble"):
    sisa.train(pictures.subject.model, **HOW).init(jax.random.key(0), pictures.data)
