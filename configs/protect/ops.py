"""OPS, the one-pixel shortcut (Wu et al., ICLR 2023).

  python -m experiments.run --config configs/protect/ops.py:tiny  --workdir runs/ops  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/ops.py:small --workdir runs/ops  # minutes: three seeds
  python -m experiments.run --config configs/protect/ops.py       --config.data.path=DIR  # one GPU: all of CIFAR-10

One pixel of every picture has the colour of its class. Controls: `clean`, `sample` (random signs a picture), `class`
(random signs a class), `permuted` (the pixels of random classes).

Expect at `small` (accuracy on clean test digits, mean and spread of three trainings): clean .97 +- .00, `permuted`
.97 +- .00, `sample` .95 +- .01, `class` .76 +- .02, OPS .93 +- .00: one pixel of 64 costs little here, but nine times
what the same pixels cost by random classes. The full size was not run; APBench has 14.7 % there (ResNet-18).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg)
  config = ConfigDict()
  config.title = f"OPS ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  common.against_its_noise(config, "ops", pick(tiny=64 / 255, full=16 / 255))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
