import functools

import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.forget import pseudo_label
from ue_jax.train import loop, supervised

fit = functools.partial(loop.fit, mode="one")


def test_targets_are_the_likeliest_of_the_classes_that_stay(pictures):
  subject, data = pictures.subject, pictures.data
  logits, _ = supervised.predict(subject.model, subject.params, subject.state, data.arrays["image"])
  logits = logits[data.sets["forget"]]
  np.testing.assert_array_equal(pseudo_label.targets(pictures, 3), logits[:, :2].argmax(-1))


def test_where_every_class_is_asked_for_it_is_the_likeliest_other(pictures):
  data = pictures.data
  some = pictures._replace(data=Data(data.arrays, {**data.sets, "forget": data.sets["train"][:12]}, data.info))
  found = np.asarray(pseudo_label.targets(some, 3))
  assert (found != data.arrays["label"][data.sets["train"][:12]]).all() and set(found) <= {0, 1, 2}


def test_the_class_is_forgotten_and_the_others_are_kept(pictures):
  after = fit(pseudo_label.method(steps=30, rate=1e-2, forget_batch=30), pictures)
  share = lambda subject, name: supervised.accuracies(
    subject.model, subject.params, subject.state, pictures.data, "label", (name,)
  )[f"{name}_accuracy"]
  assert share(pictures.subject, "forget") > 0.9  # doing nothing stays there
  assert share(after, "forget") < 0.1 and share(after, "retain") > 0.85
