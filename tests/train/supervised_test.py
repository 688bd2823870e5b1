"""Training of picture classifiers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.core.tree import fingerprint
from ue_jax.models import mlp
from ue_jax.train import supervised
from ue_jax.train.loop import fit

RNG = np.random.default_rng(0)


def blobs(n=120):
  """Three classes of bright quadrants, and a second labelling that says which of two."""
  label = RNG.integers(0, 3, n).astype(np.int32)
  image = RNG.integers(0, 120, (n, 4, 4, 1)).astype(np.uint8)
  for i, c in enumerate(label):
    image[i, 2 * (c // 2) : 2 * (c // 2) + 2, 2 * (c % 2) : 2 * (c % 2) + 2] += 100
  arrays = {"image": image, "label": label, "two": (label == 2).astype(np.int32), "index": np.arange(n, dtype=np.int32)}
  sets = {"train": np.arange(80, dtype=np.int32), "test": np.arange(80, n, dtype=np.int32)}
  return Data(arrays, sets, {"labels": {"label": ["a", "b", "c"], "two": ["no", "yes"]}})


DATA, MODEL = blobs(), mlp.model(classes=3, widths=(16,))


def train(**kw):
  return supervised.train(MODEL, **{"steps": 60, "batch_size": 20, "rate": 0.01, "every": 30, **kw})


@pytest.fixture(scope="module")
def subject():
  return fit(train(), DATA, mode="one")


def test_training_learns_the_classes_and_records_the_accuracy(subject):
  curve = subject.history["test_accuracy"]
  assert curve[-1] >= 0.9 and (~np.isnan(curve)).sum() == 2
  untrained = fit(train(steps=0), DATA, mode="one")
  logits, _ = supervised.predict(MODEL, untrained.params, {}, DATA.arrays["image"])
  assert np.mean(logits.argmax(-1) == DATA.arrays["label"]) < 0.7


def test_another_labelling_of_the_same_pictures_trains_too():
  out = fit(supervised.train(mlp.model(classes=2, widths=(16,)), label="two", steps=60, rate=0.01), DATA, mode="one")
  assert out.history["test_accuracy"][-1] >= 0.9


def test_predict_gives_the_same_rows_whatever_the_chunks(subject):
  images = DATA.arrays["image"][:23]
  one, features = supervised.predict(MODEL, subject.params, subject.state, images)
  many, _ = supervised.predict(MODEL, subject.params, subject.state, images, batch_size=5)
  out = MODEL.apply(subject.params, jnp.asarray(images), state=subject.state)
  assert one.shape == (23, 3) and features.shape == (23, 16)
  np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(one, out.logits, rtol=1e-5, atol=1e-6)


def test_augmentations_get_floats_and_one_hot_targets_and_are_used():
  seen = []

  def shift(key, images, targets):
    seen.append((images.dtype, targets.shape, targets.dtype))
    return images, jnp.roll(targets, 1, axis=-1)

  out = fit(train(augment=(shift,)), DATA, mode="one")
  assert seen[0] == (jnp.float32, (20, 3), jnp.float32)
  logits, _ = supervised.predict(MODEL, out.params, out.state, DATA.arrays["image"])
  assert np.mean(logits.argmax(-1) == (DATA.arrays["label"] + 1) % 3) >= 0.9


def test_named_augmentations_and_padding_leave_a_descent():
  out = fit(train(augment=("flip:0.0", "mixup:0.2"), batch_size=18), DATA, mode="jit", devices=jax.devices()[:4])
  assert out.history["loss"][-10:].mean() < 0.8 * out.history["loss"][:10].mean()


def test_only_the_named_leaves_are_trained_from_a_given_start(subject):
  out = fit(train(start=subject, trainable="^head", steps=3), DATA, mode="one")
  same = {k: fingerprint(out.params[k]) == fingerprint(subject.params[k]) for k in subject.params}
  assert same == {k: k != "head" for k in subject.params}


@pytest.mark.parametrize("kw, words", [
  (dict(label="colour"), "train.label.*label.*two"), (dict(label="two"), "model.classes.*2"),
  (dict(train_set="training"), "set.*train"), (dict(batch_size=0), "train.batch_size"), (dict(steps=-1), "train.steps"),
  (dict(augment=("blur",)), "augment.*flip"), (dict(optimizer="sdg"), "train.optimizer.*sgd"),
])  # fmt: skip
def test_what_does_not_fit_is_named(kw, words):
  with pytest.raises(Invalid, match=words):
    train(**kw).init(jax.random.key(0), DATA)


def test_the_mask_silences_samples():
  terms = jax.jit(supervised.objective(MODEL))
  params, state = MODEL.init(jax.random.key(0), DATA.arrays["image"][:1])
  batch = {"image": DATA.arrays["image"][:6], "label": DATA.arrays["label"][:6], "mask": np.float32([1, 1, 1, 0, 0, 0])}
  half = {name: x[:3] for name, x in batch.items()}
  run = lambda x: terms(params, state, {}, jax.tree.map(jnp.asarray, x), jax.random.key(0))[0]["cross_entropy"]
  a, b = run(batch), run(half)
  np.testing.assert_allclose(a.total, b.total, rtol=1e-6)
  assert float(a.weight) == float(b.weight) == 3


def test_a_point_of_a_training_is_where_its_schedule_was_at_that_step():
  run = train(schedule="cosine", every=0)
  state = run.init(jax.random.key(0), DATA)
  for t in range(7):
    state, _ = jax.jit(run.step)(state, run.batch(0, DATA, t))
  point = fit(train(schedule="cosine", every=0, until=7), DATA, seed=0, mode="one")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), point.params, state.params)
  short = fit(train(schedule="cosine", every=0, steps=7), DATA, seed=0, mode="one")
  assert not np.allclose(short.params["head"]["kernel"], state.params["head"]["kernel"], atol=1e-3)
  with pytest.raises(Invalid, match="train.until.*at most 60"):
    train(until=61)
