import functools

import jax
import numpy as np
import pytest

from ue_jax.audit import foil, outputs
from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.train import loop

fit = functools.partial(loop.fit, mode="one")


@pytest.fixture(scope="module")
def asked(request_pictures):
  data = request_pictures.data
  rows = data.sets["train"]
  forget = rows[data.arrays["shape"][rows] == 1]
  return request_pictures._replace(data=Data(data.arrays, {**data.sets, "forget": forget}, data.info))


def test_blocked_classes_are_never_said_and_no_feature_moves(asked):
  before = outputs.outputs(asked.subject, asked.data, ("test",), "shape")["test"]
  after = outputs.outputs(fit(foil.method(label="shape"), asked), asked.data, ("test",), "shape")["test"]
  assert 1 in before.logits.argmax(-1) and 1 not in after.logits.argmax(-1)
  np.testing.assert_array_equal(before.inside["features"], after.inside["features"])
  np.testing.assert_array_equal(before.logits[:, [0, 2]], after.logits[:, [0, 2]])


def test_the_untrained_network_is_one_of_its_own_seed(asked):
  made = [fit(foil.method("fresh", label="shape"), asked, seed=seed) for seed in (0, 0, 1)]
  prints = [tree.fingerprint(one.params) for one in made]
  assert prints[0] == prints[1] != prints[2] and prints[0] != tree.fingerprint(asked.subject.params)
  assert tree.shapes(made[0].params) == tree.shapes(asked.subject.params)


def test_a_model_without_such_a_layer_is_refused(asked):
  with pytest.raises(Invalid, match="'head'"):
    fit(foil.method(label="shape"), asked._replace(subject=asked.subject._replace(params={"body": {}})))
  with pytest.raises(Invalid, match="method.kind"):
    foil.method("mirror")
  assert jax.tree.leaves(asked.subject.params)
