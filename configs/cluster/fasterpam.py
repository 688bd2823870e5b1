"""FasterPAM: Fast and Eager k-Medoids Clustering (Schubert & Rousseeuw 2021) on handwritten digits.

  python -m experiments.run --config configs/cluster/fasterpam.py:tiny     8x8 digits, seconds
  python -m experiments.run --config configs/cluster/fasterpam.py:small    8x8 digits, k = 100, seconds
  python -m experiments.run --config configs/cluster/fasterpam.py          5000 pictures of MNIST, 28x28, under a minute

The naive method to compare with: `--config.cluster.mode=alternate`.
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg)
  return ml_collections.ConfigDict({
    "title": f"k-medoids of handwritten digits ({size})",
    "seeds": (0,),
    "data": {"name": "data.embedded", "source": pick(tiny="digits", full="mnist5k")},
    "cluster": {
      "name": "cluster.fasterpam", "k": pick(tiny=10, small=100), "array": "image", "metric": "euclidean",
      "start": "build", "mode": "pam",
    },
  })
