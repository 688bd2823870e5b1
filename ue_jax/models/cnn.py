"""Small convolutional network: stride-2 convolutions with ReLU and a linear head."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.convolution import Convolution
from ue_jax.models.model import Model, tap

HEADS = ("flatten", "mean")


class CNN(nn.Module):
  classes: int
  widths: tuple[int, ...]
  head: str
  normalise: str
  dropout: float

  @nn.compact
  def __call__(self, x, train, taps):
    x = layers.pictures(x, self.normalise)
    for i, width in enumerate(self.widths):
      x = tap(taps, f"block_{i}", nn.relu(Convolution(width, 3, 2, name=f"block_{i}")(x)))
    x = x.reshape(x.shape[0], -1) if self.head == "flatten" else jnp.mean(x, axis=(1, 2))
    x = tap(taps, "features", x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.classes, name="head")(x), x


def model(
  classes: int = 10,
  widths: Sequence[int] = (32, 64),
  head: str = "flatten",
  normalise: str = "half",
  dropout: float = 0.0,
) -> Model:
  """3x3 convolutions of stride 2, ReLU, a linear head; no state.

  Args:
    classes: size of the logits.
    widths: channels of the convolutions; each halves height and width.
    head: `flatten` sees where something is, and its parameters fit one picture size only; `mean` averages over
      space, fits any size, and is blind to position (it hides shortcuts that sit at a position).
    normalise: name of channel statistics in `layers.NORMALISE`.
    dropout: rate in [0, 1) before the head while training; then `apply` needs a key.

  Sites for taps: `block_i` (after the ReLU), `features`.

  Raises:
    Invalid: for sizes that are not positive whole numbers, an unknown `head` or `normalise`, a rate out of range.
  """
  layers.check_positive(classes=classes, widths=tuple(widths))
  layers.check_rate(dropout)
  require(head in HEADS, "model.head", head, f"choose one of {list(HEADS)}")
  module = CNN(classes, tuple(widths), head, layers.check_normalise(normalise), dropout)
  sites = [*(f"block_{i}" for i in range(len(widths))), "features"]
  return layers.wrap(module, sites=sites)
