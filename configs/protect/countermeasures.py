"""Countermeasures: what a trainer gets back by changing protected pictures first: JPEG, grey, blur, warping and others.

Liu, Zhao and Larson, "Image Shortcut Squeezing: Countering Perturbative Availability Poisons with Compression", ICML
2023 (JPEG of quality 10, grey, 2 bits); sharpening and warping, made against CUDA; blur for comparison.

  python -m experiments.run --config configs/protect/countermeasures.py:tiny  --workdir runs/counter  # a minute
  python -m experiments.run --config configs/protect/countermeasures.py:small --workdir runs/counter  # 5 min, 3 seeds
  python -m experiments.run --config configs/protect/countermeasures.py:cifar --config.data.path=DIR
  python -m experiments.run --config configs/protect/countermeasures.py       --config.data.path=DIR  # one GPU

Against no protection (`clean`), random noise a picture (`sample`), random noise a class (`class`) and `cuda`. Expect at
`small` (test accuracy, mean and spread of three seeds; `cifar` and the full size were not run):

              none        jpeg        gray        bit_depth   blur        sharpen     warp
  clean     .91 +- .01  .91 +- .00  .91 +- .01  .91 +- .00  .90 +- .00  .91 +- .00  .88 +- .01
  sample    .90 +- .00  .90 +- .01  .90 +- .00  .89 +- .01  .90 +- .00  .89 +- .00  .86 +- .01
  class     .62 +- .07  .82 +- .01  .75 +- .02  .37 +- .09  .83 +- .02  .74 +- .03  .83 +- .00
  cuda      .36 +- .00  .36 +- .01  .36 +- .00  .38 +- .01  .36 +- .01  .36 +- .00  .35 +- .02

Of what noise a class took, warping (.73), blur (.72) and JPEG (.69) give back most, grey (.46) and sharpening (.43)
half; two bits make its shortcut easier to learn. None helps against `cuda`, also not the two that were made against it
(`sharpen`, with its low-pass filter, and `warp`). Theirs were filters of 3x3 on photographs, which blur; strokes are
protected by wide filters of 9x9, which shift. Warping costs .03 without any protection.
"""

from ml_collections import ConfigDict

from configs.common import resnet_on_cifar, sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg, "cifar")
  config = ConfigDict()
  config.title = f"Countermeasures ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,), cifar=(0,))
  if size == "full":
    resnet_on_cifar(config, steps=20 * 390, every=390)
  elif size == "cifar":
    config.data = dict(name="data.tfds", source="cifar10", path="", train=3000, test=2000)
    config.model = dict(name="models.cnn", widths=(24, 48, 64), head="mean")
    config.train = dict(name="train.supervised", steps=282, batch_size=128, rate=2e-3, augment=("flip",), every=47)
  else:  # three equal channels: noise is coloured, so grey has something to take away
    config.data = dict(
      name="data.embedded", source=pick(tiny="digits", small="mnist5k"), channels=3, train=pick(tiny=1200, small=2000),
      test=pick(tiny=500, small=1000),
    )
    config.model = dict(name="models.cnn", widths=(16, 32))
    config.train = dict(
      name="train.supervised", steps=pick(tiny=100, small=150), batch_size=64, rate=2e-3, schedule="cosine",
    )
  colour = dict(blur=0.3, size=3)
  filters = pick(tiny=dict(blur=0.03, size=3), small=dict(blur=0.03, size=9), full=colour, cifar=colour)
  eps = pick(tiny=64 / 255, full=16 / 255, cifar=16 / 255)
  noise = lambda kind: dict(name="protect.noise", kind=kind, eps=eps)
  config.protect = {"class": noise("class"), "cuda": dict(name="protect.cuda", **filters)}
  config.controls = dict(sample=noise("sample"))
  config.defend = dict(
    none={},
    jpeg=dict(name="defend.jpeg", quality=10),
    gray=dict(name="defend.gray"),
    bit_depth=dict(name="defend.bit_depth", bits=2),
    blur=dict(name="defend.blur", sigma=1.0, size=5),
    sharpen=dict(name="defend.sharpen"),
    warp=dict(name="defend.warp", alpha=pick(tiny=0.5, small=2.0)),
  )
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
