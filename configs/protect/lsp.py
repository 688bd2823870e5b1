"""LSP, linearly separable patches (Yu et al., "Availability attacks create shortcuts", KDD 2022).

  python -m experiments.run --config configs/protect/lsp.py:tiny  --workdir runs/lsp  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/lsp.py:small --workdir runs/lsp  # minutes: three seeds
  python -m experiments.run --config configs/protect/lsp.py       --config.data.path=DIR  # one GPU: all of CIFAR-10

Every class has a cloud of mosaics that a linear classifier tells apart; networks learn the mosaic. Controls: `clean`,
`sample` (random signs a picture), `class` (random signs a class), `permuted` (the mosaics of random classes).

Expect at `small` (accuracy on clean test digits, mean and spread of three trainings): clean .97 +- .00, `sample`
.95 +- .01, `permuted` .93 +- .01, `class` .76 +- .02, LSP .55 +- .02. The full size was not run; the
benchmark APBench has 13.1 % there (ResNet-18).
"""

from ml_collections import ConfigDict

from configs.common import sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg)
  config = ConfigDict()
  config.title = f"LSP ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  if size == "full":
    config.data = dict(name="data.tfds", source="cifar10", path="")
    config.model = dict(name="models.resnet", depth=18, stem="cifar")
    config.train = dict(
      name="train.supervised", steps=23460, batch_size=128, rate=0.1, optimizer="sgd", schedule="cosine", momentum=0.9,
      weight_decay=5e-4, augment=("crop:4", "flip"), every=391,
    )
  else:  # a small network must see places, not their mean, to find a shortcut this early
    config.data = dict(name="data.embedded", source="digits", train=1200, test=500)
    config.model = dict(name="models.mlp", widths=(128,))
    config.train = dict(name="train.supervised", steps=pick(tiny=200, small=600), batch_size=64, rate=2e-3)
  # digits have strokes as bright as can be: at 16 / 255 noise by class cost .01 only
  eps = pick(tiny=64 / 255, full=6 / 255)
  noise = lambda kind: dict(name="protect.noise", kind=kind, eps=eps)
  config.protect = dict(lsp=dict(name="protect.lsp", eps=eps))
  config.controls = {
    "sample": noise("sample"),
    "class": noise("class"),
    "permuted": dict(name="protect.lsp", eps=eps, permuted=True),
  }
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
