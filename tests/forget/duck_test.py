import functools

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.forget import duck
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")


def unit(x):
  x = np.float64(x)
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_nearest_wrong_centroid_is_taken_even_where_the_true_one_is_nearest():
  centroids = np.float32([[1, 0], [0, 5], [-1, 0]])
  features = np.float32([[3, 1], [3, 1], [1, 3], [-2, -1]])
  own = np.array([[True, False, False], [False, True, False], [False, True, False], [False, False, False]])
  np.testing.assert_array_equal(duck.nearest(features, centroids, own), [1, 0, 0, 2])


def test_centroids_are_of_what_is_kept_and_no_sample_goes_to_its_own(pictures):
  """Of samples of all three classes, with class 2 kept, too."""
  subject, data = pictures.subject, pictures.data
  rows = data.sets["train"]
  some = pictures._replace(data=Data(data.arrays, {**data.sets, "forget": rows[:12], "retain": rows[12:]}, data.info))
  features = np.float64(supervised.predict(subject.model, subject.params, subject.state, data.arrays["image"])[1])
  label = data.arrays["label"]
  want = np.stack([features[rows[12:]][label[rows[12:]] == c].mean(0) for c in range(3)])
  centroids, to = duck.aims(some)
  np.testing.assert_allclose(centroids, want, rtol=1e-5)
  alike = unit(features[rows[:12]]) @ unit(want).T
  assert (alike.argmax(-1) == label[:12]).all()  # its own would be the nearest
  alike[np.arange(12), label[:12]] = -np.inf
  np.testing.assert_array_equal(to, alike.argmax(-1))


def test_the_loss_is_the_formula_with_ragged_weights_and_its_numbers_may_be_traced(pictures):
  sizes = dict(forget_batch=10, retain_batch=12, optimizer="sgd")
  first = duck.method(**sizes)
  state, batch, rng = first.init(jax.random.key(0), pictures), first.batch(0, pictures, 0), np.random.default_rng(0)
  for part in batch.values():
    part["mask"] = rng.random(len(part["mask"])).astype(np.float32) * (rng.random(len(part["mask"])) < 0.7)
  loss = jax.jit(lambda *numbers: duck.method(*numbers, **sizes).step(state, batch)[1]["loss"])
  apply, params, data = pictures.subject.model.apply, pictures.subject.params, pictures.data
  look = lambda image: [np.float64(x) for x in (lambda out: (out.features, out.logits))(apply(params, image))]
  kept, label = look(data.arrays["image"][data.sets["retain"]])[0], data.arrays["label"][data.sets["retain"]]
  centroids = np.stack([kept[label == c].mean(0) for c in range(2)])  # class 2 is to be forgotten
  f, r = batch["forget"], batch["retain"]
  apart = (1 - unit(look(f["image"])[0]) @ unit(centroids).T).min(-1)
  for pull, alpha, temperature in ((1.5, 1.5, 2.0), (0.7, 1.3, 3.0)):
    z = look(r["image"])[1] / temperature
    nll = np.log(np.exp(z).sum(-1)) - z[np.arange(len(z)), r["label"]]
    want = pull * np.average(apart, weights=f["mask"]) + alpha * np.average(nll, weights=r["mask"])
    assert float(loss(pull, alpha, temperature)) == pytest.approx(want, rel=1e-4)


def test_the_class_is_forgotten_and_the_others_are_kept(pictures):
  after = fit(duck.method(steps=40, rate=1e-2, forget_batch=30, retain_batch=60), pictures)
  share = lambda subject, name: supervised.accuracies(
    subject.model, subject.params, subject.state, pictures.data, "label", (name,)
  )[f"{name}_accuracy"]
  assert share(pictures.subject, "forget") > 0.9  # doing nothing stays there
  assert share(after, "forget") < 0.1 and share(after, "retain") > 0.9


def test_what_makes_no_sense_is_refused(pictures):
  with pytest.raises(Invalid, match="method.temperature = 0"):
    duck.method(temperature=0)
  sets = {**pictures.data.sets, "retain": pictures.data.sets["forget"]}
  alone = pictures._replace(data=pictures.data._replace(sets=sets))
  with pytest.raises(Invalid, match="another class"):
    duck.method().init(jax.random.key(0), alone)
