"""Projected gradient steps on pictures, for protections (Madry et al., ICLR 2018).

They live in `train/pgd.py`, two floors below, because adversarial training takes the same steps.
"""

from ue_jax.train.pgd import (
  NORMS,
  advance,
  ascend,
  descend,
  direction,
  inside,
  move,
  of_pictures,
  project,
  repeat,
  uniform,
)

__all__ = [
  "NORMS", "advance", "ascend", "descend", "direction", "inside", "move", "of_pictures", "project", "repeat",
  "uniform",
]  # fmt: skip
