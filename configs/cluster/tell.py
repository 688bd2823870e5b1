"""XAI Beyond Classification: Interpretable Neural Clustering (2018): digits by a network whose weights are centres.

  python -m experiments.run --config configs/cluster/tell.py:tiny     digits of 8x8, seconds
  python -m experiments.run --config configs/cluster/tell.py:small    digits of 8x8, 200 epochs, three seeds, minutes
  python -m experiments.run --config configs/cluster/tell.py          MNIST of 28x28, convolutions; for a GPU

Expect of `small` for the seeds 0, 1, 2 (15 s of one core each; all ten clusters are used in every run):

  tell                  accuracy 0.754, 0.870, 0.779   NMI 0.761 +- 0.014
  reseeded              accuracy 0.779, 0.824, 0.804   NMI 0.776 +- 0.035
  as published          accuracy 0.636, 0.786, 0.680   NMI 0.682 +- 0.032
  without clustering    accuracy 0.346, 0.435, 0.318   centres stay where they began
  k_means               accuracy 0.794, 0.791, 0.790   on the pixels

With convolutions most centres are nearest to no code at first, and stay there unless they are reseeded: after 210 steps
on the 8x8 digits the accuracy was 0.75 with reseeding and 0.36, with four clusters in use, without.
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg)
  tell = {
    "name": "cluster.tell", "k": 10, "encoder": pick(tiny="mlp", full="conv"), "batch_size": 256,
    "steps": pick(tiny=30, small=1400, full=6000),
  }  # fmt: skip
  return ml_collections.ConfigDict({
    "title": f"Interpretable neural clustering ({size})",
    "seeds": pick(tiny=(0,), small=(0, 1, 2)),
    "data": {"name": "data.embedded", "source": pick(tiny="digits", full="mnist5k")},
    "cluster": {
      "tell": tell,
      "reseeded": {**tell, "reseed": True},
      "as published": {**tell, "compat": True, "rate": 1.0},
      "without clustering": {**tell, "lam": 0.0, "centre_rate": 0.0},
      "k_means": {"name": "cluster.k_means", "k": 10},
    },
  })
