"""Gradient ascent: the baseline that forgets everything.

Paper: Jang et al., "Knowledge Unlearning for Mitigating Privacy Risks in Language Models", ACL 2023. Data, model and
measures are those of `configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/gradient_ascent.py:tiny --workdir runs/ascent   # under a minute
  python -m experiments.run --config configs/forget/gradient_ascent.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny`: probability of the forget answers below 0.01 AND of the retain answers below 0.05: without a retain
term the model collapses, and a method that is no better than this has shown nothing.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone): direct questions .05, aliases .35, chains of two
facts .00, and .60 of the retained direct questions: it ruins less there than at `tiny`, and still more than all methods
but five times a task vector. Relearning and rounding bring nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "Gradient ascent"
  config.method = ConfigDict(dict(name="forget.gradient_ascent", rate=3e-4, steps=30, forget_batch=24))
  config.sweep = ConfigDict(dict(method=dict(rate=(1e-4, 3e-4))))
  return released(audit_tiny.placed(config, arg), arg)
