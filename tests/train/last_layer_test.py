"""Training, then the last layer anew on known pictures."""

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.tree import fingerprint
from ue_jax.models import mlp
from ue_jax.train import last_layer, supervised
from ue_jax.train.loop import fit

RNG = np.random.default_rng(0)
N, TRAIN, KNOWN = 700, 400, 100


def shortcut():
  """Two classes of faint halves; in train, and only there, a bright corner says the class as well."""
  label = (np.arange(N) % 2).astype(np.int32)
  image = RNG.normal(110, 35, (N, 6, 6, 1))
  image[:, :3] += 18 * label[:, None, None, None]
  image[:TRAIN, 5, 5, 0] = 250 * label[:TRAIN]
  image[TRAIN:, 5, 5, 0] = 250 * RNG.integers(0, 2, N - TRAIN)
  arrays = {"image": image.clip(0, 255).astype(np.uint8), "label": label, "index": np.arange(N, dtype=np.int32)}
  rows = np.arange(N, dtype=np.int32)
  sets = {"train": rows[:TRAIN], "known": rows[TRAIN : TRAIN + KNOWN], "test": rows[TRAIN + KNOWN :]}
  return Data(arrays, sets, {"labels": {"label": ["a", "b"]}})


DATA, MODEL = shortcut(), mlp.model(classes=2, widths=(32,))
HOW = dict(steps=60, batch_size=100, rate=0.01, every=30)


@pytest.fixture(scope="module")
def plain():
  return fit(supervised.train(MODEL, **HOW), DATA, mode="one")


@pytest.fixture(scope="module")
def refitted():
  return fit(last_layer.train(MODEL, **HOW), DATA, mode="one")


def test_only_the_last_layer_differs_from_plain_training(plain, refitted):
  same = {name: fingerprint(refitted.params[name]) == fingerprint(plain.params[name]) for name in plain.params}
  assert same == {"block_0": True, "head": False}
  nothing = fit(last_layer.train(MODEL, known_steps=0, **HOW), DATA, mode="one")
  assert fingerprint(nothing.params) == fingerprint(plain.params)


def test_a_shortcut_of_the_body_is_partly_undone(plain, refitted):
  before, after = (subject.history["test_accuracy"][-1] for subject in (plain, refitted))
  assert before < 0.75 and after > before + 0.1


def test_the_last_point_of_the_curve_is_of_what_is_returned(plain, refitted):
  params = refitted.params
  logits, _ = supervised.predict(MODEL, params, {}, DATA.arrays["image"][DATA.sets["test"]])
  found = np.mean(logits.argmax(-1) == DATA.arrays["label"][DATA.sets["test"]])
  curves = [subject.history["test_accuracy"] for subject in (plain, refitted)]
  first = [curve[~np.isnan(curve)][0] for curve in curves]
  assert first[0] == first[1] and curves[1][-1] == np.float32(found)


def test_the_last_layer_is_the_penalised_logistic_regression_of_the_features(refitted):
  linear = pytest.importorskip("sklearn.linear_model")
  rows = DATA.sets["known"]
  _, x = supervised.predict(MODEL, refitted.params, {}, DATA.arrays["image"][rows])
  fitted = last_layer.refit(refitted, DATA, steps=1500, rate=0.05, decay=0.02).params["head"]
  oracle = linear.LogisticRegression(C=2 / (0.02 * KNOWN), tol=1e-8, max_iter=5000).fit(x, DATA.arrays["label"][rows])
  # two classes: the difference of two mirrored columns is the one vector of the oracle, at half the penalty
  np.testing.assert_allclose(fitted["kernel"][:, 1] - fitted["kernel"][:, 0], oracle.coef_[0], atol=0.02)


def test_going_on_from_the_trained_layer_is_another_start(refitted):
  kernels = [last_layer.refit(refitted, DATA, steps=5, fresh=fresh).params["head"]["kernel"] for fresh in (True, False)]
  fresh, on = kernels
  assert np.abs(fresh).max() < 0.06
  np.testing.assert_allclose(on, refitted.params["head"]["kernel"], atol=0.06)


@pytest.mark.parametrize("kw, words", [
  (dict(known_set="nose"), "set.*known"), (dict(known_set="train"), "train.known_set"),
  (dict(known_steps=-1), "train.known_steps"), (dict(known_decay=-1.0), "train.known_decay"),
  (dict(steps=-1), "train.steps"),
])  # fmt: skip
def test_what_does_not_fit_is_named(kw, words):
  with pytest.raises(Invalid, match=words):
    last_layer.train(MODEL, **kw).init(jax.random.key(0), DATA)


def test_a_model_whose_logits_are_not_its_head_of_its_features_is_refused(refitted):
  bent = MODEL._replace(apply=lambda *args, **kw: (out := MODEL.apply(*args, **kw))._replace(logits=out.logits**2))
  with pytest.raises(Invalid, match="train.model"):
    last_layer.refit(refitted._replace(model=bent), DATA)
