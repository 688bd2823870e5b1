import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.forget import graddiff, random_labels, relaxed, retrain
from ue_jax.train import supervised


def weights(request, low=0.0):
  return np.random.default_rng(3).uniform(low, 1, len(request.data.sets["train"])).astype(np.float32)


def images(request):
  return request.data.arrays["image"][request.data.sets["train"]]


def test_every_sample_is_in_both_parts_with_weights_that_add_up(pictures):
  asked, w = relaxed.everything(pictures), weights(pictures)
  batch = graddiff.method(forget_batch=90, retain_batch=90).batch(0, asked, 0)
  thin = relaxed.lean(batch, asked.data)
  assert not any("image" in part for part in thin.values())
  full = relaxed.fill(thin, images(pictures), w)
  for name in ("forget", "retain"):
    np.testing.assert_array_equal(full[name]["image"], batch[name]["image"])
  total = np.zeros(90)
  for name in ("forget", "retain"):
    np.add.at(total, full[name]["row"], full[name]["mask"])
  np.testing.assert_allclose(total, 1, rtol=1e-6)
  np.testing.assert_allclose(full["forget"]["mask"], w[full["forget"]["row"]])


def test_rows_of_a_training_are_found_by_their_index_and_kept_by_one_less_w(pictures):
  arrays = {**pictures.data.arrays, "index": np.random.default_rng(0).permutation(120).astype(np.int32) * 7}
  asked, w = relaxed.everything(pictures._replace(data=pictures.data._replace(arrays=arrays))), weights(pictures)
  train = supervised.train(pictures.subject.model, batch_size=30)
  batch = retrain.method(train).batch(0, asked, 0)
  full = relaxed.fill(relaxed.lean(batch, asked.data), images(pictures), w)
  np.testing.assert_array_equal(full["image"], batch["image"])
  np.testing.assert_allclose(full["mask"], 1 - w[full["row"]])


def test_weights_of_0_and_1_are_the_request_itself(pictures):
  """The loss of all samples with the weights of a set is that of the set."""
  asked, method = relaxed.everything(pictures), graddiff.method(forget_batch=90, retain_batch=90, steps=1)
  w = np.isin(pictures.data.sets["train"], pictures.data.sets["forget"]).astype(np.float32)
  batch = relaxed.fill(relaxed.lean(method.batch(0, asked, 0), asked.data), images(pictures), w)
  step = jax.jit(method.step)
  _, soft = step(method.init(jax.random.key(0), asked), batch)
  _, hard = step(method.init(jax.random.key(0), pictures), method.batch(0, pictures, 0))
  for name in ("forget", "retain"):
    a, b = (metrics[name].total / metrics[name].weight for metrics in (soft, hard))
    assert float(a) == pytest.approx(float(b), rel=1e-4)


def test_batches_that_do_not_say_whom_they_hold_are_refused(pictures, tokens):
  asked = relaxed.everything(pictures)
  with pytest.raises(Invalid, match="select.lower"):
    relaxed.lean(random_labels.method().batch(0, asked, 0), asked.data)
  with pytest.raises(Invalid, match="select.within = 'no'"):
    relaxed.everything(pictures, "no")
  with pytest.raises(Invalid, match="pictures"):
    relaxed.everything(tokens)
