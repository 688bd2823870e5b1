"""Random transforms of pictures that are published: each picture draws by its own identity."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.core.pictures import to_float
from ue_jax.protect.publish import repaint, set_rows


def rewrite(key: jax.Array, data: Data, fn: Callable, *, test: bool, chunk: int = 1024) -> Data:
  """Data with `fn` applied to the pictures of `train`, or of all rows if `test` is True.

  Args:
    key: the picture with identity i is given `fold_in(key, i)`, whatever the set and the order.
    fn: `(key, picture float32 [h, w, c] in [0, 1]) -> the same`; vmapped and jitted here.
    chunk: pictures at a time.
  """
  rows = np.arange(data.n) if test else set_rows(data, "train")
  index, image = np.asarray(data.arrays["index"]), data.arrays["image"]
  one = lambda number, picture: fn(jax.random.fold_in(key, number), picture)
  run = jax.jit(lambda numbers, x: jax.vmap(one)(numbers, to_float(x)))
  out = image.copy()
  repaint(out, image, lambda x, at: run(index[at], x), rows, rows, "round", chunk)
  return Data({**data.arrays, "image": out}, data.sets, data.info)
