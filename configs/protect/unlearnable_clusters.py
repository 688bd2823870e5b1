"""Unlearnable Clusters (Zhang et al., CVPR 2023): pictures protected against trainers whose labels nobody knows.

  python -m experiments.run --config configs/protect/unlearnable_clusters.py:tiny   --workdir runs/uc  # a minute
  python -m experiments.run --config configs/protect/unlearnable_clusters.py:small  --workdir runs/uc  # 5 minutes
  python -m experiments.run --config configs/protect/unlearnable_clusters.py:folder --config.data.path=DIR
  python -m experiments.run --config configs/protect/unlearnable_clusters.py:folder_clip --config.data.path=DIR \
    --config.surrogate.path=CLIP_DIR
  python -m experiments.run --config configs/protect/unlearnable_clusters.py:cifar  --config.data.path=TFDS_DIR \
    --config.surrogate.path=efficientnet_lite0.npz
  python -m experiments.run --config configs/protect/unlearnable_clusters.py        --config.data.path=TFDS_DIR \
    --config.surrogate.data.path=TFDS_DIR                                                              # one GPU

`tiny` and `small` protect real handwritten digits. The surrogate is trained here and sees no label (it learns the
pictures' neighbour graph); the target is trained twice on the same protected pictures, once to name the digit and once
to tell even from odd. Rows beside the method: `clean`, `sample` (random signs, new for every picture), `cluster`
(random signs, one pattern a cluster, the very clusters of the method) and `cuda`.

Expect at `small`: clean .96 / .97 (digit / parity), UC .80 / .89, `cuda` .38 / .67, `sample` .94 / .96. The random
noise of `cluster` harms as much as the learned perturbations (.82 / .86): on pictures this small the clusters do the
work.

`factors` draws pictures whose shape, texture, colour and position are independent labels; the surrogate knows the
position only. Expect for shape / texture: clean .95 / 1.00, UC .58 / .73, `cluster` .86 / 1.00, and for what is made
for the shape `class` (random signs) .25 / 1.00 and `error_min` (error-minimising noise a class) .28 / 1.00: what is
tied to one labelling protects against that one alone. `cifar` is 5000 pictures of CIFAR-10 on a CPU; the full size is
all of CIFAR-10 with a ResNet-18 and a surrogate trained on CIFAR-100.
`folder` protects a person's own pictures at full resolution; its surrogate is trained on drawn shapes and textures. The
table "Crafting" tells which share moved to the next cluster (`redirect`); for a dozen pictures --config.protect.k=3.
`folder_pretrained` takes EfficientNet-Lite0 instead: --config.surrogate.path=FILE.npz. `folder_clip` takes the picture
tower of a CLIP, from a folder of Hugging Face with safetensors and config.json: --config.surrogate.path=CLIP_DIR.
"""

from ml_collections import ConfigDict

from configs.common import sizes

FOLDERS = ("folder", "folder_pretrained", "folder_clip")
EFFICIENTNET = dict(name="models.efficientnet", path="")


def get_config(arg: str = "") -> ConfigDict:
  size, pick = sizes(arg, *FOLDERS, "cifar", "factors")
  config = ConfigDict()
  config.title = f"Unlearnable Clusters ({size})"
  config.seed, config.seeds = 0, (0,)
  others = {"full": full, "cifar": cifar, "factors": factors, **dict.fromkeys(FOLDERS, folder)}
  others.get(size, digits)(config, size, pick)
  return config


def digits(config: ConfigDict, size: str, pick) -> None:
  """Real digits, minutes on two cores."""
  config.data = dict(name="data.embedded", source="mnist5k", train=pick(tiny=1000, small=4000), test=1000)
  config.surrogate = dict(
    model=dict(name="models.cnn", classes=20, widths=(32, 64)),
    train=dict(name="train.spectral", steps=pick(tiny=60, small=700), rate=2e-3, augment=("crop:2",)),
  )
  against(config, 64 / 255, dict(cuda=dict(name="protect.cuda", blur=0.03, size=9)), k=16, feature="logits")
  config.protect.update(steps=pick(tiny=10, small=100), batch_size=64, temperature=3.0)
  config.labellings = ("label", "parity")
  config.model = dict(name="models.cnn", widths=(32, 64), normalise="none")
  config.train = dict(
    name="train.supervised", steps=pick(tiny=40, small=400), batch_size=128, rate=2e-3, schedule="cosine",
    every=pick(tiny=20, small=40),
  )


def factors(config: ConfigDict, size: str, pick) -> None:
  """Drawn pictures with independent labels: the surrogate knows the position, the thieves want shape and texture."""
  config.data = dict(name="data.synthetic", n=2560, test=512, size=32, noise=0.02, contrast=0.5)
  config.surrogate = dict(
    model=dict(name="models.cnn", widths=(32, 64)),
    train=dict(name="train.supervised", label="position", steps=300, batch_size=128, rate=2e-3, schedule="cosine"),
  )
  by_class = dict(name="protect.noise", kind="class", label="shape", eps=16 / 255)
  error_min = dict(name="protect.error_min", kind="class", label="shape", eps=16 / 255, steps=300, rate=2e-3)
  against(config, 16 / 255, {"class": by_class, "error_min": error_min}, k=8)
  config.protect.update(steps=250, batch_size=64)
  config.labellings = ("shape", "texture")
  config.model = dict(name="models.cnn", widths=(32, 64), normalise="none")
  config.train = dict(name="train.supervised", steps=1000, batch_size=128, rate=2e-3, schedule="cosine", every=50)


def cifar(config: ConfigDict, size: str, pick) -> None:
  """5000 pictures of CIFAR-10 against a small network, a pretrained surrogate; a quarter of an hour on two cores."""
  config.data = dict(name="data.tfds", source="cifar10", path="", train=5000, test=2000)
  config.surrogate = dict(EFFICIENTNET, size=64)
  against(config, 16 / 255, dict(cuda=dict(name="protect.cuda", blur=0.3, size=3)), k=10)
  config.protect.update(steps=50, batch_size=8)
  config.labellings = ("label", "animal")
  config.model = dict(name="models.cnn", widths=(32, 64), normalise="none")
  config.train = dict(name="train.supervised", steps=800, batch_size=128, rate=2e-3, schedule="cosine", every=80)


def full(config: ConfigDict, size: str, pick) -> None:
  """All of CIFAR-10 against a ResNet-18."""
  config.data = dict(name="data.tfds", source="cifar10", path="")
  resnet = dict(name="models.resnet", depth=18, stem="cifar")
  recipe = dict(
    name="train.supervised", batch_size=128, rate=0.1, optimizer="sgd", schedule="cosine", momentum=0.9,
    weight_decay=5e-4, augment=("crop:4", "flip"), every=390,
  )
  config.surrogate = dict(
    data=dict(name="data.tfds", source="cifar100", path=""), model=dict(resnet), train=dict(recipe, steps=7800)
  )
  against(config, 16 / 255, dict(cuda=dict(name="protect.cuda", blur=0.3, size=3)), k=10)
  config.protect.update(steps=500, batch_size=512)
  config.labellings = ("label", "animal")
  config.model = dict(resnet)
  config.train = dict(recipe, steps=7800)


def folder(config: ConfigDict, size: str, pick) -> None:
  """A person's pictures: nothing is trained on them, every file is painted at its full resolution."""
  config.data = dict(name="data.folder", path="", size=64, label="none")
  if size == "folder_pretrained":
    config.data.size = 128
    config.surrogate = dict(EFFICIENTNET, size=0)
  elif size == "folder_clip":
    config.data.size = 128  # the tower resizes what it looks at
    config.surrogate = dict(name="models.clip", path="")
  else:
    config.surrogate = dict(
      data=dict(name="data.synthetic", n=1280, test=256, size=64),
      model=dict(name="models.cnn", widths=(16, 32, 64)),
      train=dict(name="train.supervised", label="texture", steps=200, batch_size=64, rate=2e-3, schedule="cosine"),
    )
  config.protect = dict(
    name="protect.unlearnable_clusters", eps=16 / 255, k=8, steps=80, batch_size=16, param="direct"
  )


def against(config: ConfigDict, eps: float, more: dict, **clusters) -> None:
  """The method with pixels as parameters, its controls in the same budget and clusters, and what is measured."""
  config.protect = dict(name="protect.unlearnable_clusters", eps=eps, param="direct", **clusters)
  noise = lambda kind, **options: dict(name="protect.noise", kind=kind, eps=eps, **options)
  config.controls = dict(sample=noise("sample"), cluster=noise("cluster", **clusters), **more)
  config.measure = dict(utility=dict(name="audit.utility"))
