"""How many clusters: elbow, silhouette, Calinski-Harabasz, Davies-Bouldin and BIC as curves over their number.

  python -m experiments.run --config configs/cluster/choose.py:tiny     four groups of points, seconds
  python -m experiments.run --config configs/cluster/choose.py:small    8x8 digits, two minutes of one core
  python -m experiments.run --config configs/cluster/choose.py          5000 pictures of MNIST, 28x28

The page shows the curves, the table which number each index chooses. On the four groups all find four; on the digits
(ten classes, which are not ten round groups) the elbow says 10, silhouette 14, Davies-Bouldin 16, Calinski-Harabasz 2
and BIC (diagonal mixtures) the largest number tried.
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg)
  indices = ("elbow", "silhouette", "calinski_harabasz", "davies_bouldin", "bic")
  choose = {
    "name": "cluster.choose", "ks": pick(tiny=(2, 3, 4, 5), small=tuple(range(2, 21, 2)), full=tuple(range(2, 26))),
    "restarts": pick(tiny=2, full=4),
    "array": pick(tiny="x", small="image"), "indices": pick(tiny=indices[:2], small=indices),
  }
  return ml_collections.ConfigDict({
    "title": f"How many clusters ({size})",
    "seeds": (0,),
    "data": pick(
      tiny={"name": "data.blobs", "k": 4, "n": 300, "d": 8}, small={"name": "data.embedded", "source": "digits"},
      full={"name": "data.embedded", "source": "mnist5k"},
    ),
    "measure": {"how many": choose},
  })
