"""InfoNCE against numpy, the same numbers on any number of devices, and pairs that are learned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Subject
from ue_jax.data import captions, synthetic
from ue_jax.models import clip, mlp
from ue_jax.parallel import spread
from ue_jax.train import contrastive, loop


def embeddings(b=6, d=5):
  rng = np.random.default_rng(0)
  return (rng.normal(size=(b, d)).astype(np.float32) for _ in range(2))


def oracle(image, text, scale, tag, mask, distinct):
  """Row by row, in float64."""
  out = []
  for one, many in ((image, text), (text, image)):
    rows = []
    for i in range(len(one)):
      others = [j for j in range(len(one)) if j == i or (mask[j] and not (distinct and tag[j] == tag[i]))]
      logits = np.array([scale * float(one[i].astype(float) @ many[j].astype(float)) for j in others])
      rows.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[others.index(i)])
    out.append(rows)
  return np.mean(out, axis=0)


@pytest.mark.parametrize("negatives", contrastive.NEGATIVES)
def test_info_nce_equals_a_sum_over_rows(negatives):
  image, text = embeddings()
  tag, mask = np.array([0, 1, 0, 2, 3, 1]), np.array([1, 1, 1, 1, 0, 0], np.float32)
  got = contrastive.info_nce(image, text, jnp.float32(2.5), jnp.asarray(tag), jnp.asarray(mask), negatives)
  want = oracle(image, text, 2.5, tag, mask, negatives == "distinct")
  np.testing.assert_allclose(got[:4], want[:4], rtol=1e-5)
  assert np.isfinite(got).all()


def test_pairs_with_the_same_text_are_no_negatives_unless_asked_for():
  image, text = embeddings()
  text[:] = text[0]
  tag, mask = jnp.zeros(6, jnp.int32), jnp.ones(6)
  loss = functools.partial(contrastive.info_nce, image, text, jnp.float32(1), tag, mask)
  np.testing.assert_allclose(loss("distinct"), 0, atol=1e-6)
  assert float(loss("all").min()) > 0.5


@functools.cache
def trajectory(mode, n):
  """Three steps of SGD on ragged batches, a classifier on drawn shapes."""
  data = synthetic.data(n=64, test=16, size=16)
  model = mlp.model(classes=4, widths=(8,))
  procedure = contrastive.train(model, steps=3, batch_size=8, rate=0.05, optimizer="sgd", negatives="all")
  run = spread.spread(procedure.step, mode=mode, devices=jax.devices()[:n])
  state, seen = procedure.init(jax.random.key(0), data), []
  for t in range(3):
    batch = procedure.batch(0, data, t)
    state, metrics = run(state, {**batch, "mask": (np.arange(8) < 5).astype(np.float32)})  # some see padding only
    seen.append(metrics)
  return jax.device_get((state.params, seen))


@pytest.mark.parametrize("mode, n", [("jit", 4), ("pmap", 4), ("shard_map", 2)])
def test_negatives_are_those_of_the_whole_batch_on_any_number_of_devices(mode, n):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6, rtol=2e-5), trajectory(mode, n), trajectory("one", 1))


def small():
  return clip.model(image="cnn", text="mean", vocabulary=15, widths=(8, 16), embedding=16)


def test_a_dual_encoder_finds_the_captions_of_pictures_it_has_not_seen():
  data = captions.data(n=960, test=160, size=16, noise=0.02)
  procedure = contrastive.train(small(), steps=120, batch_size=32, rate=5e-3, schedule="cosine")
  found = loop.fit(procedure, data, seed=0, mode="one")
  assert found.history["test_accuracy"][-1] > 0.35  # chance is 1 in 96
  fresh = Subject(found.model, *small().init(jax.random.key(0), data.arrays["image"][:1]))
  texts = contrastive.texts_of(data)
  assert contrastive.accuracies(fresh, data, texts, ("test",))["test_accuracy"] < 0.1


def test_texts_are_distinct_rows_and_every_picture_has_its_own():
  data = captions.data(n=192, test=96, size=16)
  texts = contrastive.texts_of(data)
  assert texts.inputs.shape == (96, 3) and texts.inputs.dtype == np.int32
  assert np.array_equal(texts.inputs[texts.which], data.arrays["ids"])


def test_a_classifier_reads_its_classes_off_its_head():
  data = synthetic.data(n=64, test=16, size=16)
  model = mlp.model(classes=4, widths=(8,))
  params, state = model.init(jax.random.key(0), data.arrays["image"][:1])
  subject, images = Subject(model, params, state), data.arrays["image"][:5]
  near = contrastive.similarities(subject, images, contrastive.texts_of(data).inputs, chunk=2)
  np.testing.assert_allclose(near, model.apply(params, images).logits - params["head"]["bias"], atol=1e-5)


def wrong_data():
  data = captions.data(n=96, test=8, size=16)
  bare = {name: x for name, x in data.arrays.items() if name not in ("ids", "label")}
  many = {**data.arrays, "ids": data.arrays["ids"] + 1}
  return {
    "neither": (Data(bare, data.sets, data.info), small(), "captions"),
    "ids": (Data(many, data.sets, data.info), small(), "vocabulary"),
    "classifier": (data, mlp.model(classes=4), "models.clip"),
    "labels only": (synthetic.data(n=64, test=16, size=16), small(), "captions"),
    "long": (data, clip.model(image="cnn", vocabulary=15, widths=(4,), length=2, text_width=8, text_heads=2), "length"),
  }  # fmt: skip


@pytest.mark.parametrize("case", ["neither", "ids", "classifier", "labels only", "long"])
def test_data_that_the_model_cannot_read_is_refused(case):
  data, model, word = wrong_data()[case]
  with pytest.raises(Invalid, match=word):
    contrastive.train(model).init(jax.random.key(0), data)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"batch_size": 1}, {"negatives": "some"}])
def test_settings_out_of_range_are_refused(wrong):
  with pytest.raises(Invalid):
    contrastive.train(small(), **wrong)
