"""AR, autoregressive perturbations (Sandoval-Segura et al., NeurIPS 2022).

  python -m experiments.run --config configs/protect/ar.py:tiny  --workdir runs/ar  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/ar.py:small --workdir runs/ar  # minutes: three seeds
  python -m experiments.run --config configs/protect/ar.py       --config.data.path=DIR  # one GPU: all of CIFAR-10
  python -m experiments.run --config configs/protect/ar.py:folder --config.data.path=PICTURES --key_file=mine.key

Every class has an autoregressive process whose filter answers zero on its own noise alone; networks learn the filter.
Controls: `clean`, `sample` (random signs a picture), `class` (random signs a class), `permuted` (the noise of random
classes).

Expect at `small` (accuracy on clean test digits, mean and spread of three trainings): clean .97 +- .00, `sample`
.97 +- .00, `permuted` .97 +- .00, `class` .70 +- .01, AR .96 +- .01: on pictures of 8x8 the network reads the strokes
and not the filter, and an MLP cannot see the filter at all (AR .95, `sample` .95). What is exact, that the filters tell
all held-out noise apart, is held by the tests. The full size was not run; the paper has 11.8 % there (ResNet-18).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "folder")
  config = ConfigDict()
  config.title = f"AR ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  if size == "folder":  # a person's own pictures, PICTURES/CLASS/*.jpg, at full resolution
    common.class_folders(config, "ar", norm="linf", eps=16 / 255)
    return config
  # only convolutions can learn a filter
  common.digits_or_cifar(config, size, pick, dict(name="models.cnn", widths=(16, 32)))
  # digits have strokes as bright as can be: this is a root mean square of 64 / 255
  eps = pick(tiny=14.0, full=1.0)
  common.against_its_noise(config, "ar", eps / 3072**0.5, eps=eps)
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
