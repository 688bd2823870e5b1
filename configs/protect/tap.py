"""TAP, targeted adversarial poisons (Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021).

  python -m experiments.run --config configs/protect/tap.py:tiny  --workdir runs/tap  # under a minute on 2 cores
  python -m experiments.run --config configs/protect/tap.py:small --workdir runs/tap  # minutes: three seeds
  python -m experiments.run --config configs/protect/tap.py:cifar --config.data.path=DIR  # minutes: 3000 of CIFAR-10
  python -m experiments.run --config configs/protect/tap.py       --config.data.path=DIR  # one GPU: all of CIFAR-10
  python -m experiments.run --config configs/protect/tap.py:robust --workdir runs/robust  # a minute: a robust surrogate
  python -m experiments.run --config configs/protect/tap.py:folder --config.data.path=PICTURES --key_file=mine.key

Every picture is moved until a network that was trained on clean ones takes it for another class, and published under
its true label. Rows: `next` (towards the next class, as published), `half` (five classes on), `half_features` (towards
the mean features of that class), `sep` and `sep_features` (self-ensemble protection: the same two, against six points
of the surrogate's training at once), `true` (towards the own class: hypocritical perturbations), `away` (from the own
class), `pull` and `push` (features towards those of the next class, away from those of the own: entangled features).
Controls: `clean`, `sample` and `class` (random signs a picture, a class).

Seen at `small` (8x8 digits, 64/255; accuracy on clean test digits and on the protected ones, mean and spread of three
trainings against one surrogate):

                 clean test   protected test
  clean         .973 +- .001
  sample        .949 +- .005   .881 +- .005
  class         .759 +- .017  1.000 +- .000
  next          .309 +- .032  1.000 +- .000
  half          .195 +- .022  1.000 +- .000
  half_features .106 +- .020  1.000 +- .000
  sep           .154 +- .016  1.000 +- .000
  sep_features  .095 +- .016  1.000 +- .000
  pull          .303 +- .026  1.000 +- .000
  away          .556 +- .012   .984 +- .003
  push          .899 +- .005   .922 +- .000
  true          .909 +- .007  1.000 +- .000

Where the attack has an aim, a thief ends far below what random noise by class leaves. `true` and `push` do little:
they were made for surrogates that are robust, or for thieves who are. At 32/255 `next` leaves .81 and at 16/255 .94.
What the points of the training add is at the edge of the spread (`sep` to `half`) or within it (`sep_features` to
`half_features`): the features do more. At 32/255 five points left .785, the last network alone .765: no gain for sure.
Nothing was chosen after looking.

At `robust` (one seed) the surrogate is trained adversarially at half of the budget, and so is a second thief, in the
last column. `hypo` is `true` against it: hypocritical perturbations; `pull` and `push` are entangled features:

               usual  adversarial
  clean         .974   .960
  sample        .950   .944
  class         .776   .826
  next          .364   .524
  pull          .308   .542
  hypo          .880   .942
  push          .842   .964

Against the usual thief a robust surrogate makes `hypo` and `push` a little stronger (.880 for .902 and .842 for .894,
the same seed); a robust thief, for whom entangled features were made, loses no more to `pull` than to `next`.
At the full size `sep` asks for 14 points, each a training up to there: together seven surrogates.

`cifar` and the full size were not run; APBench has 6.3 % there (ResNet-18).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = common.sizes(arg, "cifar", "folder", "robust")
  config = ConfigDict()
  config.title = f"Targeted adversarial poisons ({size})"
  config.seed, config.seeds = 0, pick(tiny=(0,), small=(0, 1, 2), full=(0,), cifar=(0,), robust=(0,))
  if size == "folder":  # a person's own pictures, PICTURES/CLASS/*.jpg, at full resolution
    common.class_folders(config, "tap", eps=16 / 255, steps=100, copies=False)
    network = dict(name="models.cnn", widths=(32, 64))
    train = dict(name="train.supervised", steps=300, batch_size=64, rate=2e-3, schedule="cosine", augment=("flip",))
    config.surrogate = dict(model=network, train=train)
    return config
  common.digits_or_cifar(config, size, pick, dict(name="models.mlp", widths=(128,)))
  config.surrogate = dict(model=dict(config.model), train=dict(config.train))
  # as in the configs beside this one: digits have strokes as bright as can be
  eps = pick(tiny=64 / 255, full=8 / 255)
  craft = dict(name="protect.tap", eps=eps, steps=pick(tiny=40, small=100, full=250), parts=pick(tiny=4, full=98))
  if size == "full":
    craft.update(augment=("crop:4", "flip"))
  config.controls = common.random_signs(eps)
  config.protect = dict(
    next=craft, half=dict(craft, offset=5), true=dict(craft, target="true"), away=dict(craft, target="away"),
    pull=dict(craft, loss="features"), push=dict(craft, loss="features", target="away"),
  )
  if size in ("small", "full"):
    points = pick(small=(100, 200, 300, 400, 500), full=tuple(range(1564, 22000, 1564)))
    together = dict(craft, offset=5, checkpoints=points)
    config.protect.update(
      half_features=dict(craft, offset=5, loss="features"), sep=together, sep_features=dict(together, loss="features")
    )
  if size == "robust":
    robust = dict(name="train.adversarial", eps=eps / 2, attack_steps=5)
    config.surrogate.train.update(robust)
    config.protect = dict(
      next=craft, hypo=dict(craft, target="true"), pull=dict(craft, loss="features"),
      push=dict(craft, loss="features", target="away"),
    )
    config.thieves = dict(usual={}, adversarial=dict(train=robust))
  if size == "tiny":
    config.protect = dict(next=craft, true=dict(craft, target="true"))
  config.measure = dict(utility=dict(name="audit.utility"))
  return config
