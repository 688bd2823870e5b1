"""RMU: hidden states of what is to be forgotten drawn to a random direction.

Paper: Li et al., "The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning", 2024. Data, model and
measures are those of `configs/forget/npo.py`; the first block is steered, adaptively.

  python -m experiments.run --config configs/forget/rmu.py:tiny --workdir runs/rmu   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/rmu.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run. There the authors' blocks: the output of block 7 is steered by `down` of blocks 5 to 7, which needs a rate of
its own: after 100 steps at the 2e-5 that the other methods have, nothing has moved (p of what is to be forgotten .872
as before, the loss 300 as before), at 2e-4 it is .659, at 1e-3 (and at 4e-3) below 1e-5 with .832 kept (.836 before).
So the rate was chosen on the one seed that is reported; `smollm2` and `smollm2_facts` have it, too, untried.

Expect at `tiny` (mean of seeds 0 to 2, spread): forget exact match 0.00 (nll 5.2, 1.1) with retain 0.95 (.03), world
1.00, math .98 (.03). The retain term decides: with alpha 1 retain is .78, with 100 it is .98 and forget .22 (seed 0).

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .00 with .99 of the retained
ones, but aliases .95 (reference .00) and chains of two facts 1.00 (.11): what was not steered is still told. A
true fact in the context is used .20 of the time (reference and original 1.00). Relearning two persons brings the other
three back (p .01 -> .57, .52 exact; reference .11), alone of all base methods; rounding brings nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "RMU"
  config.method = ConfigDict(
    dict(
      name="forget.rmu", layer=0, scale=3.0, adaptive=True, gamma=1.0, alpha=10.0, rate=3e-4, steps=120,
      forget_batch=24, retain_batch=48, keep=npo.KEEP,
    )
  )
  config.sweep = ConfigDict(dict(method=dict(rate=(1e-4, 3e-4))))
  return released(audit_tiny.placed(config, arg), arg, **steered(arg))


def steered(arg: str) -> dict:
  """What RMU has of its own in a released model; the rate was chosen at `smollm2_cpu`, see above."""
  return dict(layer=7, trainable=r"block_[567]/down") | ({} if arg == "llama" else dict(rate=1e-3))
