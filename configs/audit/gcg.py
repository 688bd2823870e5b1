"""Prompts of tokens after unlearning, found by greedy coordinate gradient (GCG): is there a text that brings it back?

Zou et al., "Universal and Transferable Adversarial Attacks on Aligned Language Models", 2023. Data and model are those
of `configs/forget/npo.py`; gradient ascent, NPO, and NPO stopped early against training again without the persons
(`reference`). A prompt is found on three of the six persons and tried on the other three.

  python -m experiments.run --config configs/audit/gcg.py:tiny --workdir runs/gcg   # minutes, 2 cores
  python -m experiments.run --config configs/audit/gcg.py      --workdir runs/gcg   # one GPU; not run
"""

from ml_collections import ConfigDict

from configs.audit import metrics
from configs.common import sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = metrics.subjects(arg, early=True)
  pick = sizes(arg)[1]
  config.title = "GCG"
  common = dict(
    name="audit.gcg", length=pick(tiny=4, full=20), steps=pick(tiny=40, full=500), k=pick(tiny=64, full=256),
    samples=pick(tiny=32, full=512), excluded=("Q", "A", "?"),
  )
  config.measure = ConfigDict(dict(suffix=common, prefix=dict(common, place="prefix")))
  return config
