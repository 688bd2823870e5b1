"""Transductive Few-Shot Learning: Clustering is All You Need? (2021): few-shot episodes and clustering of digits.

  python -m experiments.run --config configs/cluster/few_shot.py:tiny     digits of 8x8, 40 episodes, seconds
  python -m experiments.run --config configs/cluster/few_shot.py:small    digits of 8x8, 200 episodes, two minutes
  python -m experiments.run --config configs/cluster/few_shot.py          MNIST of 28x28, 10000 episodes; for a GPU

Accuracies over episodes of five classes with 15 queries each, +- half of the 95 % interval. Expect of `small` (two busy
cores):

                    1 shot           5 shots          5 shots, uneven queries
  prototype         0.740 +- 0.013   0.891 +- 0.008   0.892 +- 0.009
  k_means           0.826 +- 0.016   0.910 +- 0.008   0.857 +- 0.012
  k_modes           0.817 +- 0.017   0.878 +- 0.009   0.835 +- 0.014
  slk_means         0.841 +- 0.017   0.936 +- 0.006   0.886 +- 0.011
  slk_ms            0.829 +- 0.017   0.925 +- 0.007   0.877 +- 0.012
  slk_bo            0.766 +- 0.014   0.896 +- 0.008   0.857 +- 0.011
  laplacian_shot    0.822 +- 0.015   0.912 +- 0.008   0.862 +- 0.011

What clustering gains over the nearest prototype needs queries that are balanced over the classes: where their shares
are drawn from a Dirichlet distribution, none is better than the prototype (five shots). All 1797 digits clustered
without labels: k-modes reaches an accuracy of 0.736, with the Laplacian 0.792 (NMI 0.731 and 0.838).
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
