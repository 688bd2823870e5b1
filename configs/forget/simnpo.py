"""SimNPO: NPO without a reference model.

Paper: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", 2024. Data,
model and measures are those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/simnpo.py:tiny --workdir runs/simnpo   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/simnpo.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seeds 0 to 2): forget exact match 0.00 with retain 0.998 to 1.00, world and math 1.00. The forget nll
(2.9 to 3.4) stays below the 5.4 of the reference: it stops early, where NPO overshoots, and membership by loss (AUC .65
to .77) still sees the persons.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .00 (nll 4.1, the reference
2.6) with .99 of the retained ones; aliases .90 (.00), chains of two facts .78 (.11). Relearning two
persons brings nothing of the others back (p .02, reference .11), rounding neither.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "SimNPO"
  config.method = ConfigDict(
    dict(
      name="forget.simnpo", beta=2.5, delta=0.0, gamma=1.0, alpha=1.0, rate=3e-4, steps=60, forget_batch=24,
      retain_batch=48, retain="nll", keep=npo.KEEP,
    )
  )
  config.sweep = ConfigDict(dict(method=dict(rate=(1e-4, 3e-4))))
  return released(audit_tiny.placed(config, arg), arg)
