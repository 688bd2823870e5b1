"""LSP, linearly separable patches (Yu et al., "Availability attacks create shortcuts", KDD 2022).

  python -m experiments.run --config configs/protect/lsp.py:tiny  --workdir runs/lsp  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/lsp.py:small --workdir runs/lsp  # minutes: three seeds
  python -m experiments.run --config configs/protect/lsp.py       --config.data.path=DIR  # one GPU: all of CIFAR-10
  python -m experiments.run --config configs/protect/lsp.py:folder --config.data.path=PICTURES --key_file=mine.key

Every class has a cloud of mosaics that a linear classifier tells apart; networks learn the mosaic. Controls: `clean`,
`sample` (random signs a picture), `class` (random signs a class), `permuted` (the mosaics of random classes).

Expect at `small` (accuracy on clean test digits, mean and spread of three trainings): clean .97 +- .00, `sample`
.95 +- .01, `permuted` .93 +- .01, `class` .76 +- .02, LSP .55 +- .02. The full size was not run; the
benchmark APBench has 13.1 % there (ResNet-18).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "folder")
  config = ConfigDict()
  config.title = f"LSP ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  if size == "folder":  # a person's own pictures, PICTURES/CLASS/*.jpg, at full resolution
    common.class_folders(config, "lsp", eps=16 / 255)
    return config
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  # digits have strokes as bright as can be: at 16 / 255 noise by class cost .01 only
  eps = pick(tiny=64 / 255, full=6 / 255)
  common.against_its_noise(config, "lsp", eps, eps=eps)
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
