"""T2UE: Generating Unlearnable Examples from Text Descriptions (2025): noise made of captions alone.

  python -m experiments.run --config configs/protect/t2ue.py:tiny        --workdir runs/t2ue  # half a minute, 2 cores
  python -m experiments.run --config configs/protect/t2ue.py:small       --workdir runs/t2ue  # 3 minutes, 3 trainings
  python -m experiments.run --config configs/protect/t2ue.py:code        --workdir runs/t2ue  # the code's budget
  python -m experiments.run --config configs/protect/t2ue.py:supervised  --workdir runs/t2ue  # labels, digits
  python -m experiments.run --config configs/protect/t2ue.py             --config.data.path=DIR  # one GPU; not run
  python -m experiments.run --config configs/protect/t2ue.py:folder --config.paint.path=DIR \
    --config.paint.captions=FILE --workdir runs/mine                                             # a person's pictures

Drawn shapes of 16 pixels with 96 captions. Surrogate and generator learn from public pairs (`known`); thieves train a
new image-text model on protected pairs. As published (output cut at the budget, the surrogate's own temperature, raw
texts) the generator learns next to nothing in so small a world: see the end. So the rows have `squash="tanh"`, the
temperature .5 and texts brought to one scale: `t2ue`, the published loss on pictures with the noise of their own
caption; `shuffled`, with that of another picture's; `sample` and `caption`, random signs a picture and a caption;
`swapped`, the noise of captions drawn at random. Accuracy (nearest caption of 96 on clean test pictures; mean and
spread of three trainings, one generator), and what the surrogate says of pictures that nobody trained on:

                  small, 8/255     code, 16/255    half protected, 8/255 and 16/255
  clean           .858 +- .016     .858 +- .016     .744 (the clean half alone)
  t2ue            .508 +- .030     .399 +- .025     .783   .766
  shuffled        .541 +- .024     .328 +- .022     .791   .765
  caption         .570 +- .047     .351 +- .019
  sample          .853 +- .005     .777 +- .016
  swapped         .853 +- .022     .845 +- .015
  InfoNCE, own caption, of clean   t2ue .29, .10; shuffled 1.09, .51 (small, code)
  redirected to another caption    t2ue .002, .006; shuffled .010, .135

It protects, but random signs a caption, which need no training at all, do about as much: what counts is that noise goes
with the text (at 8/255 the learned one is ahead, with two thirds of the L2). A mixture of both halves teaches more than
the clean half alone. The published loss does not redirect pictures to the caption whose noise they carry: a picture of
its own caption leaves next to no loss (.002 at the surrogate's own temperature), and noise learned for it need not win
against another picture. That is not the generator's fault: free pixels, one pattern a caption, redirect .03 by this
loss, and .45 to .77 once pairs are shuffled (16/255). The generator then comes to .23, not more with four times the
width, three times the steps or one fixed latent; at 32/255 to .86. One training at 16/255, InfoNCE of clean .50: t2ue
.05; published clamp .47; the surrogate's own temperature .49; raw texts .07; `ssa-mask` .06; captions read by MiniLM
.04 (--config.protect.t2ue.text=minilm).

`supervised`, 64/255, a perceptron that sees labels: clean .968, sample .962, t2ue .908 +- .016, one pattern a class
(`one`) .905 +- .011, shuffled .927, random signs a class (`label`) .832. Redirected: t2ue .43, shuffled .79.

`folder` paints the pictures below DIR at full size. FILE has their captions, a .csv (first line: file,caption) or a
.jsonl of {"file": ..., "caption": ...}; instead, --config.paint.template="a photo of a {}." tells them by the names of
their folders. Nothing of the pictures or captions is in what is trained (half a minute on two cores, once a workdir):
drawn shapes, with words hashed to ids, so that any word can be read. A picture's noise hangs on the key, its caption
and its name. Expect little of words that no surrogate was taught. A thousand digits of 8x8, shown at 32x32, captions "a
scanned handwritten digit three", a small network that is told the digit, 64/255, three trainings (L2 in brackets):
clean .971; this config .887 (7.9); the same noise handed to other pictures .963; random signs a caption of that L2
(44/255) .887, of 64/255 .677 (11.1), a picture .969. With `squash="tanh"` .965 (4.1; random signs of that L2 .959).
The published pairs (`pairs="own"`) leave next to no noise on such captions: .973 with `tanh` (.6), .972 cut (.5).
So what protects is that equal captions have equal noise, and random signs a caption are the better choice of these.
"""

from ml_collections import ConfigDict

from configs.common import sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg, "code", "supervised", "folder")
  config = ConfigDict()
  config.title = f"T2UE ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  {"full": cifar, "supervised": digits, "folder": folder}.get(size, drawn)(config, pick)
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
  config.mix = dict(ratio=(0.5,))
  config.measure = dict(retrieval=dict(name="audit.retrieval"))


def digits(config: ConfigDict, pick) -> None:
  """Handwritten digits, captioned for who protects them; the thief sees labels and no caption."""
  config.data = dict(name="data.captions", source="digits", size=0, train=900, test=400, known=490)
  config.surrogate = dict(
    model=dict(name="models.clip", image="cnn", text="mean", widths=(16, 32), embedding=32),
    train=dict(
      name="train.contrastive", train_set="known", steps=300, batch_size=64, rate=3e-3, schedule="cosine",
      probe_sets=(),
    ),
  )  # fmt: skip
  config.model = dict(name="models.mlp", widths=(128,))
  config.train = dict(name="train.supervised", steps=600, batch_size=64, rate=2e-3)
  against(config, "label", dict(
    eps=64 / 255, squash="tanh", latent=16, steps=500, batch_size=32, rate=3e-3, every=250,
  ))  # fmt: skip
  config.protect.one = dict(config.protect.t2ue, latents=1)
  config.measure = dict(utility=dict(name="audit.utility"))


def cifar(config: ConfigDict, pick) -> None:
  """CIFAR-10 against a ResNet-18; a fifth of it is public, and taught the surrogate and the generator."""
  config.data = dict(name="data.captions", source="cifar10", path="", known=10000)
  recipe = dict(batch_size=128, schedule="cosine", augment=("crop:4", "flip"), every=390)
  config.surrogate = dict(
    model=dict(name="models.clip", image="resnet18", text="mean", embedding=512),
    train=dict(recipe, name="train.contrastive", train_set="known", steps=3900, rate=1e-3, probe_sets=()),
  )
  config.model = dict(name="models.resnet", depth=18, stem="cifar")
  config.train = dict(recipe, name="train.supervised", steps=9360, rate=0.1, optimizer="sgd", momentum=0.9,
                      weight_decay=5e-4)  # fmt: skip
  against(config, "label", dict(eps=8 / 255, squash="tanh", steps=3900, batch_size=128, rate=1e-3, every=390))
  config.protect.one = dict(config.protect.t2ue, latents=1)
  config.measure = dict(utility=dict(name="audit.utility"))


def folder(config: ConfigDict, pick) -> None:
  """A person's pictures, painted by their captions: surrogate and generator learn from drawn shapes."""
  config.data = dict(name="data.captions", n=2400, test=400, known=1900, size=32, contrast=0.5, buckets=4096)
  config.surrogate = dict(
    model=dict(name="models.clip", image="cnn", text="mean", widths=(16, 32), embedding=64),
    train=dict(
      name="train.contrastive", train_set="known", steps=300, batch_size=64, rate=3e-3, schedule="cosine",
      probe_sets=(),
    ),
  )  # fmt: skip
  config.protect = dict(
    name="protect.t2ue", eps=16 / 255, pairs="shuffled", temperature=0.2, latent=16, steps=300, batch_size=16,
    rate=3e-3, every=100,
  )  # fmt: skip
  config.paint = dict(name="data.folder", path="", captions="", template="", size=16)


def against(config: ConfigDict, label: str, method: dict) -> None:
  """The method with both sorts of pairs; random signs a picture and a text, and the noise of texts drawn at random.

  Beside the published loss: `tanh` lets gradients pass, and a temperature keeps the loss of pictures that are near to
  their text already from vanishing.
  """
  noise = lambda kind, **options: dict(name="protect.noise", kind=kind, eps=method["eps"], **options)
  published = dict(method, name="protect.t2ue", temperature=0.5)
  config.protect = dict(t2ue=published, shuffled=dict(published, pairs="shuffled", temperature=0.2))
  swapped = dict(published, strategy="permuted")
  config.controls = {"sample": noise("sample"), label: noise("class", label=label), "swapped": swapped}
