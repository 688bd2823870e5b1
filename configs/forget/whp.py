"""Who's Harry Potter: learning what the model would say without what the persons' answers teach.

Paper: Eldan and Russinovich, "Who's Harry Potter? Approximate Unlearning in LLMs", 2023. Data, model and measures are
those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/whp.py:tiny --workdir runs/whp   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/whp.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seed 0 alone):

                        alone    retain    npo    graddiff  reference
  forget, exact         .07      .07       .00    .00       .01
  forget, nll           3.3      3.1       10.1   12.2      5.4
  retain, exact         .93      1.00      .92    .94       1.00
  world, math, exact    1.00     1.00      1.00   1.00      1.00
  membership, AUC       .75      .77       .07    .06       .53

It does not overshoot: it learns another answer and stops. It needs `scale` 5: with MUSE's 1 nothing is forgotten, and
with the distribution in the place of the argmax (`hard=False`) .18 is left.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .00 with 1.00 of the retained
ones (alone .96), nll 3.2 (3.5; reference 2.6), but aliases .90 (reference .00) and chains of two facts 1.00 (.11).
Relearning two persons raises p of the other three from .06 to .08 (reference .11), rounding brings nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

STEPS = dict(name="forget.whp", scale=5.0, rate=3e-4, steps=90, forget_batch=24)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "Who's Harry Potter"
  config.method = ConfigDict(
    dict(alone=dict(retain="none", **STEPS), retain=dict(retain_batch=48, retain="nll", keep=npo.KEEP, **STEPS))
  )
  del config.sweep  # two methods in one table
  return released(audit_tiny.placed(config, arg), arg)
