"""T2UE: Generating Unlearnable Examples from Text Descriptions (2025): noise made of captions alone.

  python -m experiments.run --config configs/protect/t2ue.py:tiny        --workdir runs/t2ue  # a minute on 2 cores
  python -m experiments.run --config configs/protect/t2ue.py:small       --workdir runs/t2ue  # 5 minutes, 3 seeds
  python -m experiments.run --config configs/protect/t2ue.py:code        --workdir runs/t2ue  # the code's budget
  python -m experiments.run --config configs/protect/t2ue.py:supervised  --workdir runs/t2ue
  python -m experiments.run --config configs/protect/t2ue.py             --config.data.path=DIR  # one GPU; not run
"""

from ml_collections import ConfigDict

from configs.common import sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg, "code", "supervised")
  config = ConfigDict()
  config.title = f"T2UE ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  {"full": cifar, "supervised": digits}.get(size, drawn)(config, pick)
  return config


def drawn(config: ConfigDict, pick) -> None:
  """Drawn shapes with captions; image-text models are trained on what was protected, and asked for clean pictures."""
  n, known = pick(tiny=2000, small=6480), pick(tiny=900, small=3000)
  config.data = dict(name="data.captions", n=n, test=480, known=known, size=16, contrast=0.5)
  config.model = dict(name="models.clip", image="cnn", text="mean", widths=(32, 64), embedding=64)
  config.train = dict(
    name="train.contrastive", steps=pick(tiny=150, small=600), batch_size=64, rate=3e-3, schedule="cosine",
    every=pick(tiny=75, small=100),
  )  # fmt: skip
  config.surrogate = dict(
    model=dict(config.model), train=dict(config.train, train_set="known", steps=pick(tiny=150, small=800))
  )
  method = dict(
    eps=pick(tiny=16 / 255, small=8 / 255, code=16 / 255), squash="tanh", latent=16, rate=3e-3,
    steps=pick(tiny=150, small=600), batch_size=pick(tiny=16, small=32), every=pick(tiny=75, small=300),
  )  # fmt: skip
  against(config, "caption", method)
  config.protect.shuffled = dict(config.protect.t2ue, pairs="shuffled", temperature=0.2)
  config.mix = dict(ratio=(0.5,))
  config.measure = dict(retrieval=dict(name="audit.retrieval"))


def digits(config: ConfigDict, pick) -> None:
  """Handwritten digits, captioned for who protects them; the thief sees labels and no caption."""
  config.data = dict(name="data.captions", source="digits", size=0, train=900, test=400, known=490, templates=18)
  config.surrogate = dict(
    model=dict(name="models.clip", image="cnn", text="mean", widths=(32, 64), embedding=64),
    train=dict(
      name="train.contrastive", train_set="known", steps=400, batch_size=64, rate=3e-3, schedule="cosine",
      probe_sets=(),
    ),
  )  # fmt: skip
  config.model = dict(name="models.mlp", widths=(128,))
  config.train = dict(name="train.supervised", steps=600, batch_size=64, rate=2e-3)
  method = dict(eps=64 / 255, squash="tanh", latent=16, steps=300, batch_size=64, rate=3e-3, temperature=0.5, every=300)
  against(config, "label", method)
  by_class(config)


def cifar(config: ConfigDict, pick) -> None:
  """CIFAR-10 against a ResNet-18; a fifth of it is public, and taught the surrogate and the generator."""
  config.data = dict(name="data.captions", source="cifar10", path="", known=10000, templates=18)
  recipe = dict(batch_size=128, schedule="cosine", augment=("crop:4", "flip"), every=390)
  config.surrogate = dict(
    model=dict(name="models.clip", image="resnet18", text="mean", embedding=512),
    train=dict(recipe, name="train.contrastive", train_set="known", steps=3900, rate=1e-3, probe_sets=()),
  )
  config.model = dict(name="models.resnet", depth=18, stem="cifar")
  config.train = dict(recipe, name="train.supervised", steps=9360, rate=0.1, optimizer="sgd", momentum=0.9,
                      weight_decay=5e-4)  # fmt: skip
  method = dict(eps=8 / 255, squash="tanh", steps=3900, batch_size=128, rate=1e-3, temperature=0.5, every=390)
  against(config, "label", method)
  by_class(config)


def against(config: ConfigDict, label: str, method: dict) -> None:
  """The method, and in its budget: random signs a picture, a text, and the noise of texts drawn at random."""
  noise = lambda kind, **options: dict(name="protect.noise", kind=kind, eps=method["eps"], **options)
  config.protect = dict(t2ue=dict(dict(name="protect.t2ue", temperature=0.5), **method))
  swapped = dict(config.protect.t2ue, strategy="permuted")
  config.controls = {"sample": noise("sample"), label: noise("class", label=label), "swapped": swapped}


def by_class(config: ConfigDict) -> None:
  """Noise a class, published with 32 patterns and here also with one; `t2ue` has one of 18 captions a picture."""
  config.protect.by_class = dict(config.protect.t2ue, strategy="class")
  config.protect.one = dict(config.protect.t2ue, strategy="class", latents=1)
  config.measure = dict(utility=dict(name="audit.utility"))
