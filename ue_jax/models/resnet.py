"""Residual networks: the ImageNet family (18, 34, 50) and the CIFAR family (6n + 2).

Source: He et al., Deep Residual Learning for Image Recognition (CVPR 2016), sections 4.1 and 4.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.models import layers, weights
from ue_jax.models.model import Model, tap

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def _conv(width: int, size: int, stride: int, name: str) -> nn.Conv:
  pad = (size // 2, size // 2)
  return nn.Conv(width, (size, size), (stride, stride), padding=(pad, pad), use_bias=False, name=name)


class Block(nn.Module):
  """Two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the width if `bottleneck`; plus the shortcut."""

  width: int
  stride: int
  bottleneck: bool
  padded: bool  # a shortcut without parameters: subsample, pad channels with zeros

  @nn.compact
  def __call__(self, x, train):
    width, out = self.width, self.width * (4 if self.bottleneck else 1)
    norm = lambda i: layers.batch_norm(train, f"norm{i}")
    if self.bottleneck:
      plan = [(width, 1, 1), (width, 3, self.stride), (out, 1, 1)]
    else:
      plan = [(width, 3, self.stride), (out, 3, 1)]
    h = x
    for i, (channels, size, stride) in enumerate(plan, 1):
      h = norm(i)(_conv(channels, size, stride, f"conv{i}")(h))
      h = nn.relu(h) if i < len(plan) else h
    return nn.relu(h + self._shortcut(x, out, train))

  def _shortcut(self, x, out, train):
    if self.stride == 1 and x.shape[-1] == out:
      return x
    if not self.padded:
      x = _conv(out, 1, self.stride, "shortcut_conv")(x)
      return layers.batch_norm(train, "shortcut_norm")(x)
    more = out - x.shape[-1]
    x = x[:, :: self.stride, :: self.stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))


class ResNet(nn.Module):
  classes: int
  stages: tuple[int, ...]
  width: int
  bottleneck: bool
  padded: bool
  stem: str
  normalise: str
  code: int

  @nn.compact
  def __call__(self, x, train, taps):
    x = layers.pictures(x, self.normalise)
    small = self.stem == "cifar"
    x = _conv(self.width, *((3, 1) if small else (7, 2)), "conv")(x)
    x = nn.relu(layers.batch_norm(train, "norm")(x))
    if not small:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    x = tap(taps, "stem", x)
    plan = [(stage, i) for stage, blocks in enumerate(self.stages) for i in range(blocks)]
    for n, (stage, i) in enumerate(plan):
      stride = 2 if stage > 0 and i == 0 else 1
      block = Block(self.width * 2**stage, stride, self.bottleneck, self.padded, name=f"block_{n}")
      x = tap(taps, f"block_{n}", block(x, train))
    x = jnp.mean(x, axis=(1, 2))
    x = tap(taps, "features", nn.Dense(self.code, name="code")(x) if self.code else x)
    return nn.Dense(self.classes, name="head")(x), x


def model(
  classes: int = 10, depth: int = 18, stem: str = "cifar", width: int | None = None, normalise: str = "none",
  code: int = 0,
) -> Model:
  """A residual network on pictures `[b, h, w, c]`, uint8 or float32 in [0, 1].

  `Out.features` is the average over space, or the output of `code`. With `train` batch normalisation uses the batch and
  moves the running statistics in the state (momentum 0.9); without, it uses the running ones.

  Args:
    classes: size of the logits.
    depth: 18, 34 or 50 (ImageNet family, projection shortcuts; 50 has bottlenecks with the stride in the 3x3
      convolution), or 20, 32, 44, 56, 110 (CIFAR family, three stages, shortcuts without parameters).
    stem: `cifar` is one 3x3 convolution, `imagenet` a 7x7 of stride 2 and a max pooling of stride 2.
    width: channels of the first stage; None for the family's own, 64 or 16.
    normalise: name of channel statistics in `layers.NORMALISE`.
    code: width of a linear layer behind the average, whose output is then the features; 0 for none.

  Sites for taps: `stem`, `block_i` (after the last ReLU), `features`.

  Raises:
    Invalid: for an unknown depth, stem or `normalise`, or sizes that are not positive whole numbers.
  """
  depths = sorted((*STAGES, *CIFAR_DEPTHS))
  require(depth in depths, "model.depth", depth, f"choose one of {depths}")
  require(stem in ("cifar", "imagenet"), "model.stem", stem, "choose 'cifar' or 'imagenet'")
  padded = depth in CIFAR_DEPTHS
  width = (16 if padded else 64) if width is None else width
  layers.check_positive(classes=classes, width=width, **({"code": code} if code else {}))
  stages = ((depth - 2) // 6,) * 3 if padded else STAGES[depth]
  module = ResNet(classes, stages, width, depth == 50, padded, stem, layers.check_normalise(normalise), code)
  sites = ["stem", *(f"block_{i}" for i in range(sum(stages))), "features"]
  return layers.wrap(module, convolutional=True, stateful=True, sites=sites)


def load(path: str | os.PathLike) -> tuple[dict, dict]:
  """Parameters and state from a file with PyTorch's names (`layer1.0.conv1.weight`, ..., `linear` or `fc`).

  Reads both families; the depth is told from the names. Apply them with `model` of that depth, stem, width and
  number of classes, and with the `normalise` they were trained with.

  Raises:
    Invalid: naming the file, if it cannot be read or does not hold a whole network of a known depth.
  """
  arrays = weights.read(path)
  try:
    params, state = _from_torch(arrays)
    like = model(**_describe(arrays))
  except (KeyError, Invalid) as error:
    found = f"no array {error}" if isinstance(error, KeyError) else str(error)
    raise Invalid(str(path), found, "give the weights of a known ResNet under PyTorch's names") from error
  shapes = jax.eval_shape(like.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
  weights.check((params, state), shapes, path)
  return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), (params, state))


def _blocks(arrays: Mapping[str, np.ndarray]) -> list[tuple[int, int]]:
  found = (re.match(r"layer(\d+)\.(\d+)\.", name) for name in arrays)
  return sorted({(int(m[1]), int(m[2])) for m in found if m})


def _head(arrays: Mapping[str, np.ndarray]) -> str:
  return "fc" if "fc.weight" in arrays else "linear"


def _describe(arrays: Mapping[str, np.ndarray]) -> dict:
  convolutions = 3 if "layer1.0.conv3.weight" in arrays else 2
  stem = arrays["conv1.weight"]
  return dict(
    classes=len(arrays[f"{_head(arrays)}.bias"]),
    depth=2 + convolutions * len(_blocks(arrays)),
    stem="imagenet" if stem.shape[-1] == 7 else "cifar",
    width=stem.shape[0],
  )


def _from_torch(arrays: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
  params, state = {"conv": {"kernel": weights.conv(arrays["conv1.weight"])}}, {}
  params["norm"], state["norm"] = weights.norm(arrays, "bn1")
  for n, (stage, i) in enumerate(_blocks(arrays)):
    prefix = f"layer{stage}.{i}."
    pairs = [(f"conv{j}", f"bn{j}", f"conv{j}", f"norm{j}") for j in (1, 2, 3)]
    pairs.append(("downsample.0", "downsample.1", "shortcut_conv", "shortcut_norm"))
    block, statistics = {}, {}
    for torch_conv, torch_norm, conv, norm in pairs:
      if f"{prefix}{torch_conv}.weight" in arrays:
        block[conv] = {"kernel": weights.conv(arrays[f"{prefix}{torch_conv}.weight"])}
        block[norm], statistics[norm] = weights.norm(arrays, prefix + torch_norm)
    params[f"block_{n}"], state[f"block_{n}"] = block, statistics
  head = _head(arrays)
  params["head"] = {"kernel": weights.linear(arrays[f"{head}.weight"]), "bias": arrays[f"{head}.bias"]}
  return params, state
