"""Multi-layer perceptron with ReLU."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

INITS = {"he": layers.he, "he_throughout": layers.he_throughout}


class MLP(nn.Module):
  classes: int
  widths: tuple[int, ...]
  normalise: str
  dropout: float
  code: int

  @nn.compact
  def __call__(self, x, train, taps):
    x = layers.pictures(x, self.normalise)
    x = x.reshape(x.shape[0], -1)
    for i, width in enumerate(self.widths):
      x = tap(taps, f"block_{i}", nn.relu(nn.Dense(width, name=f"block_{i}")(x)))
    x = nn.Dense(self.code, name="code")(x) if self.code else x
    x = tap(taps, "features", x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.classes, name="head")(x), x


def model(
  classes: int = 10, widths: Sequence[int] = (128,), normalise: str = "none", dropout: float = 0.0, code: int = 0,
  init: str = "he",
) -> Model:
  """A perceptron over flattened inputs `[b, ...]`: pictures (uint8 or float) or vectors.

  Args:
    classes: size of the logits.
    widths: of the hidden layers; an empty tuple gives a linear softmax classifier.
    normalise: name of channel statistics in `layers.NORMALISE`; for pictures only.
    dropout: rate in [0, 1) before the head while training; then `apply` needs a key.
    code: width of a linear layer behind the hidden ones, whose output is then `Out.features`; 0 for none.
    init: deviation of the weights at the start: `he`, sqrt(2 / inputs) but sqrt(1 / inputs) in the head, or
      `he_throughout`, sqrt(2 / inputs) in the head, too. Biases start at 0.

  Sites for taps: `block_i` (after the ReLU), `features`.

  Raises:
    Invalid: for sizes that are not positive whole numbers, an unknown `normalise` or `init`, a rate out of range.
  """
  layers.check_positive(classes=classes, widths=tuple(widths), **({"code": code} if code else {}))
  layers.check_rate(dropout)
  require(init in INITS, "model.init", init, f"choose one of {sorted(INITS)}")
  sites = [*(f"block_{i}" for i in range(len(widths))), "features"]
  module = MLP(classes, tuple(widths), layers.check_normalise(normalise), dropout, code)
  return layers.wrap(module, std=INITS[init], sites=sites)
