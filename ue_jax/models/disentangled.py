"""A variational auto-encoder of pictures with a side decoder that sees the class: what the class adds ends up there.

Source: Yu, Wang, Xia, Yang, Lu, Tan, Kot, "Purify Unlearnable Examples via Rate-Constrained Variational Autoencoders"
(ICML 2024), the architecture of D-VAE in outline; sizes here are smaller.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.models import layers
from ue_jax.models.convolution import Convolution
from ue_jax.models.model import Model


class Decoder(nn.Module):
  """From a grid to a picture four times as high and wide, linear at the end."""

  width: int
  channels: int

  @nn.compact
  def __call__(self, z):
    h = nn.relu(Convolution(2 * self.width, name="in")(z))
    h = nn.relu(Convolution(self.width, name="middle")(layers.doubled(h)))
    return Convolution(self.channels, name="out")(layers.doubled(h))


class Disentangled(nn.Module):
  """Encoder to a grid of Gaussians, a decoder of the picture, and one of what is added by the class."""

  latent: int
  width: int

  @nn.compact
  def __call__(self, inputs, train, taps):
    del train, taps
    x, classes = inputs
    x = layers.pictures(x)
    height, width, channels = x.shape[1:]
    h = nn.relu(Convolution(self.width, stride=2, name="encode_0")(x))
    h = nn.relu(Convolution(2 * self.width, stride=2, name="encode_1")(h))
    mean, log_variance = (Convolution(self.latent, size=1, name=name)(h) for name in ("mean", "spread"))
    z = mean
    if self.has_rng("dropout"):  # the one stream of randomness that `layers.wrap` hands on
      z = mean + jnp.exp(log_variance / 2) * jax.random.normal(self.make_rng("dropout"), mean.shape)
    own = nn.Dense(h.shape[1] * h.shape[2] * self.width, name="classes")(classes).reshape(*h.shape[:3], self.width)
    picture = nn.sigmoid(Decoder(self.width, channels, name="picture")(z))
    added = Decoder(self.width, channels, name="added")(jnp.concatenate([z, own], axis=-1))
    out = jnp.concatenate([picture, added], axis=-1)[:, :height, :width]
    return out, jnp.concatenate([mean.reshape(len(x), -1), log_variance.reshape(len(x), -1)], axis=-1)


def auto_encoder(latent: int = 8, width: int = 32) -> Model:
  """A model of `(pictures [b, h, w, c], classes float32 [b, k])`, the classes as rows of an identity matrix.

  `Out.logits` float32 `[b, h, w, 2 c]`: the picture as decoded, in (0, 1), and what is added to it, of any size and
  sign. `Out.features` `[b, 2 d]`: means and then logarithms of the variances of the d = latent * h/4 * w/4 Gaussians.
  With a key one z is drawn from them, without one it is the mean.

  Args:
    latent: numbers at each place of the grid.
    width: channels of the first layer.

  Raises:
    Invalid: for sizes that are not positive whole numbers.
  """
  layers.check_positive(latent=latent, width=width)
  return layers.wrap(Disentangled(latent, width))
