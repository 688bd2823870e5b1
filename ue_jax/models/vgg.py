"""VGG networks in their usual form for small pictures: batch normalisation and one linear layer.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks (ICLR 2015), table 1; batch normalisation as in
Ioffe and Szegedy (ICML 2015). Convolutions have no bias, because the normalisation behind them takes it away.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

# convolutions in each of the five stages, which are 1, 2, 4, 8, 8 times the width
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDER = (1, 2, 4, 8, 8)


class VGG(nn.Module):
  classes: int
  stages: tuple[int, ...]
  width: int
  normalise: str

  @nn.compact
  def __call__(self, x, train, taps):
    x = layers.pictures(x, self.normalise)
    for i, (convolutions, wider) in enumerate(zip(self.stages, WIDER)):
      for j in range(convolutions):
        x = nn.Conv(self.width * wider, (3, 3), use_bias=False, name=f"conv_{i}_{j}")(x)
        x = nn.relu(layers.batch_norm(train, f"norm_{i}_{j}")(x))
      x = tap(taps, f"block_{i}", nn.max_pool(x, (2, 2), (2, 2), "SAME"))
    x = tap(taps, "features", jnp.mean(x, axis=(1, 2)))
    return nn.Dense(self.classes, name="head")(x), x


def model(classes: int = 10, depth: int = 11, width: int = 64, normalise: str = "none") -> Model:
  """A VGG network on pictures `[b, h, w, c]`, uint8 or float32 in [0, 1].

  Five stages of 3x3 convolutions, batch normalisation and ReLU, each followed by 2x2 max pooling (odd sides are
  rounded up). `Out.features` is the average over what is left of space: one position for pictures up to 32x32.

  Args:
    classes: size of the logits.
    depth: 11, 13, 16 or 19.
    width: channels of the first stage; the others have 2, 4, 8 and 8 times as many. 64 in the paper.
    normalise: name of channel statistics in `layers.NORMALISE`.

  Sites for taps: `block_i` (a stage, after its pooling), `features`.

  Raises:
    Invalid: for an unknown depth or `normalise`, or sizes that are not positive whole numbers.
  """
  require(depth in STAGES, "model.depth", depth, f"choose one of {sorted(STAGES)}")
  layers.check_positive(classes=classes, width=width)
  module = VGG(classes, STAGES[depth], width, layers.check_normalise(normalise))
  sites = [*(f"block_{i}" for i in range(len(WIDER))), "features"]
  return layers.wrap(module, convolutional=True, stateful=True, sites=sites)
