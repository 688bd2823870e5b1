"""Gaussian vectors around random centres, for clustering."""

from __future__ import annotations

import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.data import stream


def data(n: int = 600, k: int = 3, d: int = 2, spread: float = 0.05, seed: int = 0) -> Data:
  """`n` vectors around `k` centres that are uniform in the unit cube.

  Args:
    n: rows; the groups differ in size by one at most.
    k: groups, 1 to n.
    d: dimensions.
    spread: standard deviation around each centre, 0 or more.
    seed: names the draw.
  Returns:
    Data with `x` float32 `[n, d]`, `label` int32 `[n]` and `index`; one set `train` of all rows.
  Raises:
    Invalid: for sizes below 1, k above n, or a negative spread.
  """
  for name, value in (("n", n), ("k", k), ("d", d)):
    require(isinstance(value, int) and value >= 1, f"data.{name}", value, "give a whole number, 1 or more")
  require(k <= n, "data.k", k, f"ask for at most n = {n} groups")
  require(spread >= 0, "data.spread", spread, "give 0 or more")
  centers = stream.uniform(seed, "blobs/centers", k * d).reshape(k, d)
  label = (np.arange(n) % k)[stream.permutation(seed, "blobs/order", n)]
  noise = stream.normal(seed, "blobs/noise", n * d).reshape(n, d)
  index = np.arange(n, dtype=np.int32)
  arrays = {"x": (centers[label] + spread * noise).astype(np.float32), "label": label.astype(np.int32), "index": index}
  return Data(arrays, {"train": index.copy()}, {"source": "blobs", "labels": {"label": [str(c) for c in range(k)]}})
