"""REM, robust error-minimising noise (Fu et al., "Robust Unlearnable Examples", ICLR 2022).

  python -m experiments.run --config configs/protect/rem.py:tiny  --workdir runs/rem  # a minute on 2 cores
  python -m experiments.run --config configs/protect/rem.py:small --workdir runs/rem  # minutes: three seeds
  python -m experiments.run --config configs/protect/rem.py:cifar --config.data.path=DIR  # 3000 of CIFAR-10
  python -m experiments.run --config configs/protect/rem.py       --config.data.path=DIR  # one GPU, days: all of it

TABLE
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "cifar")
  config = ConfigDict()
  config.title = f"Robust error-minimising noise ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,), cifar=(0,))
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  # as in the configs beside this one: digits have strokes as bright as can be
  eps = pick(tiny=64 / 255, full=8 / 255)
  attack_steps = pick(tiny=3, small=5, full=10, cifar=3)
  craft = pick(
    tiny=dict(steps=60, batch_size=64, noise_steps=3, samples=2, augment=("crop:1",)),
    small=dict(steps=600, batch_size=64, noise_steps=10, samples=5, augment=("crop:1",)),
    cifar=dict(steps=300, batch_size=64, noise_steps=3, samples=2, augment=("crop:2", "flip")),
    full=dict(
      steps=5000, batch_size=128, augment=("crop:4", "flip"), optimizer="sgd", rate=0.1, schedule="step",
      weight_decay=5e-4,
    ),
  )  # fmt: skip
  rem = dict(name="protect.rem", eps=eps, radius=eps / 2, attack_steps=attack_steps, **craft)
  still = {name: craft[name] for name in ("steps", "batch_size")}
  config.controls = common.random_signs(eps)
  error_min = dict(name="protect.error_min", kind="sample", eps=eps, noise_steps=5, **still)
  config.protect = dict(rem=rem, error_min=error_min)
  if size != "tiny":  # the parts of the method, one at a time
    config.protect.update(no_attack=dict(rem, radius=0.0), no_transform=dict(rem, augment=()))
  robust = lambda radius: dict(train=dict(name="train.adversarial", eps=radius, attack_steps=attack_steps))
  config.thieves = dict(usual={}, at_radius=robust(eps / 2))
  if size != "tiny":
    config.thieves.update(at_budget=robust(eps))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
