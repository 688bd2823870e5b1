import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import mlp

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1)).astype(np.uint8)


def test_equals_numpy(key):
  net = mlp.model(classes=4, widths=(7, 6))
  params, state = net.init(key, IMAGE)
  params = jax.tree.map(lambda p: p + 0.1, params)  # so that the biases count
  out = net.apply(params, IMAGE, state=state)
  h = IMAGE.reshape(3, -1) / 255
  for name in ("block_0", "block_1"):
    h = np.maximum(h @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
  np.testing.assert_allclose(out.features, h, rtol=1e-4)
  np.testing.assert_allclose(out.logits, h @ params["head"]["kernel"] + params["head"]["bias"], rtol=1e-4)


def test_no_hidden_layer_is_a_linear_classifier(key):
  net = mlp.model(classes=3, widths=())
  params, _ = net.init(key, IMAGE)
  assert set(params) == {"head"}
  np.testing.assert_allclose(net.apply(params, IMAGE).features, IMAGE.reshape(3, -1) / 255, rtol=1e-6)


def test_vectors_pass_as_they_are(key):
  x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
  net = mlp.model(widths=())
  np.testing.assert_array_equal(net.apply(net.init(key, x)[0], x).features, x)


def test_parameter_count(key):
  params, _ = mlp.model().init(key, np.zeros((1, 28, 28, 1), np.uint8))
  assert tree.size(params) == 784 * 128 + 128 + 128 * 10 + 10


def test_the_head_starts_like_the_others_or_smaller(key):
  x = np.zeros((1, 40), np.float32)
  (usual, _), (other, _) = (mlp.model(300, (50,), init=init).init(key, x) for init in ("he", "he_throughout"))
  for part in ("kernel", "bias"):
    np.testing.assert_array_equal(usual["block_0"][part], other["block_0"][part])
  np.testing.assert_allclose(other["head"]["kernel"], usual["head"]["kernel"] * np.sqrt(2), rtol=1e-6)
  assert np.std(other["head"]["kernel"]) == pytest.approx(np.sqrt(2 / 50), rel=0.02) and not other["head"]["bias"].any()


def test_dropout_keeps_the_mean_and_needs_training(key):
  net = mlp.model(classes=2, widths=(400,), dropout=0.5)
  params, _ = net.init(key, IMAGE)
  params["head"] = jax.tree.map(np.ones_like, params["head"])
  still, moving = net.apply(params, IMAGE), net.apply(params, IMAGE, train=True, key=key)
  assert not np.allclose(still.logits, moving.logits)
  np.testing.assert_allclose(still.logits, moving.logits, rtol=0.3)


@pytest.mark.parametrize("field, kwargs", [
  ("classes", dict(classes=0)), ("widths", dict(widths=(8, 0))), ("normalise", dict(normalise="x")),
  ("init", dict(init="x")), ("dropout", dict(dropout=1.0)),
])
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    mlp.model(**kwargs)


def test_a_linear_code_stands_between_the_last_hidden_layer_and_the_head(key):
  net = mlp.model(classes=3, widths=(4,), code=2)
  params, _ = net.init(key, IMAGE)
  params["code"]["kernel"] = params["code"]["kernel"].at[:, 1].set(-1.0)  # negative: no ReLU is behind it
  out = net.apply(params, IMAGE)
  h = np.maximum(IMAGE.reshape(3, -1) / 255 @ np.asarray(params["block_0"]["kernel"]), 0) @ params["code"]["kernel"]
  np.testing.assert_allclose(out.features, h, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(out.logits, h @ params["head"]["kernel"], rtol=1e-4, atol=1e-6)
  assert np.min(out.features) < 0
