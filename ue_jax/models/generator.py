"""The perturbation generator of Unlearnable Clusters (Zhang et al., CVPR 2023): a residual picture-to-picture net."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap


class BatchOnlyNorm(nn.Module):
  """Normalises each channel over batch and space, always; with a batch of one this is instance normalisation."""

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
    mean = jnp.mean(x, axis=(0, 1, 2))
    variance = jnp.mean(jnp.square(x - mean), axis=(0, 1, 2))
    return (x - mean) * (scale * jax.lax.rsqrt(variance + 1e-5)) + bias


def _reflect(x: jax.Array, n: int) -> jax.Array:
  return jnp.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), mode="reflect")


class Generator(nn.Module):
  width: int
  blocks: int
  channels: int

  def _norm(self, x, name):
    return BatchOnlyNorm(name=f"{name}_norm")(x)

  @nn.compact
  def __call__(self, z, train, taps):
    del train
    require(min(z.shape[1:3]) >= 8, "latent", z.shape, "make it at least 8 pixels high and wide")
    x = jnp.asarray(z, jnp.float32)
    conv = lambda width, size, name, **kw: nn.Conv(width, (size, size), use_bias=False, name=name, **kw)
    x = nn.relu(self._norm(conv(self.width, 7, "in", padding="VALID")(_reflect(x, 3)), "in"))
    for i in range(2):
      down = conv(self.width * 2 ** (i + 1), 3, f"down_{i}", strides=(2, 2), padding=((1, 1), (1, 1)))
      x = nn.relu(self._norm(down(x), f"down_{i}"))
    for i in range(self.blocks):
      h = conv(4 * self.width, 3, f"block_{i}_a", padding="VALID")(_reflect(x, 1))
      h = nn.relu(self._norm(h, f"block_{i}_a"))
      h = conv(4 * self.width, 3, f"block_{i}_b", padding="VALID")(_reflect(h, 1))
      x = tap(taps, f"block_{i}", x + self._norm(h, f"block_{i}_b"))
    for i in range(2):
      up = nn.ConvTranspose(self.width * 2 ** (1 - i), (3, 3), strides=(2, 2), use_bias=False, name=f"up_{i}")
      x = nn.relu(self._norm(up(x), f"up_{i}"))
    x = x[:, : z.shape[1], : z.shape[2]]  # sizes not divisible by 4 come out a little larger
    out = nn.Conv(self.channels, (7, 7), padding="VALID", name="out")  # no norm behind it, so it has a bias
    x = tap(taps, "features", jnp.tanh(out(_reflect(x, 3))))
    return jnp.zeros((x.shape[0], 0), jnp.float32), x


def model(width: int = 64, blocks: int = 6, channels: int = 3) -> Model:
  """A generator `[b, h, w, c]` latent -> `Out.features` float32 `[b, h, w, channels]` in (-1, 1), h and w at least 8.

  Reflection-padded 7x7 convolution to `width`, two stride-2 convolutions (2x, 4x width), residual blocks, two
  transposed convolutions back, 7x7 convolution and tanh. Normalisation uses the statistics of the batch in every
  mode, so there is no state. `Out.logits` is empty, `[b, 0]`.

  Args:
    width: channels of the first layer (64 in the paper's code).
    blocks: residual blocks (6 there).
    channels: of the output, 1 or 3.

  Sites for taps: `block_i` (after the sum), `features`.

  Raises:
    Invalid: for sizes that are not positive whole numbers, or other channels; from `apply` for a latent too small.
  """
  layers.check_positive(width=width, blocks=blocks)
  require(channels in (1, 3), "model.channels", channels, "choose 1 or 3")
  sites = [*(f"block_{i}" for i in range(blocks)), "features"]
  return layers.wrap(Generator(width, blocks, channels), convolutional=True, std=layers.lecun, sites=sites)
