"""UNDIAL: self-distillation from adjusted logits, alone and with a retain term.

Paper: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models",
2024. Data, model and measures are those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/undial.py:tiny --workdir runs/undial   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/undial.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (mean of seeds 0 to 2, spread):

                     alone          with a retain term
  forget, exact      .27 (.06)      .27 (.03)
  forget, nll        2.1            2.0
  retain, exact      .66 (.15)      1.00
  world, exact       .63 (.21)      1.00

The claim that it needs no retain data does not hold in a model this small. The loss has a minimum, so forgetting stops
at the adjusted distribution; after 60 steps a quarter of the answers is still the most likely one.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .05 (nll 2.0 to 2.1, the
reference 2.6) with .99 of the retained ones alone and 1.00 with a retain term, so there the claim holds; aliases .90
and .95 (.00), chains of two facts 1.00 (.11). Relearning two persons raises p of the other three from .12 and .13 to
.21 and .23 (reference .11); rounding brings nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "UNDIAL"
  config.method = ConfigDict(
    dict(
      alone=dict(name="forget.undial", beta=10.0, rate=3e-4, steps=60, forget_batch=24, retain="none"),
      retain=dict(
        name="forget.undial", beta=10.0, rate=3e-4, steps=60, forget_batch=24, retain_batch=48, retain="nll",
        keep=npo.KEEP,
      ),
    )
  )
  del config.sweep  # two methods in one table
  return released(audit_tiny.placed(config, arg), arg)
