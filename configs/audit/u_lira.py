"""Membership sample by sample after unlearning: LiRA against one model, U-LiRA against the method.

Hayes et al., "Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy", 2024. A tenth of
the labels of 8x8 digits is wrong, and a perceptron learns them by heart; a random tenth is forgotten by training on
(`fine_tune`) and by random labels, from `small` on by more methods and by the foil `eu_1`, a new last layer on the old
features. Beside them the attacks on a population (`confidences`, `unlearning`), which see less.

  python -m experiments.run --config configs/audit/u_lira.py:tiny  --workdir runs/u_lira
  python -m experiments.run --config configs/audit/u_lira.py:small --workdir runs/u_lira  # more shadow models
  python -m experiments.run --config configs/audit/u_lira.py:challenge --workdir runs/challenge  # F of NeurIPS 2023
  python -m experiments.run --config configs/audit/u_lira.py       --workdir runs/u_lira  # one GPU, CIFAR-10

U-LiRA trains the shadow models and unlearns on all of them for every row of the table, as one program a row.

Expect (`tiny`: seed 0; `small`: means of seeds 0 to 2; the full size was not run):

                                   original  reference  fine_tune  random_labels
  `tiny`, LiRA, AUC                    .582       .432       .547           .492
  `tiny`, U-LiRA, accuracy             .556       .483       .568           .600
  `tiny`, simple attack                .538       .585       .538           .608

  at `small`       LiRA, AUC   U-LiRA, accuracy   simple attack   MIA   average gap
  original               .682               .681            .563   .08          .109
  reference              .435               .502            .562   .29          .000
  neggrad_plus           .537               .580            .544   .24          .027
  fine_tune              .678               .661            .533   .14          .081
  eu_1                   .679               .680            .551   .12          .093
  scrub                  .676               .669            .547   .15          .082
  salun                  .556               .682            .497   .32          .063
  random_labels          .505               .727            .550   .41          .055

At `tiny` the network has learnt few wrong labels by heart (accuracy on what is retained .90), at `small` nearly all
(.99). The simple attack on the loss tells neither the original nor the foil from the reference; LiRA and U-LiRA tell
both, and pass training again. By U-LiRA only `neggrad_plus` unlearns more than a little. Random labels leave a trace of
their own: LiRA, which compares with networks that did not unlearn, calls `random_labels` and `salun` nearly clean, and
U-LiRA, which knows the method, tells them more often than no unlearning at all.

At `challenge`, F with 16 models a bank: reference .206 (two banks of one normal have .18), neggrad_plus .032,
random_labels .022. The original's .102 is of trainings of its own, a wider bank. `challenge/final` is without the
challenge's limit of a fifth of the time of training again, which neggrad_plus (.28) exceeds.
"""

from ml_collections import ConfigDict

from configs.common import RETRAINED, resnet_on_cifar, sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg, "challenge")
  config = ConfigDict()
  config.title = f"Membership sample by sample ({size})"
  config.seeds = pick(tiny=(0,), small=(0, 1, 2), full=(0,), challenge=(0,))
  if size == "full":
    resnet_on_cifar(config, steps=20 * 391, every=0)
    config.data.forget_share = 0.1
  else:
    config.data = dict(name="data.embedded", source="digits", train=1297, test=500, noise=0.1, forget_share=0.1)
    config.model = dict(name="models.mlp", widths=(128, 64))
    config.train = dict(name="train.supervised", steps=pick(tiny=400, small=1600), batch_size=64, rate=2e-3)
  config.reference = RETRAINED
  ten = dict(steps=pick(tiny=100, small=180, full=3520), rate=2e-3)  # ten epochs, where not tiny
  config.method = dict(
    fine_tune=dict(name="forget.fine_tune", **ten), random_labels=dict(name="forget.random_labels", **ten),
  )
  if size != "tiny":
    config.method.update(others(epoch=pick(small=18, full=352)))
  if size == "challenge":
    config.method = {name: config.method[name] for name in ("neggrad_plus", "random_labels")}
    config.measure = dict(challenge=dict(name="audit.challenge", models=16))
    return config
  models = pick(tiny=12, small=64)
  config.measure = dict(
    unlearning=dict(name="audit.unlearning"),
    confidences=dict(name="audit.confidences"),
    lira=dict(name="audit.lira", models=models),
    u_lira=dict(name="audit.u_lira", models=models, targets=pick(tiny=60, small=120)),
  )
  return config


def others(epoch: int) -> dict:
  """More methods with the settings of `configs/forget/baselines.py`, and the foil: a new last layer on old features."""
  return dict(
    neggrad_plus=dict(
      name="forget.neggrad_plus", alpha=0.9, rate=5e-4, steps=10 * epoch, forget_batch=64, retain_batch=64,
    ),
    scrub=dict(name="forget.scrub", rate=2e-3, forget_steps=max(epoch // 9, 1), retain_steps=epoch),
    salun=dict(name="forget.salun", share=0.5, rate=1e-3, steps=11 * epoch),
    eu_1=dict(name="forget.fine_tune", trainable="head", fresh=True, steps=40 * epoch, rate=4e-3),
  )  # fmt: skip
