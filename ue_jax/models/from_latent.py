"""A generator of pictures from latent vectors: a linear layer to a small grid, doubled twice between convolutions.

Source: Micaelli and Storkey, "Zero-shot Knowledge Transfer via Adversarial Belief Matching", NeurIPS 2019, in the form
of the released code of gated knowledge transfer (`forget.gkt`). Departures: a sigmoid at the end, as pictures here are
in [0, 1] (there what was normalised for a network comes out); any size of pictures, cut from a grid that is a
multiple of 4; the last convolution is 3x3 for grey pictures, too (there 7x7).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.generator import BatchOnlyNorm
from ue_jax.models.model import Model, tap


class FromLatent(nn.Module):
  shape: tuple[int, int, int]
  width: int

  @nn.compact
  def __call__(self, z, train, taps):
    del train
    height, wide, channels = self.shape
    rows, columns = -(-height // 4), -(-wide // 4)
    norm = lambda name: BatchOnlyNorm(name=f"{name}_norm")
    h = nn.Dense(self.width * rows * columns, name="in")(jnp.asarray(z, jnp.float32))
    h = norm("in")(h.reshape(len(h), rows, columns, self.width))
    for i, width in enumerate((self.width, max(self.width // 2, 1))):
      h = nn.Conv(width, (3, 3), name=f"block_{i}")(layers.doubled(h))
      h = tap(taps, f"block_{i}", nn.leaky_relu(norm(f"block_{i}")(h), 0.2))
    h = norm("out")(nn.Conv(channels, (3, 3), name="out")(h[:, :height, :wide]))
    return jnp.zeros((len(h), 0), jnp.float32), tap(taps, "features", nn.sigmoid(h))


def generator(shape: tuple[int, int, int] = (32, 32, 3), width: int = 128) -> Model:
  """A generator, latent vectors `[b, z]` -> `Out.features`, pictures float32 `[b, h, w, c]` in (0, 1).

  Normalisation uses the statistics of the batch in every mode, so there is no state, and pictures depend on those they
  are made with. `Out.logits` is empty, `[b, 0]`.

  Args:
    shape: (h, w, c) of the pictures.
    width: channels of the first convolution (published: 128); the second has half as many.

  Sites for taps: `block_i` (after the leaky ReLU), `features`.

  Raises:
    Invalid: for sizes that are not positive whole numbers.
  """
  require(len(shape) == 3, "model.shape", shape, "give height, width and channels")
  layers.check_positive(shape=tuple(shape), width=width)
  sites = ("block_0", "block_1", "features")
  return layers.wrap(FromLatent(tuple(shape), width), convolutional=True, std=layers.lecun, sites=sites)
