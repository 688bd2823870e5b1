"""Unlearnable Clusters (Zhang et al., CVPR 2023): pictures protected against trainers whose labels nobody knows.

  python -m experiments.run --config configs/protect/unlearnable_clusters.py:tiny   --workdir runs/uc  # seconds
  python -m experiments.run --config configs/protect/unlearnable_clusters.py:small  --workdir runs/uc  # 5 minutes
  python -m experiments.run --config configs/protect/unlearnable_clusters.py        --workdir runs/uc  # one GPU
  python -m experiments.run --config configs/protect/unlearnable_clusters.py:folder --config.data.path=DIR

`tiny` and `small` protect real handwritten digits. The surrogate is trained here without any label (it learns the
pictures' neighbour graph), the target is trained twice on the same protected pictures: once to name the digit, once to
tell even from odd. Every row but `clean` changes the pictures; `sample`, `cluster` and `cuda` are the controls.
"""

from ml_collections import ConfigDict

from configs.common import sizes

EPS = 48 / 255


def get_config(arg: str = "") -> ConfigDict:
  size, pick = sizes(arg, "folder")
  config = ConfigDict()
  config.title = f"Unlearnable Clusters ({size})"
  config.seeds = (0,)
  config.data = dict(name="data.embedded", source="mnist5k", train=pick(tiny=1000, small=4000), test=1000)
  config.surrogate = dict(
    model=dict(name="models.cnn", classes=20, widths=(32, 64)),
    train=dict(name="train.spectral", width=20, steps=pick(tiny=60, small=700), rate=2e-3, augment=("crop:2",)),
  )
  clusters = dict(k=16, feature="logits")
  config.protect = dict(
    name="protect.unlearnable_clusters", eps=EPS, param="direct", start="sign", steps=pick(tiny=10, small=100),
    batch_size=64, temperature=3.0, **clusters,
  )
  config.controls = dict(
    sample=dict(name="protect.noise", kind="sample", eps=EPS),
    cluster=dict(name="protect.noise", kind="cluster", eps=EPS, **clusters),
    cuda=dict(name="protect.cuda", blur=0.06, size=9),
  )
  config.labellings = ("label", "parity")
  config.model = dict(name="models.cnn", widths=(32, 64))
  config.train = dict(
    name="train.supervised", steps=pick(tiny=40, small=400), batch_size=128, rate=2e-3, schedule="cosine", every=40,
  )
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
