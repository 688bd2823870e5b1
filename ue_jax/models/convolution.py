"""Convolutions that are products of matrices on CPUs.

XLA's convolutions lose their threads inside loops on CPUs, and outside of them a product of the windows with the
kernel is faster, too, for strides above 1 or few channels: 1.2 to 2.7 times a gradient of `models.cnn`, 8 to 10 times
inside a scan, measured on two cores. On accelerators this is the usual convolution.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Convolution(nn.Module):
  """A square convolution with bias, padded as `SAME`; parameters `kernel` `[size, size, in, features]` and `bias`."""

  features: int
  size: int = 3
  stride: int = 1

  @nn.compact
  def __call__(self, x):
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    return convolve(x, kernel, self.stride) + self.param("bias", nn.initializers.zeros, (self.features,))


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
  """Cross-correlation of `[b, h, w, in]` with `[size, size, in, out]`, padded as `SAME`: `[b, h', w', out]`."""
  if jax.default_backend() != "cpu":
    names = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=names)
  seen = windows(x, kernel.shape[0], stride)
  out = seen.reshape(-1, seen.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
  return out.reshape(*seen.shape[:3], -1)


@jax.jit
def filtered(x: jax.Array, bank: jax.Array) -> jax.Array:
  """Cross-correlation of pictures `[b, h, w, c]` with one filter each `[b, k, k]`, zero padding, all channels alike.

  out[i, j] = sum_uv filter[u, v] x[i + u - p, j + v - p], p = (k - 1) / 2: the filter is not flipped.
  """
  h, w = x.shape[1:3]
  size = bank.shape[-1]
  pad = (size - 1) // 2
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  weight = bank[:, :, :, None, None, None].astype(x.dtype)
  return sum(weight[:, u, v] * x[:, u : u + h, v : v + w] for u in range(size) for v in range(size))


def windows(x: jax.Array, size: int, stride: int) -> jax.Array:
  """What each place of a convolution sees: `[b, h', w', size * size * c]`, in the order of a kernel's entries."""
  (top, rows), (left, columns) = (_padding(n, size, stride) for n in x.shape[1:3])
  padded = jnp.pad(x, ((0, 0), top, left, (0, 0)))
  cut = lambda i, j: padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
  return jnp.concatenate([cut(i, j) for i in range(size) for j in range(size)], axis=-1)


def _padding(n: int, size: int, stride: int) -> tuple[tuple[int, int], int]:
  """Zeros before and behind an axis of length n, and its length afterwards."""
  out = -(-n // stride)
  total = max((out - 1) * stride + size - n, 0)
  return (total // 2, total - total // 2), out
