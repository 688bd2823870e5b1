"""Task vectors: fine-tune on the persons to forget, and take once, twice and five times the opposite way.

Paper: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023; as a baseline in Shi et al., "MUSE", 2024.
Data, model and measures are those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/task_vector.py:tiny --workdir runs/task_vector   # under a minute
  python -m experiments.run --config configs/forget/task_vector.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seed 0 alone):

  scale                 once     twice     five   npo    graddiff  reference
  forget, exact         .99      .26       .00    .00    .00       .01
  forget, nll           .13      1.2       4.9    10.1   12.2      5.4
  retain, exact         1.00     1.00      .51    .92    .94       1.00
  world, exact          1.00     1.00      .90    1.00   1.00      1.00
  math, exact           1.00     1.00      .76    1.00   1.00      1.00
  membership, AUC       .98      .92       .50    .07    .06       .53

Twice the opposite of 30 steps takes three quarters of the answers and nothing else, without having seen what to keep;
five times takes all of them, and half of the others.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone):

  scale                      once   twice  five   reference
  direct                     .45    .05    .00    .08
  alias                      1.00   .65    .00    .00
  two facts                  1.00   1.00   .00    .11
  retain, direct             1.00   .90    .01    1.00
  membership, AUC            .81    .42    .28    .61
  held half, p               .42    .06    .00    .13
  held half, relearned, p    .43    .08    .01    .11
  forget, p                  .43    .09    .00    .16
  forget, 4 bits, p          .42    .09    .00    .16

Neither attack brings anything back, but twice the opposite leaves every chain of two facts.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

TUNED = dict(name="forget.task_vector", rate=3e-4, steps=30, forget_batch=24)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "Task vectors"
  config.method = ConfigDict(
    dict(once=dict(scale=1.0, **TUNED), twice=dict(scale=2.0, **TUNED), five=dict(scale=5.0, **TUNED))
  )
  del config.sweep  # three methods in one table
  return released(audit_tiny.placed(config, arg), arg)
