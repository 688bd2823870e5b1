"""A generator whose normalisation is modulated by a text: (text, latent) -> a perturbation (T2UE, 2025).

Source: "T2UE: Generating Unlearnable Examples from Text Descriptions", section on the generator, which takes the
architecture of SSA-GAN (Liao et al., CVPR 2022): a linear layer to a small grid, residual blocks with upsampling
between them, a convolution and tanh. The paper modulates by scale and shift of the text alone (`sscbn`); the authors'
code also predicts a mask that says where (`ssa-mask`).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

MODULATIONS = ("sscbn", "ssa-mask")
WIDENING = (8, 8, 8, 8, 4, 2, 1)  # channels of the published seven blocks, in widths; fewer blocks are the last ones
HIDDEN = 256  # of the two-layer networks that read the text
MASK_HIDDEN = 100  # channels before a mask


class Affine(nn.Module):
  """Batch normalisation whose scale and shift come from the text: (1 + m gamma(t)) BN(h) + m beta(t)."""

  @nn.compact
  def __call__(self, h, text, mask, train):
    channels = h.shape[-1]
    normed = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, use_bias=False, use_scale=False,
                          name="norm")(h)  # fmt: skip
    read = lambda name: nn.Dense(channels, name=f"{name}_out")(nn.relu(nn.Dense(HIDDEN, name=f"{name}_in")(text)))
    gamma, beta = read("gamma")[:, None, None], read("beta")[:, None, None]
    return (1 + mask * gamma) * normed + mask * beta


class Mask(nn.Module):
  """Logits of where the text acts, `[b, h, w, 1]`."""

  @nn.compact
  def __call__(self, h, train):
    h = nn.Conv(MASK_HIDDEN, (3, 3), name="in")(h)
    return nn.Conv(1, (1, 1), name="out")(nn.relu(layers.batch_norm(train, "norm", epsilon=1e-5)(h)))


class Block(nn.Module):
  """A residual block of which `reach`, 0 at the beginning, scales what is added."""

  channels: int

  @nn.compact
  def __call__(self, h, text, mask, train):
    conv = lambda name: nn.Conv(self.channels, (3, 3), name=name)
    added = conv("conv_0")(nn.relu(Affine(name="affine_0")(h, text, mask, train)))
    added = conv("conv_1")(nn.relu(Affine(name="affine_1")(added, text, mask, train)))
    short = h if h.shape[-1] == self.channels else nn.Conv(self.channels, (1, 1), name="short")(h)
    return short + self.param("reach", nn.initializers.zeros, ()) * added


class Generator(nn.Module):
  width: int
  blocks: int
  base: int
  channels: int
  modulation: str
  remat: bool

  @nn.compact
  def __call__(self, inputs, train, taps):
    text, latent = (jnp.asarray(x, jnp.float32) for x in inputs)
    widening = WIDENING[-self.blocks :]
    block = nn.remat(Block, static_argnums=(4,)) if self.remat else Block
    h = nn.Dense(widening[0] * self.width * self.base**2, name="in")(latent)
    h = h.reshape(len(h), self.base, self.base, widening[0] * self.width)
    masked, logits = self.modulation == "ssa-mask", None
    if masked:
      logits = Mask(name="mask_in")(h, train)
    for i, wide in enumerate(widening):
      if i:
        h = layers.doubled(h)
        logits = corners(logits, h.shape[1], h.shape[2]) if masked else None
      mask = jax.nn.sigmoid(logits) if masked else jnp.float32(1)
      h = tap(taps, f"block_{i}", block(wide * self.width, name=f"block_{i}")(h, text, mask, train))
      if masked and i + 1 < len(widening):
        logits = Mask(name=f"mask_{i}")(h, train)
    h = nn.leaky_relu(layers.batch_norm(train, "out_norm", epsilon=1e-5)(h), 0.2)
    out = tap(taps, "features", jnp.tanh(nn.Conv(self.channels, (3, 3), name="out")(h)))
    return jnp.zeros((len(out), 0), jnp.float32), out


def generator(
  width: int = 64, blocks: int = 7, base: int = 4, channels: int = 3, modulation: str = "sscbn", remat: bool = False
) -> Model:
  """A generator of perturbations: `apply` takes a pair, texts float32 `[b, d]` and latents float32 `[b, z]`.

  `Out.features` is float32 `[b, side, side, channels]` in (-1, 1), `side = base * 2 ** (blocks - 1)`; `Out.logits` is
  empty, `[b, 0]`. The state holds running statistics: `train=False` makes the output of a text independent of others.
  At the beginning no text has any influence: blocks add 0 and modulate by 1 and 0 (as published).

  Args:
    width: channels of the last block (published: an eighth of the text's width).
    blocks: 1 to 7; seven with base 4 are the published ones, 256 pixels.
    base: side of the grid of the first block.
    channels: of the output, 1 or 3.
    modulation: `sscbn`, scale and shift by the text (the paper); `ssa-mask`, also times a mask (the authors' code).
    remat: compute blocks again on the way back, which saves memory at large sides.

  Sites for taps: `block_i` (after the sum), `features`.

  Raises:
    Invalid: for sizes that are not positive whole numbers, or unknown values; from `apply` for inputs that are no pair
      of matrices.
  """
  layers.check_positive(width=width, blocks=blocks, base=base)
  require(blocks <= len(WIDENING), "model.blocks", blocks, f"choose 1 to {len(WIDENING)}")
  require(channels in (1, 3), "model.channels", channels, "choose 1 or 3")
  require(modulation in MODULATIONS, "model.modulation", modulation, f"choose one of {list(MODULATIONS)}")
  sites = [*(f"block_{i}" for i in range(blocks)), "features"]
  made = layers.wrap(
    Generator(width, blocks, base, channels, modulation, remat), convolutional=True, std=_std, stateful=True,
    sites=sites,
  )  # fmt: skip

  def init(key, inputs):
    _check(inputs)
    return made.init(key, inputs)

  def apply(params, inputs, **options):
    _check(inputs)
    return made.apply(params, inputs, **options)

  return Model(init, apply, convolutional=True)


def corners(x: jax.Array, height: int, width: int) -> jax.Array:
  """Bilinear resizing of `[b, h, w, c]` in which the corners stay corners (`align_corners` elsewhere)."""
  for axis, size in ((1, height), (2, width)):
    old = x.shape[axis]
    at = jnp.linspace(0, old - 1, size, dtype=jnp.float32)
    low = jnp.clip(jnp.floor(at).astype(jnp.int32), 0, max(old - 2, 0))
    high = jnp.minimum(low + 1, old - 1)
    share = (at - low.astype(jnp.float32)).reshape([-1 if i == axis else 1 for i in range(4)])
    x = jnp.take(x, low, axis) * (1 - share) + jnp.take(x, high, axis) * share
  return x


def _std(name: str, shape: tuple[int, ...]) -> float:
  start_at_zero = name.endswith(("gamma_out/kernel", "beta_out/kernel", "reach"))
  return 0.0 if start_at_zero else layers.lecun(name, shape)


def _check(inputs) -> None:
  pair = isinstance(inputs, tuple) and len(inputs) == 2 and all(jnp.ndim(x) == 2 for x in inputs)
  same = pair and jnp.shape(inputs[0])[0] == jnp.shape(inputs[1])[0]
  shown = jax.tree.map(jnp.shape, inputs) if isinstance(inputs, tuple) else type(inputs).__name__
  require(same, "inputs", shown, "give (texts [b, d], latents [b, z]), with as many latents as texts")
