"""Membership sample by sample after unlearning: LiRA against one model, U-LiRA against the method.

Hayes et al., "Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy", 2024. A tenth of
the labels of 8x8 digits is wrong, and a perceptron learns them by heart; a random tenth is forgotten by training on
(`fine_tune`) and by random labels. Beside them the attacks on a population (`confidences`), which see less.

  python -m experiments.run --config configs/audit/u_lira.py:tiny  --workdir runs/u_lira
  python -m experiments.run --config configs/audit/u_lira.py:small --workdir runs/u_lira  # more shadow models
  python -m experiments.run --config configs/audit/u_lira.py       --workdir runs/u_lira  # one GPU, CIFAR-10

U-LiRA trains the shadow models and unlearns on all of them for every row of the table, as one program a row.

Expect (seed 0; the full size was not run; at `small`, of the methods' rows, only those of no method were):

                                   original  reference  fine_tune  random_labels
  `tiny`, LiRA, AUC                    .585       .421       .545           .480
  `tiny`, U-LiRA, accuracy             .579       .503       .586           .569
  `tiny`, simple attack                .538       .554       .538           .608
  `small`, LiRA, AUC                   .648       .461
  `small`, U-LiRA, accuracy            .655       .482
  `small`, simple attack               .538       .550

At `tiny` the network has learnt few wrong labels by heart (accuracy on what is retained .90), at `small` most of them
(.95). The simple attack on the loss tells the original from the reference in neither; both attacks sample by sample do.
Both methods leave at `tiny` what there was to unlearn.
"""

from ml_collections import ConfigDict

from configs.common import resnet_on_cifar, sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg)
  config = ConfigDict()
  config.title = f"Membership sample by sample ({size})"
  config.seeds = (0,)
  if size == "full":
    resnet_on_cifar(config, steps=20 * 391, every=0)
    config.data.forget_share = 0.1
  else:
    config.data = dict(name="data.embedded", source="digits", train=1297, test=500, noise=0.1, forget_share=0.1)
    config.model = dict(name="models.mlp", widths=(128, 64))
    config.train = dict(name="train.supervised", steps=pick(tiny=400, small=1000), batch_size=64, rate=2e-3)
  config.reference = True
  ten = dict(steps=pick(tiny=100, small=180, full=3520), rate=2e-3)  # ten epochs, where not tiny
  config.method = dict(
    fine_tune=dict(name="forget.fine_tune", **ten), random_labels=dict(name="forget.random_labels", **ten),
  )
  if size != "tiny":
    config.method.update(others(epoch=pick(small=18, full=352)))
  models = pick(tiny=12, small=32, full=64)
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
