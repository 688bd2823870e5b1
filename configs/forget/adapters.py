"""NPO and SimNPO on low-rank adapters alone, merged at the end.

Paper: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Data, model and measures are those of
`configs/forget/npo.py`; `lora` can be given to any gradient method.

  python -m experiments.run --config configs/forget/adapters.py:tiny --workdir runs/adapters   # a minute, 2 cores
  python -m experiments.run --config configs/forget/adapters.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seed 0 alone): NPO on adapters, forget exact match .01 (nll 5.6) with retain .58, world .99 and math
.96; trained whole, at a rate of 3e-4, it is .00 (10.1) with .92, 1.00 and 1.00; the reference, which never saw the
persons, has .01 (5.4) with 1.00. Adapters at 3e-4 leave .58 of the forget answers after 60 steps (retain .97). Rank 8
in all seven maps costs more of the rest here than it saves. SimNPO's row was not measured.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone; NPO, SimNPO, reference): direct questions .05,
.00, .08 with .79, .99, 1.00 of the retained ones; nll 6.7, 3.5, 2.6; aliases .60, .95, .00; chains of two facts .28,
.67, .11. Relearning and rounding bring nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

STEPS = dict(rate=1e-3, steps=60, forget_batch=24, retain_batch=48, keep=npo.KEEP, lora=dict(rank=8, alpha=16.0))


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "Adapters"
  config.method = ConfigDict(dict(npo=dict(name="forget.npo", **STEPS), simnpo=dict(name="forget.simnpo", **STEPS)))
  del config.sweep  # two methods in one table
  return released(audit_tiny.placed(config, arg), arg)
