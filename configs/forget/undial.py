"""UNDIAL: self-distillation from adjusted logits.

Paper: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models", 2024. Data, model and measures are those of
`configs/forget/npo.py`.

  python -m experiments.run --config configs/forget/undial.py:tiny --workdir runs/undial   # under a minute, 2 cores

Expect at `tiny`: TODO
"""

from ml_collections import ConfigDict

from configs.forget import npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.get_config(arg)
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
  return config
