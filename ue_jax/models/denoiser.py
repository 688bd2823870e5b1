"""A network that tells the noise in a picture from the picture, for diffusion models.

Source: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models" (NeurIPS 2020), appendix B, in outline: residual
blocks that are told the time, one coarser level, and a way around it. Without attention, and smaller.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.models import layers
from ue_jax.models.convolution import Convolution
from ue_jax.models.model import Model

FREQUENCIES = 16


class Residual(nn.Module):
  """Two convolutions between which the time scales and shifts; what is added is nothing at the beginning."""

  width: int

  @nn.compact
  def __call__(self, h, time):
    scale, shift = jnp.split(nn.Dense(2 * self.width, name="time")(time)[:, None, None], 2, axis=-1)
    added = Convolution(self.width, name="first")(nn.silu(nn.LayerNorm(name="norm_0")(h)))
    added = Convolution(self.width, name="last")(nn.silu(nn.LayerNorm(name="norm_1")(added) * (1 + scale) + shift))
    return h + added


class Denoiser(nn.Module):
  """From a noisy picture and the time to the noise."""

  width: int
  blocks: int

  @nn.compact
  def __call__(self, inputs, train, taps):
    del train, taps
    x, time = inputs
    time = nn.silu(nn.Dense(2 * self.width, name="read")(waves(time)))
    h = Convolution(self.width, name="in")(x)
    for i in range(self.blocks):
      h = Residual(self.width, name=f"down_{i}")(h, time)
    coarse = Convolution(2 * self.width, stride=2, name="coarser")(h)
    for i in range(self.blocks):
      coarse = Residual(2 * self.width, name=f"coarse_{i}")(coarse, time)
    back = layers.doubled(coarse)[:, : x.shape[1], : x.shape[2]]
    h = Convolution(self.width, name="finer")(jnp.concatenate([h, back], axis=-1))
    for i in range(self.blocks):
      h = Residual(self.width, name=f"up_{i}")(h, time)
    out = Convolution(x.shape[-1], name="out")(nn.silu(nn.LayerNorm(name="norm")(h)))
    return out, jnp.mean(coarse, axis=(1, 2))


def denoiser(width: int = 32, blocks: int = 2) -> Model:
  """A model of `(noisy pictures float32 [b, h, w, c], times float32 [b] in [0, 1])`.

  `Out.logits` is the noise as the network sees it, float32 `[b, h, w, c]`, zeros at the beginning; `Out.features`
  `[b, 2 width]` the mean of the coarser level.

  Args:
    width: channels, twice as many at the coarser level.
    blocks: residual blocks before, at and after the coarser level, each.

  Raises:
    Invalid: for sizes that are not positive whole numbers.
  """
  layers.check_positive(width=width, blocks=blocks)
  return layers.wrap(Denoiser(width, blocks), convolutional=True, std=_std)


def waves(time: jax.Array) -> jax.Array:
  """Sines and cosines of times `[b]` in [0, 1], of 16 frequencies from 1 to 1000: `[b, 32]`."""
  at = time[:, None] * 1000.0 ** (jnp.arange(FREQUENCIES) / (FREQUENCIES - 1))
  return jnp.concatenate([jnp.sin(at), jnp.cos(at)], axis=-1)


def _std(name: str, shape: tuple[int, ...]) -> float:
  return 0.0 if name.endswith("last/kernel") or name.startswith("out/") else layers.he(name, shape)
