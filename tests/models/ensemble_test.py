import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import ensemble, mlp, resnet


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).integers(0, 256, (3, 4, 6, 6, 1)).astype(np.uint8)


def softmax(logits):
  z = np.asarray(logits, np.float64)
  return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_it_says_the_mean_of_what_its_members_say(images):
  model, one = ensemble.model(classes=5, members=3, widths=(8,)), mlp.model(classes=5, widths=(8,))
  params, state = model.init(jax.random.key(0), images[0])
  alone = jax.jit(one.apply)
  each = [alone(jax.tree.map(lambda x, i=i: x[i], params), images[0]) for i in range(3)]
  out = jax.jit(model.apply)(params, images[0], state=state)
  np.testing.assert_allclose(softmax(out.logits), np.mean([softmax(o.logits) for o in each], 0), rtol=1e-4)
  np.testing.assert_allclose(out.features, np.concatenate([o.features for o in each], -1), rtol=1e-5)
  assert len({tree.fingerprint(o.logits) for o in each}) == 3


def test_every_member_can_see_pictures_of_its_own(images):
  model, one = ensemble.model(classes=5, members=3, widths=(8,)), mlp.model(classes=5, widths=(8,))
  params, state = model.init(jax.random.key(0), images[0])
  logits, alone = jax.jit(model.apply)(params, images, state=state).logits, jax.jit(one.apply)
  for i in range(3):
    mine = alone(jax.tree.map(lambda x, i=i: x[i], params), images[i]).logits
    np.testing.assert_allclose(logits[i], mine, rtol=1e-4, atol=1e-5)


def test_members_keep_batch_statistics_of_their_own(images):
  model = ensemble.model(classes=2, member="models.resnet", members=3, depth=18, width=4, stem="cifar")
  params, state = jax.eval_shape(model.init, jax.random.key(0), images[0].repeat(3, -1))
  assert {x.shape[0] for x in jax.tree.leaves((params, state))} == {3} and model.convolutional
  assert jax.tree.structure(state["members"]) == jax.tree.structure(
    jax.eval_shape(resnet.model(classes=2, depth=18, width=4, stem="cifar").init, jax.random.key(0), images[0])[1])


def test_what_else_the_state_holds_passes_through(images):
  model = ensemble.model(classes=2, members=3, widths=(4,))
  params, state = model.init(jax.random.key(0), images[0])
  kept = {**state, "past": np.arange(4)}
  for train in (False, True):
    after = model.apply(params, images[0], state=kept, train=train).state
    assert set(after) == {"members", "past"} and after["past"] is kept["past"]


def test_equal_settings_give_one_model_and_bad_ones_are_refused():
  assert ensemble.model(classes=5, members=2) is ensemble.model(classes=5, members=2)
  with pytest.raises(Invalid, match="members"):
    ensemble.model(members=0)
  with pytest.raises(Invalid, match="model.member"):
    ensemble.model(member="models.ensemble")
