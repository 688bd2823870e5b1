import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import resnet, weights

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
NET = resnet.model(depth=20, width=4)


@functools.cache
def start():
  return NET.init(jax.random.key(0), IMAGE)


run = jax.jit(lambda params, state, image: NET.apply(params, image, state=state))
train = jax.jit(lambda params, state, image: NET.apply(params, image, state=state, train=True))


@pytest.mark.parametrize("kwargs, count", [
  (dict(depth=18), 11_173_962),  # CIFAR stem, 10 classes
  (dict(depth=18, stem="imagenet", classes=1000), 11_689_512),
  (dict(depth=34, stem="imagenet", classes=1000), 21_797_672),
  (dict(depth=50, stem="imagenet", classes=1000), 25_557_032),
  (dict(depth=20), 269_722),
])
def test_parameter_counts_are_the_known_ones(key, kwargs, count):
  net = resnet.model(**kwargs)
  params, state = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8))
  assert tree.size(params) == count
  assert set(state) <= set(params) and net.convolutional


def test_training_moves_the_running_statistics_by_a_tenth():
  params, state = start()
  out = train(params, state, IMAGE)
  h = jax.lax.conv_general_dilated(
    jnp.asarray(IMAGE / 255, jnp.float32), params["conv"]["kernel"], (1, 1), ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  h = np.asarray(h, np.float64)
  np.testing.assert_allclose(out.state["norm"]["mean"], 0.1 * h.mean((0, 1, 2)), rtol=1e-3, atol=1e-6)
  np.testing.assert_allclose(out.state["norm"]["var"], 0.9 + 0.1 * h.var((0, 1, 2)), rtol=1e-4)
  assert tree.shapes(out.state) == tree.shapes(state)


def test_a_sample_sees_its_batch_only_while_training():
  params, state = start()
  other = np.concatenate([IMAGE[:1], 255 - IMAGE[1:]])
  np.testing.assert_allclose(run(params, state, IMAGE).logits[0], run(params, state, other).logits[0], atol=1e-5)
  assert not np.allclose(train(params, state, IMAGE).logits[0], train(params, state, other).logits[0], atol=1e-3)


def test_evaluation_uses_the_running_statistics():
  params, state = start()
  moved = jax.tree.map(lambda s: s + 0.5, state)
  assert not np.allclose(run(params, state, IMAGE).logits, run(params, moved, IMAGE).logits, atol=1e-3)
  np.testing.assert_allclose(train(params, state, IMAGE).logits, train(params, moved, IMAGE).logits, atol=1e-5)


def test_the_parameter_free_shortcut_subsamples_and_pads_channels_on_both_sides():
  x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 6, 6, 4)), jnp.float32)
  block = resnet.Block(8, 2, False, True)
  shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, False))
  variables = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  out = np.asarray(jax.jit(lambda variables, x: block.apply(variables, x, False))(variables, x))
  np.testing.assert_array_equal(out[..., 2:6], x[:, ::2, ::2])
  assert not out[..., :2].any() and not out[..., 6:].any()


def test_strided_convolutions_are_centred_on_even_pixels_as_in_the_known_weights():
  x = jnp.arange(36, dtype=jnp.float32).reshape(1, 6, 6, 1)
  kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
  out = resnet._conv(1, 3, 2, "conv").apply({"params": {"kernel": kernel}}, x)
  np.testing.assert_array_equal(out, x[:, ::2, ::2])


def test_stems_differ_in_resolution(key):
  shapes = {}
  for stem in ("cifar", "imagenet"):
    net, seen = resnet.model(depth=50, stem=stem, width=4), []
    taps = {"stem": lambda x, seen=seen: seen.append(x.shape) or x}

    def call(net=net, taps=taps):
      params, state = net.init(key, IMAGE)
      return net.apply(params, IMAGE, state=state, taps=taps)

    assert jax.eval_shape(call).features.shape == (4, 4 * 8 * 4)
    shapes[stem] = seen[0]
  assert shapes == {"cifar": (4, 8, 8, 4), "imagenet": (4, 2, 2, 4)}


def torch_arrays(params, state, stages):
  """The network under PyTorch's names and layouts."""
  blocks = [f"layer{s + 1}.{i}" for s, n in enumerate(stages) for i in range(n)]
  kinds = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var", "kernel": "weight"}
  arrays = {}
  for name, leaf in tree.named_leaves(params) + tree.named_leaves(state):
    *path, kind = name.split("/")
    path = ".".join(path).replace("head", "linear").replace("norm", "bn")
    path = re.sub(r"block_(\d+)", lambda m: blocks[int(m[1])], path)
    path = path.replace("shortcut_conv", "downsample.0").replace("shortcut_bn", "downsample.1")
    path = {"conv": "conv1", "bn": "bn1"}.get(path, path)
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim)
    arrays[f"{path}.{kinds[kind]}"] = np.asarray(leaf) if order is None else np.transpose(leaf, order)
  return arrays


@pytest.mark.parametrize("depth, stages, names", [
  (20, (3, 3, 3), ("conv1.weight", "layer3.2.conv2.weight", "linear.weight")),
  (18, (2, 2, 2, 2), ("layer2.0.downsample.1.running_var", "layer4.1.bn2.bias")),
])
def test_weights_under_torch_names_are_read_back(tmp_path, key, depth, stages, names):
  net = resnet.model(classes=5, depth=depth, width=4)
  params, state = net.init(key, IMAGE)
  arrays = torch_arrays(params, state, stages)
  assert set(names) <= set(arrays) and arrays["conv1.weight"].shape == (4, 3, 3, 3)
  weights.write(tmp_path / "net.npz", {**arrays, "bn1.num_batches_tracked": np.int64(3)})
  read = resnet.load(tmp_path / "net.npz")
  assert tree.fingerprint(read) == tree.fingerprint((params, state))


@pytest.mark.parametrize("gone, found", [
  ("layer2.1.bn1.bias", "layer2.1.bn1.bias"), ("layer1.", "model.depth"), ("layer2.1.conv1.weight", "conv1"),
  ("conv1.weight", "conv1.weight"),
])
def test_weights_that_lack_a_part_are_refused_with_the_file_named(tmp_path, gone, found):
  arrays = torch_arrays(*start(), (3, 3, 3))
  weights.write(tmp_path / "part.npz", {name: a for name, a in arrays.items() if not name.startswith(gone)})
  with pytest.raises(Invalid, match=rf"part\.npz.*{found}"):
    resnet.load(tmp_path / "part.npz")


@pytest.mark.parametrize("field, kwargs", [
  ("depth", dict(depth=19)), ("stem", dict(stem="tiny")), ("width", dict(width=0)), ("normalise", dict(normalise="x")),
])
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    resnet.model(**kwargs)
