"""What the audit says of a protection as it was crafted: before it was rounded to grey levels and cut at 0 and 1.

`publish` measures it while it paints, for afterwards only the bytes are left. Beside `budget.audit` of the bytes it
shows what rounding took: noise below half a grey level is gone, and all pictures bear the same one, none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ue_jax.core.pictures import to_float
from ue_jax.protect import budget

FIELDS = ("linf", "l2", "psnr", "ssim", "clipped")
MOST = 1000  # pictures whose perturbations are counted, as `budget.audit` does
KEPT = 2**12  # values of each of them that are looked at, evenly spread: all of a picture of 36x36 with 3 channels
EDGE = 1e-6  # x + (1 - x) may miss 1 by a bit
BLOCK = 64  # pictures whose floats are in memory together


class Seen(NamedTuple):
  """A block of pictures: field of `FIELDS` -> float64 `[b]`; some values `[m, v]` of the first ones, clean and not."""

  values: Mapping[str, np.ndarray]
  clean: np.ndarray
  crafted: np.ndarray


def look(clean: np.ndarray, crafted: np.ndarray, room: int = MOST) -> Seen:
  """Measures pictures as they were crafted.

  Args:
    clean: uint8 `[b, h, w, c]`.
    crafted: float32 `[b, h, w, c]` in units of [0, 1], neither rounded nor cut: values below 0 or above 1 would be.
    room: how many pictures are kept to count perturbations.
  """
  parts = [_measured(to_float(clean[i : i + BLOCK]), crafted[i : i + BLOCK]) for i in range(0, len(clean), BLOCK)]
  values = {name: np.concatenate([part[name] for part in parts]) for name in FIELDS}
  size = int(np.prod(clean.shape[1:]))
  columns = np.linspace(0, size - 1, min(size, KEPT)).astype(int)
  some = lambda x: x[:room].reshape(-1, size)[:, columns]
  return Seen(values, to_float(some(clean)), some(crafted).astype(np.float32))


def summary(parts: Sequence[Seen], size: tuple[int, int]) -> dict[str, Any]:
  """What `Data.info["crafted"]` holds: plain values about all pictures.

  Returns:
    `pictures` and `changed`, their number and the share of those that changed; `distinct` perturbations of the first
    `MOST`; `height` and `width`; and for each of `FIELDS` [least, mean, largest] over the pictures that changed, None
    if none did. `linf` and `l2` are in units of [0, 1], `psnr` in dB; `clipped` is the share of values that changed and
    lie at or beyond 0 or 1.
  """
  values = {name: np.concatenate([part.values[name] for part in parts]) for name in FIELDS}
  moved = values["linf"] > 0
  spread = lambda x: [float(fn(x)) for fn in (np.min, np.mean, np.max)] if len(x) else None
  some = (np.concatenate([getattr(part, side) for part in parts])[:MOST] for side in ("clean", "crafted"))
  count = budget.distinct(*some, cut=False)
  about = {"pictures": len(moved), "changed": float(moved.mean()), "distinct": count}
  return {**about, "height": int(size[0]), "width": int(size[1]), **{f: spread(x[moved]) for f, x in values.items()}}


def _measured(clean: np.ndarray, crafted: np.ndarray) -> dict[str, np.ndarray]:
  crafted = np.asarray(crafted, np.float32)
  delta = crafted.astype(np.float64) - clean
  square, flat = (delta * delta).sum((1, 2, 3)), (1, 2, 3)
  with np.errstate(divide="ignore"):
    psnr = -10 * np.log10(square / delta[0].size)
  at_end = (delta != 0) & ((crafted <= EDGE) | (crafted >= 1 - EDGE))
  return {
    "linf": np.abs(delta).max(flat), "l2": np.sqrt(square), "psnr": psnr,
    "ssim": budget.similar(clean, crafted), "clipped": at_end.mean(flat),
  }  # fmt: skip
