"""KL minimisation: gradient ascent on the persons to forget, held near the model before on all others.

Paper: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024. Data, model and measures are those of
`configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/kl_min.py:tiny --workdir runs/kl_min   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/kl_min.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seed 0 alone): forget exact match .00 (nll 12.1) with retain .94, world and math 1.00. Beside it:
gradient difference .00 (12.2) with .94, NPO .00 (10.1) with .92, the reference, which never saw the persons, .01 (5.4)
with 1.00. (Measured with the slope of the KL before rounding errors were taken out of it.)
The divergence keeps as much as the nll does; the forget part has no lower bound, so it overshoots alike.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .05 (nll 11.7, the reference
2.6) with .95 of the retained ones; aliases .60 (.00), chains of two facts .22 (.11). Relearning and rounding bring
nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "KL-min"
  config.method = ConfigDict(
    dict(
      name="forget.kl_min", gamma=1.0, alpha=1.0, rate=3e-4, steps=60, forget_batch=24, retain_batch=48, keep=npo.KEEP,
    )
  )
  config.sweep = ConfigDict(dict(method=dict(alpha=(1.0, 10.0))))
  return released(audit_tiny.placed(config, arg), arg)
