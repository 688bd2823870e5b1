"""Stacks of pictures brought to one size and one number of channels."""

from __future__ import annotations

import numpy as np

from ue_jax.data import folder

LUMA = np.array([19595, 38470, 7471], np.uint32)  # ITU-R 601 in 2^-16, as Pillow rounds it


def fitted(images: np.ndarray, size: int = 0, channels: int = 0) -> np.ndarray:
  """Pictures of one side and number of channels.

  Args:
    images: uint8 `[n, h, w, 1 or 3]`.
    size: side of the centre square to resize to (bilinear, antialiased); 0 keeps height and width.
    channels: 1 (the luma of colours), 3 (grey repeated), 0 keeps them.

  Returns:
    uint8 `[n, size, size, channels]`; the array itself where nothing is to be done.
  """
  if size and images.shape[1:3] != (size, size):
    resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for row, one in enumerate(images):
      resized[row] = folder.fit(one, size, images.shape[-1])
    images = resized
  if channels in (0, images.shape[-1]):
    return images
  return np.repeat(images, 3, axis=-1) if channels == 3 else _grey(images)


def _grey(images: np.ndarray) -> np.ndarray:
  """uint8 [n, h, w, 1], a thousand pictures at a time: the sums are four times as wide."""
  out = np.empty((*images.shape[:-1], 1), np.uint8)
  for start in range(0, len(images), 1000):
    sums = images[start : start + 1000].astype(np.uint32) @ LUMA
    out[start : start + 1000, ..., 0] = (sums + 32768) >> 16
  return out
