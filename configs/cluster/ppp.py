"""Probabilistic Partitive Partitioning (2020): clusters without being told how many, the same for every seed.

  python -m experiments.run --config configs/cluster/ppp.py:tiny     600 vectors around 5 centres, 20 s
  python -m experiments.run --config configs/cluster/ppp.py:small    4000 around 20, five seeds, 30 s
  python -m experiments.run --config configs/cluster/ppp.py          1 000 000 around 64, 32 dimensions

Beside it k-means, which has to be told the number. Seen on two CPU cores with `:small`: 20 clusters found, ACC 0.999,
NMI 0.998, ARI 0.998, with no spread over the seeds (nearly all of the time is compilation; a fit takes 0.3 s). The full
size is meant for an accelerator and has not been run on one.
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg)
  k = pick(tiny=5, small=20, full=64)
  return ml_collections.ConfigDict({
    "title": f"Probabilistic Partitive Partitioning ({size})",
    "seeds": pick(tiny=(0,), small=(0, 1, 2, 3, 4)),
    "data": {
      "name": "data.blobs", "n": pick(tiny=600, small=4000, full=1_000_000), "k": k,
      "d": pick(tiny=5, small=16, full=32), "spread": pick(tiny=0.05, small=0.08),
    },
    "cluster": {
      "ppp": {"name": "cluster.ppp", "array": "x"},
      "k_means": {"name": "cluster.k_means", "array": "x", "k": k, "restarts": 1},
    },
  })
