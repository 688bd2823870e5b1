"""A variational auto-encoder of rows, with small hidden layers.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model

OUTPUTS = ("sigmoid", "linear")


class VAE(nn.Module):
  """Encoder to a mean and a log-variance, a sample of that Gaussian, and the decoder back."""

  latent: int
  widths: tuple[int, ...]
  output: str

  @nn.compact
  def __call__(self, x, train, taps):
    h = x.astype(jnp.float32)
    for i, width in enumerate(self.widths):
      h = nn.relu(nn.Dense(width, name=f"encode_{i}")(h))
    mean, spread = nn.Dense(self.latent, name="mean")(h), nn.Dense(self.latent, name="spread")(h)
    z = mean
    if self.has_rng("dropout"):  # the one stream of randomness that `layers.wrap` hands on
      z = mean + jnp.exp(spread / 2) * jax.random.normal(self.make_rng("dropout"), mean.shape)
    for i, width in enumerate(reversed(self.widths)):
      z = nn.relu(nn.Dense(width, name=f"decode_{i}")(z))
    out = nn.Dense(x.shape[-1], name="head")(z)
    return nn.sigmoid(out) if self.output == "sigmoid" else out, jnp.concatenate([mean, spread], axis=-1)


def model(latent: int = 8, widths: Sequence[int] = (128, 32), output: str = "sigmoid") -> Model:
  """A variational auto-encoder of rows `[b, d]`: `Out.logits` are the rows as reconstructed, float32 `[b, d]`.

  `Out.features` `[b, 2 latent]` holds the means and then s, the logarithms of the variances: sigma = exp(s / 2). With
  a key, one z a row is drawn from that Gaussian; without one, z is the mean.

  Args:
    latent: dimensions of z.
    widths: hidden layers of the encoder, mirrored in the decoder.
    output: `sigmoid` for rows in (0, 1), or `linear`.

  Raises:
    Invalid: for sizes that are not positive whole numbers or an unknown output.
  """
  layers.check_positive(latent=latent, widths=tuple(widths))
  require(output in OUTPUTS, "model.output", output, f"choose one of {list(OUTPUTS)}")
  return layers.wrap(VAE(latent, tuple(widths), output))
