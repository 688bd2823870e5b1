import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import efficientnet, weights

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
NET = efficientnet.model(classes=7)
REAL = os.environ.get("UE_JAX_EFFICIENTNET", "")


@functools.cache
def start():
  return NET.init(jax.random.key(0), IMAGE)


@jax.jit
def forward(params, state, image):
  return NET.apply(params, image, state=state)


def run(image):
  return forward(*start(), image)


def torch_arrays(params, state):
  """The network under the names and layouts of the checkpoint."""
  kinds = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var", "kernel": "weight"}
  top = {"stem": "_conv_stem", "stem_norm": "_bn0", "top": "_conv_head", "top_norm": "_bn1", "head": "_fc"}
  inner = {"expand": "_expand_conv", "expand_norm": "_bn0", "depthwise": "_depthwise_conv", "depthwise_norm": "_bn1",
           "project": "_project_conv", "project_norm": "_bn2"}
  arrays = {}
  for name, leaf in tree.named_leaves(params) + tree.named_leaves(state):
    *path, kind = name.split("/")
    path = top[path[0]] if len(path) == 1 else f"_blocks.{path[0][6:]}.{inner[path[1]]}"
    order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]
    arrays[f"{path}.{kinds[kind]}"] = np.transpose(np.asarray(leaf), order)
  return arrays


def test_has_the_known_number_of_parameters_and_features(key):
  net = efficientnet.model()
  params, _ = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, 224, 224, 3), np.uint8))
  assert tree.size(params) == 4_652_008
  out = run(IMAGE)
  assert out.features.shape == (1, 1280) and out.logits.shape == (1, 7)
  assert out.features.min() >= 0 and out.features.max() <= 6 and out.features.std() > 0


def test_weights_under_the_names_of_the_checkpoint_are_read_back(tmp_path):
  arrays = torch_arrays(*start())
  assert arrays["_blocks.3._depthwise_conv.weight"].shape == (144, 1, 5, 5)
  assert arrays["_blocks.0._project_conv.weight"].shape == (16, 32, 1, 1)
  weights.write(tmp_path / "net.npz", {**arrays, "_bn0.num_batches_tracked": np.int64(1)})
  assert tree.fingerprint(efficientnet.load(tmp_path / "net.npz")) == tree.fingerprint(start())


@pytest.mark.parametrize("change, found", [
  (lambda a: a.pop("_blocks.7._bn1.running_var"), "_blocks.7._bn1.running_var"),
  (lambda a: a.update({"_conv_head.weight": np.zeros((1280, 300, 1, 1), np.float32)}), "top/kernel"),
])
def test_weights_of_another_network_are_refused_with_the_file_named(tmp_path, change, found):
  arrays = torch_arrays(*start())
  change(arrays)
  weights.write(tmp_path / "net.npz", arrays)
  with pytest.raises(Invalid, match=rf"net\.npz.*{found}"):
    efficientnet.load(tmp_path / "net.npz")


def test_bytes_equal_floats_and_grey_is_repeated_and_the_scale_is_that_of_the_weights():
  prepare = lambda x, size=0: efficientnet.EfficientNet(7, size)._prepare(x)
  np.testing.assert_allclose(prepare(IMAGE), (IMAGE.astype(np.float32) - 127) / 128, atol=1e-5)
  np.testing.assert_allclose(prepare(IMAGE), prepare(np.float32(IMAGE) / np.float32(255)), atol=1e-5)
  grey = IMAGE[..., :1]
  np.testing.assert_array_equal(prepare(grey), prepare(np.repeat(grey, 3, -1)))
  assert prepare(grey, 48).shape == (1, 48, 48, 3)
  ramp = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None] / 4, (1, 4, 4, 3))
  wide = np.asarray(prepare(ramp, 8))[0, :, 0, 0]
  np.testing.assert_allclose(wide[1:7] * 128 + 127, 255 / 4 * (np.arange(1, 7) / 2 - 0.25), rtol=1e-4)  # half pixels


def test_a_block_adds_its_input_only_where_shapes_allow():
  x = jnp.ones((1, 4, 4, 24))
  shapes = lambda block: jax.eval_shape(lambda: block.init(jax.random.key(0), x, False))
  zero = lambda block: jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes(block))
  out = lambda block: np.asarray(jax.jit(lambda variables: block.apply(variables, x, False))(zero(block)))
  same = efficientnet.Block(efficientnet.Stage(1, 5, 1, 6, 24))
  np.testing.assert_array_equal(out(same), x)
  narrower = efficientnet.Block(efficientnet.Stage(1, 5, 2, 6, 24))
  assert not out(narrower).any()


def test_a_different_picture_has_different_features():
  assert not np.allclose(run(IMAGE).features, run(255 - IMAGE).features, atol=1e-4)


@pytest.mark.skipif(not REAL, reason="set UE_JAX_EFFICIENTNET to an npz of the pretrained weights")
def test_the_pretrained_network_knows_a_palace_and_a_daisy():
  from sklearn.datasets import load_sample_image

  images = np.stack([load_sample_image(name)[:, 100:527] for name in ("china.jpg", "flower.jpg")])
  params, state = efficientnet.load(REAL)
  net = efficientnet.model(size=224)
  logits = jax.jit(lambda x: net.apply(params, x, state=state).logits)(images)
  assert np.argmax(logits, -1).tolist() == [698, 985]


@pytest.mark.parametrize("kwargs", [dict(size=-1), dict(size=2.5), dict(classes=0)])
def test_wrong_sizes_are_named(kwargs):
  with pytest.raises(Invalid, match=f"model.{next(iter(kwargs))}"):
    efficientnet.model(**kwargs)


@pytest.mark.parametrize("size, stride, side", [(3, 1, 7), (3, 2, 8), (5, 2, 7), (5, 1, 4)])
def test_depthwise_convolution_is_the_grouped_convolution(size, stride, side):
  rng = np.random.default_rng(0)
  x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((2, side, side, 6), (size, size, 1, 6)))

  @jax.jit
  def both(x, kernel):
    wanted = jax.lax.conv_general_dilated(
      x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6
    )
    return efficientnet.Depthwise(size, stride).apply({"params": {"kernel": kernel}}, x), wanted

  np.testing.assert_allclose(*both(x, kernel), atol=1e-5)
