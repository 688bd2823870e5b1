"""Gradient difference: ascend on the persons to forget, descend on the others.

Paper: Liu, Liu and Stone, "Continual Learning and Private Unlearning", 2022; Maini et al., "TOFU: A Task of
Fictitious Unlearning for LLMs", 2024. Data, model and measures are those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/graddiff.py:tiny --workdir runs/graddiff   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/graddiff.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run: p of the answers .190 on what is to be forgotten (the original .872, the reference .136), .854 on what is kept
(.836; NPO .580). docs/results/language.md has the table.

Expect at `tiny`: forget exact match 0.00 (at most 0.05) with retain at least 0.5 (0.93 to 0.96 with seeds 0 to 2) and
world facts at least 0.9 (1.00); the forget nll (11 to 12) is above that of NPO after as many steps: nothing bounds it.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .00 (nll of what is forgotten
12.8, the reference 2.6) with .93 of the retained ones; aliases .55 (.00), chains of two facts .44 (.11). It forgets
what it was asked, and half of what it was not asked is left. Relearning two persons brings nothing of the other three
back (p 3e-5, reference .11), rounding neither.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

METHOD = dict(
  name="forget.graddiff", gamma=1.0, alpha=1.0, rate=3e-4, steps=60, forget_batch=24, retain_batch=48, retain="nll",
  keep=npo.KEEP,
)  # fmt: skip


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "GradDiff"
  config.method = ConfigDict(METHOD)
  config.sweep = ConfigDict(dict(method=dict(rate=(1e-4, 3e-4))))
  return released(audit_tiny.placed(config, arg), arg)
