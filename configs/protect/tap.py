"""TAP, targeted adversarial poisons (Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021).

  python -m experiments.run --config configs/protect/tap.py:tiny  --workdir runs/tap  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/tap.py:small --workdir runs/tap  # minutes: three seeds
  python -m experiments.run --config configs/protect/tap.py:cifar --config.data.path=DIR  # minutes: 3000 of CIFAR-10
  python -m experiments.run --config configs/protect/tap.py       --config.data.path=DIR  # one GPU: all of CIFAR-10

TABLE
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "cifar")
  config = ConfigDict()
  config.title = f"Targeted adversarial poisons ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,), cifar=(0,))
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  config.surrogate = dict(model=dict(config.model), train=dict(config.train))
  # as in the configs beside this one: digits have strokes as bright as can be
  eps = pick(tiny=64 / 255, full=8 / 255)
  craft = dict(name="protect.tap", eps=eps, steps=pick(tiny=40, small=100, full=250), parts=pick(tiny=4, full=98))
  if size == "full":
    craft.update(augment=("crop:4", "flip"))
  config.controls = common.random_signs(eps)
  config.protect = dict(
    next=craft, half=dict(craft, offset=5), true=dict(craft, target="true"), away=dict(craft, target="away"),
    pull=dict(craft, loss="features"), push=dict(craft, loss="features", target="away"),
  )
  if size == "tiny":
    config.protect = dict(next=craft, true=dict(craft, target="true"))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
