"""SURE: NPO on a tenth of the neurons with a larger rate, beside NPO on all, and both rounded to 4 bits.

Paper: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization", ICLR 2025, section 6. Data, model and
measures are those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/sure.py:tiny --workdir runs/sure   # a minute, 2 cores
  python -m experiments.run --config configs/forget/sure.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seed 0 alone, before rounding; the rows under `int4` were not measured):

                        sure     unmasked  npo, 3e-4  reference
  forget, exact         .03      .00       .00        .01
  forget, nll           15.6     20.9      10.1       5.4
  retain, exact         1.00     .97       .92        1.00
  world, exact          1.00     1.00      1.00       1.00
  math, exact           1.00     .98       1.00       1.00

A tenth of the neurons is enough, and spares the others. That rounding brings facts back shows where the model came in 4
bits itself (`tests/forget/sure_test.py`: NPO in small steps .50 -> 1.00, SURE .00 -> .00).

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .00 with 1.00 of the retained
ones (unmasked .88), but nll 22 (29; reference 2.6); aliases .65 (.40, reference .00), chains of two facts .00 (.06,
.11). Relearning and rounding bring nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

STEPS = dict(beta=0.1, rate=3e-3, steps=60, forget_batch=24, retain_batch=48, retain="nll", keep=npo.KEEP)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "SURE"
  config.method = ConfigDict(
    dict(sure=dict(name="forget.sure", loss="npo", tau=90.0, **STEPS), unmasked=dict(name="forget.npo", **STEPS))
  )
  config.attack = ConfigDict(dict(int4=dict(name="audit.quantize", bits=4)))
  del config.sweep  # two methods in one table
  return released(audit_tiny.placed(config, arg), arg)
