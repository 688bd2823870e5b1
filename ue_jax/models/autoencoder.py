"""Auto-encoders with codes of length one: perceptron, and the convolutional network of interpretable clustering.

Architectures: Peng, Li, Tsang, Zhu, Lv, Zhou, "XAI Beyond Classification: Interpretable Neural Clustering", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, tap

NETS = ("mlp", "conv")
OUTPUTS = ("sigmoid", "linear")
TYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class AutoEncoder(nn.Module):
  """An encoder to unit codes and a decoder back to the shape of the input."""

  net: str
  code: int
  widths: tuple[int, ...]
  dropout: float
  output: str
  dtype: str

  @nn.compact
  def __call__(self, x, train, taps):
    x = layers.pictures(x)
    encode, decode = {"mlp": (self.encode_rows, self.decode_rows), "conv": (self.encode, self.decode)}[self.net]
    code = nn.Dense(self.code, name="code")(encode(x, train).astype(jnp.float32))
    code = tap(taps, "code", code * jax.lax.rsqrt(jnp.maximum(jnp.sum(code * code, axis=1, keepdims=True), 1e-24)))
    out = decode(code, x.shape[1:], train).astype(jnp.float32)
    return nn.sigmoid(out) if self.output == "sigmoid" else out, code

  def encode_rows(self, x, train):
    x = x.reshape(x.shape[0], -1)
    for i, width in enumerate(self.widths):
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = nn.relu(nn.Dense(width, name=f"encode_{i}")(x))
    return x

  def decode_rows(self, code, shape, train):
    for i, width in enumerate(reversed(self.widths)):
      code = nn.relu(nn.Dense(width, name=f"decode_{i}")(code))
    return nn.Dense(math.prod(shape), name="head")(code).reshape(-1, *shape)

  def encode(self, x, train):
    x = x.astype(TYPES[self.dtype])
    for i, (width, stride) in enumerate(((16, 1), (32, 2), (32, 1), (16, 2))):
      x = nn.Conv(width, (3, 3), (stride, stride), dtype=x.dtype, name=f"encode_{i}")(x)
      x = nn.relu(layers.batch_norm(train, f"encode_norm_{i}")(x.astype(jnp.float32))).astype(x.dtype)
    return nn.relu(nn.Dense(256, name="encode_4")(x.reshape(x.shape[0], -1).astype(jnp.float32)))

  def decode(self, code, shape, train):
    height, width, channels = -(-shape[0] // 4), -(-shape[1] // 4), shape[2]
    x = nn.relu(nn.Dense(256, name="decode_4")(code))
    x = nn.relu(nn.Dense(height * width * 16, name="decode_5")(x)).reshape(-1, height, width, 16)
    x = x.astype(TYPES[self.dtype])
    for i, (features, stride) in enumerate(((32, 2), (32, 1), (16, 2))):
      x = nn.ConvTranspose(features, (3, 3), (stride, stride), dtype=x.dtype, name=f"decode_{i}")(x)
      x = nn.relu(layers.batch_norm(train, f"decode_norm_{i}")(x.astype(jnp.float32))).astype(x.dtype)
    x = nn.ConvTranspose(channels, (3, 3), dtype=x.dtype, name="head")(x)
    return x[:, : shape[0], : shape[1]]


def model(
  net: str = "mlp", code: int = 10, widths: Sequence[int] = (256, 256), dropout: float = 0.0, output: str = "sigmoid",
  dtype: str = "float32",
) -> Model:
  """An auto-encoder: `Out.features` is the code `[b, code]` of length one, `Out.logits` the input as reconstructed.

  Args:
    net: `mlp` over flattened inputs of any shape, or `conv` over pictures: four 3x3 convolutions with batch
      normalisation (16, 32, 32, 16 channels; the second and fourth of stride 2), 256 units, and the mirror image.
    code: dimensions of the code.
    widths: hidden layers of `mlp`, mirrored in the decoder.
    dropout: rate in [0, 1) before every layer of the encoder of `mlp` while training; then `apply` needs a key.
    output: `sigmoid` for inputs in [0, 1], or `linear`.
    dtype: of the convolutions, `float32` or `bfloat16`; parameters and statistics stay float32.

  Sites for taps: `code`; put other codes there to decode them, which is how `decode` works.

  Raises:
    Invalid: for sizes that are not positive whole numbers, unknown names, a rate out of range.
  """
  layers.check_positive(code=code, widths=tuple(widths))
  layers.check_rate(dropout)
  for field, value, among in (("net", net, NETS), ("output", output, OUTPUTS), ("dtype", dtype, tuple(TYPES))):
    require(value in among, f"model.{field}", value, f"choose one of {list(among)}")
  module = AutoEncoder(net, code, tuple(widths), dropout, output, dtype)
  conv = net == "conv"
  return layers.wrap(module, convolutional=conv, stateful=conv, sites=("code",))


def decode(model: Model, params, state, codes: jax.Array, shape: Sequence[int]) -> jax.Array:
  """What the decoder makes of `codes` `[k, code]`, float32 `[k, *shape]`; `shape` is that of one input."""
  blank = jnp.zeros((len(codes), *shape), jnp.float32)
  return model.apply(params, blank, state=state, taps={"code": lambda _: codes}).logits
