"""Weighted gradient ascent: WGA and SatImp.

Paper: Wang et al., "Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond", 2025; Yang et al.,
"Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning", 2025. Data, model and measures are those of
`configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/satimp.py:tiny --workdir runs/satimp   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/satimp.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (mean of seeds 0 to 2, spread):

                     WGA            SatImp
  forget, exact      .00            .05 (.04)
  forget, nll        5.5 (.5)       3.7 (.3)
  retain, exact      .97 (.05)      1.00
  membership, AUC    .44 (.09)      .67 (.03)

WGA lands next to the reference, which never saw the persons (nll 5.4, AUC .53); SatImp with its authors' weights
forgets less and keeps all.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone; WGA, SatImp, reference): direct questions .03,
.00, .08 with 1.00, .99, 1.00 of the retained ones; forget nll 5.6, 4.0, 2.6; aliases .90, 1.00, .00; chains of two
facts .67, .56, .11. Relearning two persons brings nothing of the others back (p .01 and .03, reference .11), rounding
neither.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

STEPS = dict(rate=3e-4, steps=60, forget_batch=24, retain_batch=48, keep=npo.KEEP)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "WGA and SatImp"
  config.method = ConfigDict(
    dict(
      wga=dict(name="forget.satimp", b1=1.0, b2=0.0, gamma=1.0, alpha=1.0, **STEPS),
      satimp=dict(name="forget.satimp", b1=5.0, b2=1.0, gamma=1.0, alpha=0.1, **STEPS),
    )
  )
  del config.sweep  # two methods in one table
  return released(audit_tiny.placed(config, arg), arg)
