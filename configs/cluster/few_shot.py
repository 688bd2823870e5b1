"""Transductive Few-Shot Learning: Clustering is All You Need? (2021): few-shot episodes and clustering of digits.

  python -m experiments.run --config configs/cluster/few_shot.py:tiny     digits of 8x8, 40 episodes, seconds
  python -m experiments.run --config configs/cluster/few_shot.py:small    digits of 8x8, 200 episodes, under a minute
  python -m experiments.run --config configs/cluster/few_shot.py          MNIST of 28x28, 10000 episodes; for a GPU
"""

from __future__ import annotations

import ml_collections

from configs import common

METHODS = ("prototype", "k_means", "k_modes", "slk_means", "slk_ms", "slk_bo", "laplacian_shot")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg)
  task = {
    "name": "cluster.episodes", "episodes": pick(tiny=40, small=200, full=10000), "way": 5, "queries": 15,
    "methods": pick(tiny=METHODS[:2], small=METHODS),
  }  # fmt: skip
  clustering = {"name": "cluster.few_shot", "k": 10, "neighbours": 5}
  return ml_collections.ConfigDict({
    "title": f"Few-shot learning by clustering ({size})",
    "seeds": (0,),
    "data": {"name": "data.embedded", "source": pick(tiny="digits", full="mnist5k")},
    "cluster": {
      "k-modes": {**clustering, "lam": 0.0},
      "Laplacian k-modes": {**clustering, "lam": 1.0},
    },
    "measure": {
      "1 shot": {**task, "shots": 1},
      "5 shots": {**task, "shots": 5},
      "5 shots, uneven queries": {**task, "shots": 5, "concentration": 2.0},
    },
  })
