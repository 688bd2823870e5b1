"""Densely connected networks: every layer of a stage reads what all layers before it gave.

Source: Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks (CVPR 2017), section 3, in the
form with bottlenecks and compression by one half (DenseNet-BC).
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

STEMS = ("cifar", "imagenet")


def _conv(width: int, size: int, name: str, stride: int = 1) -> nn.Conv:
  pad = (size // 2, size // 2)
  return nn.Conv(width, (size, size), (stride, stride), padding=(pad, pad), use_bias=False, name=name)


def halved(x):
  """The mean over 2x2 squares of `[b, h, w, c]`; an odd last row or column is left out, one alone is kept."""
  for axis in (1, 2):
    n = x.shape[axis] // 2
    if n:
      first, second = (jax.lax.slice_in_dim(x, start, 2 * n, 2, axis) for start in (0, 1))
      x = (first + second) / 2
  return x


class Layer(nn.Module):
  """Normalise, 1x1 convolution to four times the growth, normalise, 3x3 convolution; appended to the input."""

  growth: int

  @nn.compact
  def __call__(self, x, train):
    h = nn.relu(layers.batch_norm(train, "norm1")(x))
    h = _conv(4 * self.growth, 1, "conv1")(h)
    h = nn.relu(layers.batch_norm(train, "norm2")(h))
    return jnp.concatenate([x, _conv(self.growth, 3, "conv2")(h)], axis=-1)


class DenseNet(nn.Module):
  classes: int
  stages: tuple[int, ...]
  growth: int
  stem: str
  normalise: str

  @nn.compact
  def __call__(self, x, train, taps):
    x = self.begin(layers.pictures(x, self.normalise), train)
    for i, count in enumerate(self.stages):
      if i > 0:
        x = nn.relu(layers.batch_norm(train, f"transition_norm_{i}")(x))
        x = _conv(x.shape[-1] // 2, 1, f"transition_{i}")(x)
        x = halved(x)
      for j in range(count):
        x = Layer(self.growth, name=f"layer_{i}_{j}")(x, train)
      x = tap(taps, f"block_{i}", x)
    x = nn.relu(layers.batch_norm(train, "norm")(x))
    x = tap(taps, "features", jnp.mean(x, axis=(1, 2)))
    return nn.Dense(self.classes, name="head")(x), x

  def begin(self, x, train):
    if self.stem == "cifar":
      return _conv(2 * self.growth, 3, "conv")(x)
    x = nn.relu(layers.batch_norm(train, "stem_norm")(_conv(2 * self.growth, 7, "conv", 2)(x)))
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def model(
  classes: int = 10, stages: Sequence[int] = (4, 4, 4), growth: int = 12, stem: str = "cifar", normalise: str = "none"
) -> Model:
  """A DenseNet-BC on pictures `[b, h, w, c]`, uint8 or float32 in [0, 1].

  DenseNet-121 has `stages=(6, 12, 24, 16)` and `growth=32`; with `stem="imagenet"` it is the one of the paper.
  Between two stages the channels and the sides are halved. `Out.features` is the average over space.

  Args:
    classes: size of the logits.
    stages: layers in each stage.
    growth: channels that a layer adds; the stem has twice as many.
    stem: `cifar` is one 3x3 convolution, `imagenet` a 7x7 of stride 2 and a max pooling of stride 2.
    normalise: name of channel statistics in `layers.NORMALISE`.

  Sites for taps: `block_i` (a stage), `features`.

  Raises:
    Invalid: for an unknown stem or `normalise`, or sizes that are not positive whole numbers.
  """
  require(stem in STEMS, "model.stem", stem, f"choose one of {list(STEMS)}")
  layers.check_positive(classes=classes, stages=tuple(stages), growth=growth)
  require(len(stages) > 0, "model.stages", stages, "give at least one stage")
  module = DenseNet(classes, tuple(stages), growth, stem, layers.check_normalise(normalise))
  sites = [*(f"block_{i}" for i in range(len(stages))), "features"]
  return layers.wrap(module, convolutional=True, stateful=True, sites=sites)
