"""Three digits are forgotten: which models only look as if, once their features are looked at?

Paper: Kim, Cha and Kim, "Are We Truly Forgetting? A Critical Re-examination of Machine Unlearning Evaluation
Protocols", 2025. Digits 0, 1 and 2 of 8x8 pictures, a perceptron with 64 features; full: ten classes of CIFAR-100.
Beside methods stand a second model trained again (`again`), the ceiling of every comparison, and two foils: `head_only`
is the original with three logits lowered out of reach, `untrained` the network before any training.

  python -m experiments.run --config configs/audit/representation.py:tiny  --workdir runs/representation
  python -m experiments.run --config configs/audit/representation.py:small --workdir runs/representation  # seeds 0, 1
  python -m experiments.run --config configs/audit/representation.py       --workdir runs/representation  # one GPU
"""

from ml_collections import ConfigDict

from configs.common import sizes

FORGOTTEN = (0, 1, 2)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg)
  config = ConfigDict()
  config.title = f"What the features still hold ({size})"
  config.seeds = pick(tiny=(0,), small=(0, 1), full=(0,))
  if size == "full":
    config.data = dict(name="data.tfds", source="cifar100", path="", forget_classes=tuple(range(10)))
    config.model = dict(name="models.resnet", depth=18, stem="cifar")
    config.train = dict(
      name="train.supervised", steps=60 * 391, batch_size=128, rate=0.1, optimizer="sgd", schedule="cosine",
      momentum=0.9, weight_decay=5e-4, augment=("crop:4", "flip"),
    )  # fmt: skip
  else:
    config.data = dict(name="data.embedded", source="digits", train=1297, test=500, forget_classes=FORGOTTEN)
    config.model = dict(name="models.mlp", widths=(128, 64))
    config.train = dict(name="train.supervised", steps=pick(tiny=400, small=1216), batch_size=64, rate=2e-3)
  config.reference = True
  config.method = dict(
    again=dict(name="forget.retrain", again=1),
    head_only=dict(name="audit.foil", kind="block"),
    untrained=dict(name="audit.foil", kind="fresh"),
    pseudo_label=dict(name="forget.pseudo_label", steps=pick(tiny=18, full=60)),
    eu_1=dict(name="forget.fine_tune", fresh=True, trainable="head", steps=pick(tiny=200, full=2000), rate=5e-3),
    random_labels=dict(name="forget.random_labels", steps=pick(tiny=200, full=2000), rate=1e-3),
    gradient_ascent=dict(name="forget.gradient_ascent", steps=12, rate=1e-3, forget_batch=64),
  )
  config.measure = dict(
    representation=dict(name="audit.representation", sites=("block_0",) if size != "full" else ()),
    unlearning=dict(name="audit.unlearning"),
  )
  return config
