"""Every protection against every countermeasure, in one protocol: a table, a heat map, a ranking by the worst case.

  python -m experiments.run --config configs/protect/grid.py:tiny    --workdir runs/grid  # two minutes
  python -m experiments.sweep --config configs/protect/grid.py:small --workdir runs/grid  # a quarter of an hour
  python -m experiments.sweep --config configs/protect/grid.py:slow     --workdir runs/grid  # 20 min: slower columns
  python -m experiments.sweep --config configs/protect/grid.py:further  --workdir runs/grid  # 12 min of CPU time
  python -m experiments.sweep --config configs/protect/grid.py:transfer --workdir runs/grid  # 15 min: three surrogates
  python -m experiments.sweep --config configs/protect/grid.py:cifar --config.data.path=DIR  # 2 or 3 hours
  python -m experiments.sweep --config configs/protect/grid.py       --config.data.path=DIR  # one GPU

`experiments.run` and `experiments.sweep` do the same with it. Rows: controls (clean, random noise a picture, a class,
and by permuted labels) and the protections, all with one budget where they have one (64/255 in the largest change, or
in the root of the mean square for `lsp` and `ar`; `error_min` stops before it is spent), made for the label (the second
labelling is what a thief wants instead). Columns: what a thief does about it. Defences change the pictures before
training; other columns train in another way (adversarially, with mixed pictures), another network than the one that
the noise was made against, or with a hundred clean pictures (`last_layer`; `known`: on these alone); `best step` is
early stopping by somebody who can see clean test pictures; `mix 50 %` and `mix 90 %`: the rest was not protected, to be
read beside `clean`, that rest alone. `left` in the ranking is what a protection still takes when the thief knows the
best answer that needs no clean pictures.

Seen at `small` (8x8 digits, 64/255 where there is a budget, means of three trainings):

                none gray jpeg bits blur warp orthogonal sharpen adversarial cutmix mixup cutout
  clean         .96  .96  .94  .96  .88  .94  .44        .86     .94         .95    .95   .95
  sample        .94  .94  .93  .93  .88  .93  .51        .87     .91         .93    .93   .92
  permuted      .94  .94  .92  .92  .88  .93  .44        .87     .91         .92    .93   .92
  noise a class .74  .78  .82  .67  .76  .77  .49        .74     .81         .72    .72   .70
  lsp           .70  .78  .79  .67  .62  .68  .43        .68     .79         .73    .73   .73
  ops           .91  .91  .92  .92  .86  .92  .65        .78     .92         .92    .91   .91
  ar            .95  .95  .93  .94  .87  .93  .46        .85     .92         .94    .94   .92
  clusters      .75  .81  .77  .66  .73  .77  .18        .76     .80         .74    .77   .71
  error_min     .89  .93  .93  .91  .85  .90  .55        .83     .92         .88    .89   .88
  ... a class   .74  .85  .88  .68  .78  .80  .50        .76     .84         .69    .72   .73
  rem           .94  .94  .91  .94  .82  .90  .42        .84     .93         .94    .94   .92
  tap           .50  .70  .75  .37  .66  .62  .43        .75     .60         .52    .51   .50
  bayes_error   .86  .86  .85  .79  .74  .84  .73        .83     .62         .82    .84   .83
  t2ue          .90  .91  .86  .88  .79  .88  .41        .82     .93         .90    .90   .89
  cuda          .22  .22  .24  .20  .27  .22  .20        .27     .19         .19    .20   .17

                known last_layer mlp resnet vgg vit mix 50 % mix 90 %
  clean         .89   .92        .96 .96    .96 .78 .94      .89
  sample        .89   .90        .94 .93    .90 .64
  permuted      .89   .91        .94 .92    .89 .60
  noise a class .89   .90        .82 .49    .52 .21 .93      .86
  lsp           .89   .90        .78 .54    .54 .21 .93      .85
  ops           .89   .91        .94 .71    .74 .38 .95      .94
  ar            .89   .91        .95 .93    .90 .56 .95      .95
  clusters      .89   .91        .85 .65    .66 .27 .93      .86
  error_min     .89   .90        .94 .90    .90 .55 .94      .92
  ... a class   .89   .90        .88 .60    .66 .25 .94      .89
  rem           .89   .91        .94 .94    .93 .71 .95      .94
  tap           .89   .89        .75 .58    .67 .28 .91      .76
  bayes_error   .89   .90        .87 .71    .74 .45 .92      .89
  t2ue          .89   .90        .91 .80    .80 .23 .94      .91
  cuda          .89   .89        .21 .21    .28 .17 .90      .67

A hundred clean digits alone give .89, so no protection takes anything worth having from a thief who owns them. Without
them `cuda` alone holds (.28 at most, .59 for the parity, at which it was not aimed); `tap` rises to .75 and `lsp` to
.79. Half of the pictures left clean heal all but `cuda` (.90; .94 the clean half alone); where a tenth is left, which
alone gives .89, `cuda` leaves .67 and `tap` .76 (spread .17), `lsp` .85, `clusters` and random noise a class .86. A
linear reader sees too much of a digit for `orthogonal`: it takes the digit away with the noise. `ops`, `ar` and this
short `rem` do little on pictures of this size; their own configs say so. With standard deviations, the parity and
CIFAR-10: docs/results/protect.md.

`slow`, `further` and `transfer` are read beside it, at the same pictures and seeds. A purifying auto-encoder that knows
the classes (`d_vae`) brings `tap` to .78, `error_min` a class to .86, noise a class to .82 and `cuda` nowhere (.20; a
DenseNet .32); most noise takes most from a DenseNet (noise a class .40). A diffusion model (AVATAR) that learned the
hundred known pictures undoes most noise (`tap` .85, noise a class .91), about as well as they do themselves; one that
learned the protected pictures little (`tap` .50 -> .61). RandAugment brings `cuda` to .30 and noise a class to
.82, training against filters `cuda` to .35 and everything else below half. `tap` made with a perceptron leaves .45 at
most to five networks and .27 to a vision transformer, made with a ResNet it harms ResNets alone.

`t2ue` never sees the pictures: surrogate and generator learn from the hundred of `known`, captioned "a photo of a 3.",
and the names of the classes are the captions of the rest. A caption is a class then, and one noise a class is what does
the work: random signs a class do as much at its L2 of 1.7 (.89; 38/255), and more at the whole budget (2.8: .74).
Column `none` of variants: one latent instead of 32 .90; the 18 templates in turn .95 (L2 1.0); taught by `train` .86;
by shuffled pairs .85 (L2 2.4).
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import resnet_on_cifar, sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg, "cifar", "slow", "further", "transfer")
  real = size in ("full", "cifar")
  config = ConfigDict()
  config.title = f"Protections against countermeasures ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), cifar=(0,))
  eps = 8 / 255 if real else 64 / 255
  _usual(config, size, pick)
  config.surrogate = dict(model=dict(config.model), train=dict(config.train))
  config.controls = dict(
    sample=dict(name="protect.noise", kind="sample", eps=eps),
    permuted=dict(name="protect.noise", kind="permuted", eps=eps),
  )
  config.protect = _protections(eps, pick, real)
  if size == "transfer":
    config.protect = _transferred(config.protect, config.surrogate, _networks(pick))
  elif size != "tiny":
    config.protect.t2ue = _captioned(config, eps, size, pick)
  config.thieves = _thieves(config, pick, eps)
  config.defend = _defences(pick, real)
  if size not in ("slow", "further", "transfer"):
    config.mix = dict(ratio=pick(tiny=(0.5,), small=(0.5, 0.9), full=(0.2, 0.5, 0.8), cifar=(0.5,)))
  config.labellings = ("label", "parity") if size in ("tiny", "small") else ("label",)
  config.measure = dict(utility=dict(name="audit.utility"))
  return config


def _usual(config: ConfigDict, size: str, pick) -> None:
  """Pictures, and the usual thief: a network that sees where something stands, trained to the end."""
  if size == "full":
    resnet_on_cifar(config, steps=20 * 390, every=390)
    config.data.known = 500
    return
  if size == "cifar":
    config.data = dict(name="data.tfds", source="cifar10", path="", train=2000, test=1000, known=100)
  else:
    config.data = dict(name="data.embedded", source="digits", channels=3, train=1000, test=500, known=100)
  config.model = dict(name="models.cnn", widths=(16, 32), head="flatten")
  steps = pick(tiny=80, small=160, cifar=250)
  config.train = dict(
    name="train.supervised", steps=steps, batch_size=64, rate=2e-3, schedule="cosine", every=max(steps // 4, 20)
  )


def _protections(eps: float, pick, real: bool) -> dict:
  """Name -> stage; the tiny grid has a third of them."""
  steps = dict(steps=pick(tiny=100, small=200, full=5000), batch_size=64)
  blur = dict(blur=0.3, size=3) if real else dict(blur=0.03, size=3)
  made = dict(
    noise=dict(name="protect.noise", kind="class", eps=eps),
    lsp=dict(name="protect.lsp", eps=0.75 * eps if real else eps, patch=8 if real else 2),
    ops=dict(name="protect.ops"),
    cuda=dict(name="protect.cuda", **blur),
    ar=dict(name="protect.ar", eps=1.0 if real else 14.0),
    clusters=dict(name="protect.unlearnable_clusters", eps=eps, k=10, steps=pick(tiny=30, small=100), batch_size=64),
    error_min=dict(name="protect.error_min", kind="sample", eps=eps, noise_steps=3, **steps),
    error_min_class=dict(name="protect.error_min", kind="class", eps=eps, **steps),
    rem=dict(name="protect.rem", eps=eps, **pick(
      tiny=dict(steps=50, batch_size=64, noise_steps=2, samples=1, attack_steps=2, augment=("crop:1",)),
      small=dict(steps=200, batch_size=64, noise_steps=3, samples=2, attack_steps=3, augment=("crop:1",)),
      full=dict(steps=5000, augment=("crop:4", "flip")),
    )),
    tap=dict(name="protect.tap", eps=eps, steps=pick(tiny=20, small=50, full=250)),
    bayes_error=dict(name="protect.bayes_error", eps=eps, **pick(  # `inner` batches, two epochs, are a round
      tiny=dict(steps=64, inner=32), small=dict(steps=640, inner=32), cifar=dict(steps=900, inner=60),
      full=dict(steps=46920, inner=782, batch_size=128),
    )),
  )
  return pick(tiny=of(made, "noise", "ops", "cuda", "lsp"), small=made)


def _transferred(made: dict, surrogate: dict, networks: dict) -> dict:
  """Four that need a network, made with each of three: two against a frozen one, two that train it with the noise."""
  rows = dict(noise=made["noise"])
  for name, network in dict(cnn=surrogate["model"], mlp=networks["mlp"], resnet=networks["resnet"]).items():
    own = dict(model=dict(network), train=dict(surrogate["train"]))
    frozen, trained = of(made, "clusters", "tap"), of(made, "error_min_class", "bayes_error")
    rows.update({f"{row} by {name}": dict(stage, surrogate=own) for row, stage in frozen.items()})
    rows.update({f"{row} by {name}": dict(stage, model=dict(network)) for row, stage in trained.items()})
  return rows


def _captioned(config: ConfigDict, eps: float, size: str, pick) -> dict:
  """T2UE: captions come from the names of the classes, surrogate and generator from the pairs of `known` alone."""
  public = dict(config.data, name="data.captions", templates=1)
  if "path" in config.data:
    public["path"] = config.data.get_ref("path")
  else:
    public.pop("channels")
    public["size"] = 0
  image = dict(image="resnet18", embedding=512) if size == "full" else dict(image="cnn", widths=(16, 32), embedding=32)
  steps = pick(small=300, cifar=600, full=3900)
  return dict(
    name="protect.t2ue", eps=eps, templates=1, squash="tanh", temperature=0.5, latent=16, steps=steps, batch_size=32,
    rate=1e-3 if size == "full" else 3e-3,
    surrogate=dict(
      data=public, model=dict(name="models.clip", text="mean", **image),
      train=dict(
        name="train.contrastive", train_set="known", steps=steps, batch_size=64, rate=3e-3, schedule="cosine",
        probe_sets=(),
      ),
    ),
  )  # fmt: skip


def _defences(pick, real: bool) -> dict:
  """Name -> what is done to the pictures before training."""
  made = dict(
    none={},
    jpeg=dict(name="defend.jpeg", quality=10),
    gray=dict(name="defend.gray"),
    bits=dict(name="defend.bit_depth", bits=2),
    blur=dict(name="defend.blur", sigma=1.0, size=5 if real else 3),
    orthogonal=dict(name="defend.orthogonal", steps=pick(tiny=100, small=300, full=1000), batch_size=256),
    sharpen=dict(name="defend.sharpen"),
    warp=dict(name="defend.warp", alpha=2.0 if real else 0.5),
    d_vae=dict(name="defend.d_vae", **pick(
      tiny=dict(first=3.0, second=40.0, width=16, batch_size=64),
      full=dict(first=50.0, second=200.0, width=64, steps=24000),
    )),
    **{name: dict(name="defend.avatar", train_set=learned, **pick(
      tiny=dict(time=150, back=15, width=16, blocks=1, steps=600, batch_size=64),
      full=dict(time=60, width=64, steps=50000),
    )) for name, learned in dict(avatar="train", avatar_known="known").items()},
  )  # fmt: skip
  few = of(made, "none", "jpeg", "gray")
  return pick(
    tiny=few, small=of(made, "none", "jpeg", "gray", "bits", "blur", "orthogonal", "sharpen", "warp"), full=made,
    cifar={**few, **of(made, "orthogonal", "sharpen")}, slow=of(made, "none", "d_vae"),
    further=of(made, "none", "avatar", "avatar_known"), transfer={},
  )  # fmt: skip


def _networks(pick) -> dict:
  """Name -> other networks than the usual thief's, of which the vision transformer is the tiny one at the full size."""
  return dict(
    mlp=dict(name="models.mlp"),
    resnet=dict(name="models.resnet", **pick(tiny=dict(depth=20, width=8), full=dict(depth=50))),
    vgg=dict(name="models.vgg", width=pick(tiny=8, full=64, cifar=16)),
    densenet=dict(name="models.densenet", **pick(
      tiny=dict(stages=(2, 2, 2), growth=6), full=dict(stages=(6, 12, 24, 16), growth=32)
    )),
    vit=dict(name="models.vit", **pick(tiny=dict(patch=2), full=dict(patch=4, width=192, depth=12, heads=3))),
  )  # fmt: skip


def _thieves(config: ConfigDict, pick, eps: float) -> dict:
  """Name -> changes to the usual thief, who comes first; whose crops and flips all keep."""
  train = lambda **change: dict(train=change)
  also = lambda name: dict(augment=(*config.train.get("augment", ()), name))
  networks = {name: dict(model=network) for name, network in _networks(pick).items()}
  by_adam = pick(tiny={}, full=train(optimizer="adamw", rate=1e-3, weight_decay=0.05))  # which SGD at .1 cannot train
  made = dict(
    usual={},
    adversarial=train(name="train.adversarial", eps=eps / 2, attack_steps=pick(tiny=2, small=3, full=10)),
    mixup=train(**also("mixup")),
    cutmix=train(**also("cutmix")),
    cutout=train(**also(pick(tiny="cutout:3", full="cutout:16", cifar="cutout:16"))),
    trivial=train(**also("trivial")),
    rand=train(**also("rand")),
    deconvolved=train(name="train.deconvolved", attack_steps=pick(tiny=3, full=10)),
    ueraser=train(name="train.worst_of", copies=pick(tiny=2, full=5), **also("ueraser")),
    last_layer=train(name="train.last_layer"),
    known=train(train_set="known", steps=pick(tiny=80, small=160, full=2000, cifar=250)),
    **{name: dict(network, **(by_adam if name in ("mlp", "vit") else {})) for name, network in networks.items()},
    cnn=dict(model=dict(name="models.cnn", widths=(64, 128)), **by_adam),
  )
  some = ("usual", "adversarial", "cutmix", "last_layer", "known", "mlp", "resnet")
  few = of(made, "usual", "mixup")
  return pick(
    tiny=few, small=of(made, *some, "vgg", "vit", "mixup", "cutout"), full=made, cifar=of(made, *some),
    slow=of(made, "usual", "trivial", "ueraser", "densenet"), further=of(made, "usual", "rand", "deconvolved"),
    transfer=of(made, "usual", *networks),
  )  # fmt: skip


def of(made: dict, *names: str) -> dict:
  """Those of the names."""
  return {name: made[name] for name in names}
