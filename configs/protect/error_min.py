"""EM, error-minimising noise (Huang et al., "Unlearnable Examples: Making Personal Data Unexploitable", ICLR 2021).

  python -m experiments.run --config configs/protect/error_min.py:tiny  --workdir runs/em  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/error_min.py:small --workdir runs/em  # minutes: three seeds
  python -m experiments.run --config configs/protect/error_min.py:cifar --config.data.path=DIR  # 3000 of CIFAR-10
  python -m experiments.run --config configs/protect/error_min.py       --config.data.path=DIR  # one GPU: all of it

TABLE
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "cifar")
  config = ConfigDict()
  config.title = f"Error-minimising noise ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,), cifar=(0,))
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  # digits have strokes as bright as can be: at 16 / 255 noise by class cost .01 only
  eps = pick(tiny=64 / 255, full=8 / 255, cifar=16 / 255)
  turns = dict(steps=pick(tiny=100, small=600, full=23460), batch_size=pick(tiny=64, full=128, cifar=64))
  if size == "full":
    turns.update(optimizer="sgd", rate=0.1, weight_decay=5e-4, clip=5.0)
  stage = lambda kind, noise_steps, network_steps=0: dict(
    name="protect.error_min", kind=kind, eps=eps, noise_steps=noise_steps, network_steps=network_steps, **turns
  )
  config.controls = common.random_signs(eps)
  config.protect = dict(em_sample=stage("sample", 5), em_class=stage("class", 1))
  if size != "tiny":  # ten batches for the network, then a pass over all pictures for the noise
    config.protect.update(em_sample_rounds=stage("sample", 20, 10), em_class_rounds=stage("class", 1, 10))
  config.labellings = pick(tiny=("label",), small=("label", "parity"), full=("label",), cifar=("label", "animal"))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
