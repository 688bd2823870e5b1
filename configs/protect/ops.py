"""OPS, the one-pixel shortcut (Wu et al., ICLR 2023).

  python -m experiments.run --config configs/protect/ops.py:tiny  --workdir runs/ops  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/ops.py:small --workdir runs/ops  # minutes: three seeds
  python -m experiments.run --config configs/protect/ops.py       --config.data.path=DIR  # one GPU: all of CIFAR-10
  python -m experiments.run --config configs/protect/ops.py:folder --config.data.path=PICTURES

One pixel of every picture has the colour of its class. Controls: `clean`, `sample` (random signs a picture), `class`
(random signs a class), `permuted` (the pixels of random classes).

Columns: the usual thief, and one who trains adversarially. Expect at `small` (accuracy on clean test digits, mean and
spread of three trainings; attacks of 32/255):

                 usual       adversarial
  clean       .973 +- .001   .963 +- .004
  permuted    .969 +- .001   .960 +- .004
  sample      .949 +- .005   .943 +- .002
  class       .759 +- .017   .805 +- .013
  ops         .928 +- .002   .929 +- .005

One pixel of 64 costs little here, but ten times what the same pixels cost by random classes. Adversarial training gives
nothing of it back, as published: an attack cannot move a pixel from one end to the other. It does give back some of
what noise by class takes. The full size was not run; APBench has 14.7 % there, 15.0 % under adversarial training.

`folder` sets the pixel in a person's own pictures, PICTURES/CLASS/*.jpg, as large as a pixel of 64x64 stretched to
them. Nothing is drawn, so there is no --key_file.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "folder")
  config = ConfigDict()
  config.title = f"OPS ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  if size == "folder":
    common.class_folders(config, "ops")
    return config
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  common.against_its_noise(config, "ops", pick(tiny=64 / 255, full=16 / 255))
  robust = dict(eps=pick(tiny=32 / 255, full=8 / 255), attack_steps=pick(tiny=3, small=5, full=10))
  config.thieves = dict(usual={}, adversarial=dict(train=dict(name="train.adversarial", **robust)))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
