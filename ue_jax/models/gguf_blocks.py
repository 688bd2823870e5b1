"""Blocks of quantised numbers in GGUF files -> float32, as `ggml` defines them.

Numbers lie in blocks, each with its own scale as float16: `d q`, `d (q - 8)`, or `d q + m`. The K kinds hold 256
numbers in parts with scales that are whole numbers themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Kind(NamedTuple):
  """One way to store numbers: `count` of them in `size` bytes; `unpack` takes uint8 `[blocks, size]`."""

  name: str
  count: int
  size: int
  unpack: Callable[[np.ndarray], np.ndarray]


def numbers(raw: np.ndarray, kind: Kind) -> np.ndarray:
  """The numbers of whole blocks, float32 `[n]`; `raw` is uint8 `[n / kind.count * kind.size]`."""
  return kind.unpack(raw.reshape(-1, kind.size)).reshape(-1)


def _half(raw: np.ndarray) -> np.ndarray:
  """Two bytes a row -> float32 `[blocks, 1]`."""
  return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: np.ndarray) -> np.ndarray:
  """The low halves of all bytes, then the high ones."""
  return np.concatenate([raw & 15, raw >> 4], axis=-1).astype(np.float32)


def _f32(raw):
  return raw.view("<f4").astype(np.float32)


def _f16(raw):
  return raw.view("<f2").astype(np.float32)


def _bf16(raw):
  return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _q8_0(raw):
  return _half(raw[:, :2]) * raw[:, 2:].view(np.int8).astype(np.float32)


def _q4_0(raw):
  return _half(raw[:, :2]) * (_nibbles(raw[:, 2:]) - 8)


def _q4_1(raw):
  return _half(raw[:, :2]) * _nibbles(raw[:, 4:]) + _half(raw[:, 2:4])


def _q4_k(raw):
  """Eight parts of 32 numbers, `d scale q - least min`; scales and minima have 6 bits each, in 12 bytes."""
  a, b, c = raw[:, 4:8], raw[:, 8:12], raw[:, 12:16]
  scales = np.concatenate([a & 63, (c & 15) | ((a >> 6) << 4)], axis=1).astype(np.float32)
  minima = np.concatenate([b & 63, (c >> 4) | ((b >> 6) << 4)], axis=1).astype(np.float32)
  q = _nibbles(raw[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
  return (_half(raw[:, :2]) * scales)[..., None] * q - (_half(raw[:, 2:4]) * minima)[..., None]


def _q6_k(raw):
  """Sixteen parts of 16 numbers, `d scale (q - 32)`; of each q four bits lie in one place, two in another."""
  low, high = raw[:, :128].reshape(-1, 2, 1, 2, 32), raw[:, 128:192].reshape(-1, 2, 1, 1, 32)
  low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
  high = (high >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1, 1)).reshape(-1, 2, 4, 32) & 3
  q = (low | (high << 4)).astype(np.float32).reshape(-1, 16, 16) - 32
  scales = raw[:, 192:208].view(np.int8).astype(np.float32)
  return (_half(raw[:, 208:]) * scales)[..., None] * q


KINDS = {
  0: Kind("F32", 1, 4, _f32), 1: Kind("F16", 1, 2, _f16), 30: Kind("BF16", 1, 2, _bf16),
  2: Kind("Q4_0", 32, 18, _q4_0), 3: Kind("Q4_1", 32, 20, _q4_1), 8: Kind("Q8_0", 32, 34, _q8_0),
  12: Kind("Q4_K", 256, 144, _q4_k), 14: Kind("Q6_K", 256, 210, _q6_k),
}  # fmt: skip
