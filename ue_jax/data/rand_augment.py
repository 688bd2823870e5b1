"""RandAugment (Cubuk, Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search
space", 2020).

Every picture gets some operations drawn at random, all of one strength. The operations are those of `data.trivial`;
`RANGES` says how far each of them goes here, as a share of how far it goes there. Published shifts are shares of the
side of a picture of 331 pixels, and stay such shares.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.data import trivial

RANGES = {
  "shear_x": 0.3 / 0.99, "shear_y": 0.3 / 0.99, "translate_x": 150 / 331, "translate_y": 150 / 331,
  "rotate": 30 / 135, "brightness": 0.9 / 0.99, "color": 0.9 / 0.99, "contrast": 0.9 / 0.99, "sharpness": 0.9 / 0.99,
  "posterize": 4 / 6,
}  # fmt: skip
STRONGEST = 30


def rand(strength: Any = 9, operations: int = 2):
  """So many random operations, one after another, on every picture.

  Args:
    strength: of all operations, 0 to 30; may be traced.
    operations: how many; static.
  """
  reach = jnp.array([RANGES.get(name, 1.0) for name in trivial.OPERATIONS], jnp.float32)

  def one(key, images):
    of_kind, of_sign = jax.random.split(key)
    kind = jax.random.randint(of_kind, (len(images),), 0, len(trivial.OPERATIONS))
    sign = jnp.where(jax.random.bernoulli(of_sign, 0.5, (len(images),)), 1.0, -1.0)
    return jax.vmap(trivial.operate)(kind, images, reach[kind] * strength / STRONGEST, sign)

  def apply(key, images, targets):
    changed = images.astype(jnp.float32)
    for number in range(operations):
      changed = one(jax.random.fold_in(key, number), changed)
    return changed.astype(images.dtype), targets

  return apply
