import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import autoencoder

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def conv():
  net = autoencoder.model("conv", code=4)
  params, state = net.init(jax.random.key(0), IMAGE)
  return net, params, state, jax.jit(lambda p, s: net.apply(p, IMAGE, state=s))(params, state)


def test_the_perceptron_equals_numpy(key):
  net = autoencoder.model(code=4, widths=(7, 6))
  params, state = net.init(key, IMAGE)
  params = jax.tree.map(lambda p: p + 0.1, params)  # so that the biases count
  out = jax.jit(lambda p: net.apply(p, IMAGE, state=state))(params)
  layer = lambda name, h: h @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
  h = IMAGE.reshape(3, -1) / 255
  for name in ("encode_0", "encode_1"):
    h = np.maximum(layer(name, h), 0)
  code = layer("code", h) / np.linalg.norm(layer("code", h), axis=1, keepdims=True)
  np.testing.assert_allclose(out.features, code, rtol=1e-4)
  for name in ("decode_0", "decode_1"):
    code = np.maximum(layer(name, code), 0)
  np.testing.assert_allclose(out.logits, 1 / (1 + np.exp(-layer("head", code))).reshape(3, 7, 9, 1), rtol=1e-4)


def test_the_widths_are_mirrored():
  params, _ = autoencoder.model(code=5, widths=(8, 6)).init(jax.random.key(0), np.zeros((1, 10), np.float32))
  assert {name: p["kernel"].shape for name, p in params.items()} == {
    "encode_0": (10, 8), "encode_1": (8, 6), "code": (6, 5), "decode_0": (5, 6), "decode_1": (6, 8), "head": (8, 10),
  }  # fmt: skip


def test_the_convolutional_net_gives_back_the_shape_and_codes_of_length_one(conv):
  _, _, state, out = conv
  assert out.logits.shape == IMAGE.shape and out.features.shape == (3, 4)
  np.testing.assert_allclose(np.linalg.norm(out.features, axis=1), 1, rtol=1e-5)
  assert 0 < float(out.logits.min()) and float(out.logits.max()) < 1 and float(out.logits.std()) > 0.01
  assert tree.fingerprint(out.state) == tree.fingerprint(state)


def test_the_published_net_has_its_sizes():
  net = autoencoder.model("conv")
  params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), np.zeros((1, 28, 28, 1), np.uint8)))
  shape = lambda name: params[name]["kernel"].shape
  assert shape("encode_4") == (784, 256) and shape("code") == (256, 10) and shape("decode_5") == (256, 784)
  assert [shape(f"encode_{i}")[2:] for i in range(4)] == [(1, 16), (16, 32), (32, 32), (32, 16)]
  assert [shape(f"decode_{i}")[2:] for i in range(3)] == [(16, 32), (32, 32), (32, 16)]
  assert shape("head")[2:] == (16, 1) and len(state) == 7


def test_the_code_of_an_input_decodes_to_its_reconstruction(conv):
  net, params, state, out = conv
  decode = jax.jit(lambda codes: autoencoder.decode(net, params, state, codes, IMAGE.shape[1:]))
  again = decode(out.features[::-1])
  np.testing.assert_allclose(again[::-1], out.logits, atol=1e-5)


def test_half_precision_is_inside_the_convolutions_only(conv):
  _, params, state, out = conv
  half = autoencoder.model("conv", code=4, dtype="bfloat16")
  new, near = jax.jit(lambda: [half.apply(params, IMAGE, state=state, train=train) for train in (True, False)])()
  assert {x.dtype.name for x in jax.tree.leaves((new.logits, new.features, new.state))} == {"float32"}
  assert 0 < float(jnp.abs(near.features - out.features).max()) < 0.1
  assert tree.fingerprint(new.state) != tree.fingerprint(state)


def test_dropout_is_for_training(key):
  net = autoencoder.model(widths=(50,), dropout=0.5)
  params, _ = net.init(key, IMAGE)
  how = [dict(key=key), {}, dict(train=True, key=key)]
  still, plain, moving = (out.features for out in jax.jit(lambda: [net.apply(params, IMAGE, **h) for h in how])())
  np.testing.assert_array_equal(still, plain)
  assert not np.allclose(still, moving)


@pytest.mark.parametrize("field, kwargs", [
  ("code", dict(code=0)), ("widths", dict(widths=(8, -1))), ("net", dict(net="x")), ("output", dict(output="tanh")),
  ("dtype", dict(dtype="float64")), ("dropout", dict(dropout=1.0)),
])  # fmt: skip
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    autoencoder.model(**kwargs)
