"""CUDA: convolution-based unlearnable datasets (Sadasivan, Soltanolkotabi and Feizi, CVPR 2023).

  python -m experiments.run --config configs/protect/cuda.py:tiny  --workdir runs/cuda  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/cuda.py:small --workdir runs/cuda  # minutes: three private keys
  python -m experiments.run --config configs/protect/cuda.py:cifar --config.data.path=DIR  # minutes: 3000 of CIFAR-10
  python -m experiments.run --config configs/protect/cuda.py       --config.data.path=DIR  # one GPU: all of CIFAR-10
  python -m experiments.run --config configs/protect/cuda.py:folder --config.data.path=PICTURES --key_file=mine.key

Every class is convolved with a private random filter; networks learn filter -> label. Controls: `universal`, one
filter for all classes, shows that the harm does not come from the convolution itself; test pictures filtered with the
filter of their own class (`test_protected`) are recognised, those with the filter of the next class are not.

`folder` filters a person's own pictures, PICTURES/CLASS/*.jpg, at full resolution.

DIR holds CIFAR-10 as tensorflow-datasets prepares it. Expect at `cifar`: clean test accuracy at least 10 points below
that of a clean training, own-filter test pictures at least 35 points above that, `universal` within 10 points of clean.
The paper's ResNet-18, 100 epochs: clean 94.7 %, CUDA 18.5 %, own filter 99.9 %, next filter 2.5 %, universal 90.5 %.
"""

from ml_collections import ConfigDict

from configs.common import class_folders, sizes


def get_config(arg: str = "") -> ConfigDict:
  size, pick = sizes(arg, "cifar", "folder")
  config = ConfigDict()
  config.title = f"CUDA ({size})"
  config.seed, config.seeds = 0, (0,)
  if size == "folder":
    class_folders(config, "cuda", blur=0.06, size=9)
    return config
  config.keys = pick(tiny=(0,), small=(0, 1, 2), full=(0,))  # each draws the filters of a protection of its own
  if size == "full":
    config.data = dict(name="data.tfds", source="cifar10", path="")
    config.model = dict(name="models.resnet", depth=18, stem="cifar")
    config.train = dict(
      name="train.supervised", steps=9800, batch_size=512, rate=0.1, optimizer="sgd", schedule="step",
      milestones=(0.4, 0.8), momentum=0.9, weight_decay=5e-4, clip=5.0, augment=("crop:4", "flip"), every=98,
    )
  elif size == "cifar":
    config.data = dict(name="data.tfds", source="cifar10", path="", train=3000, test=2000)
    config.model = dict(name="models.cnn", widths=(24, 48, 64), head="mean")
    config.train = dict(name="train.supervised", steps=282, batch_size=128, rate=2e-3, augment=("flip",), every=47)
  else:
    config.data = dict(name="data.embedded", source="mnist5k", train=pick(tiny=1000, small=4000), test=1000)
    config.model = dict(name="models.cnn", widths=(32, 64))
    config.train = dict(
      name="train.supervised", steps=pick(tiny=60, small=400), batch_size=128, rate=2e-3, schedule="cosine",
      every=pick(tiny=20, small=40),
    )
  # On strokes 3 pixels wide the 3x3 filters of CIFAR-10 do nothing; wide ones with little blur shift them, which does.
  filters = pick(tiny=dict(blur=0.03, size=9), full=dict(blur=0.3, size=3), cifar=dict(blur=0.3, size=3))
  config.protect = dict(cuda=dict(name="protect.cuda", **filters))
  config.controls = dict(universal=dict(name="protect.cuda", universal=True, **filters))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
