"""Every baseline of picture unlearning on one task: a random tenth of digits, of which a tenth is labelled wrongly.

The network knows the wrong labels by heart; one trained again without the forgotten tenth (`reference`) does not.
Papers stand in the modules. All run the model as in evaluation; `weight_noise` is a control.

  python -m experiments.run --config configs/forget/baselines.py:tiny  --workdir runs/baselines  # one seed
  python -m experiments.run --config configs/forget/baselines.py:small --workdir runs/baselines  # 3 seeds
  python -m experiments.run --config configs/forget/baselines.py:sisa  --workdir runs/sisa       # shards of their own
  python -m experiments.run --config configs/forget/baselines.py --config.data.path=DIR          # one GPU, CIFAR-10

Measured at `small` on seeds 0 to 2 (percent, means; gap: mean distance of the four to those of the reference):

                     UA   MIA    RA    TA    gap
  original            3    13    97    93    9.1  (8.9 to 9.3)
  reference          21    30    98    92      0
  amnesiac           20    28    99    93    1.6  (1.3 to 1.8)
  neggrad_plus       18    25    98    92    2.3  (1.4 to 3.1)
  eu_k               15    23    99    92    3.8  (2.9 to 4.4)
  salun               8    33    98    91    5.5  (4.7 to 6.7)
  influence          11    22    96    88    5.8  (4.4 to 8.1)
  random_labels       8    38    98    90    5.9  (4.0 to 8.0)
  influence_cg        9    21    97    91    6.0  (5.1 to 7.9)
  ssd                 7    22    95    92    6.3  (5.6 to 7.2)
  l1_sparse           9    17    98    93    6.3  (5.8 to 7.0)
  fine_tune           9    16    99    92    6.6  (6.1 to 7.2)
  unrolling           8    19    97    90    6.6  (5.7 to 7.3)
  scrub               7    16    98    93    7.1  (6.6 to 7.6)
  bad_teacher        14    31    92    82    7.2  (6.6 to 8.5)
  gradient_ascent    12    21    93    86    7.3  (3.7 to 9.7)
  scrub_r             7    16    98    94    7.4  (7.2 to 7.6)
  cf_k                7    14    99    93    7.8  (7.5 to 8.0)
  weight_noise       16    24    87    82    8.2  (4.8 to 10.9)
  lipschitz           7    15    95    89    8.4  (7.4 to 9.7)
  boundary_shrink     4    16    97    90    8.5  (7.5 to 9.4)
  boundary_expand    12    18    92    84    8.8  (6.7 to 10.1)
  fisher              3    14    98    93    9.0  (8.7 to 9.4)

All are closer to the reference than the original, but boundary_shrink, boundary_expand and fisher no closer than noise
on the weights: their settings in `vision_grid.py` are better. lipschitz is no closer than noise on these three seeds,
but on the mean of 24 others it is (`vision_grid.py:fresh`, beside its noises). unrolling takes its gradient at a
quarter of the training: at the beginning it is no closer than noise. RA below 90: weight_noise. Another implementation
of the bed, with other splits, measured UA 15 to 19 for the reference, 2 to 6 for fine_tune, 14 to 16 for random_labels.
`amnesiac` takes nearly all of the training back, as every batch held some of the tenth; its repair is as long as the
training was, or wrong labels of what is kept are not known again (after 360 steps the gap was 18.8). `influence_cg` has
a damping far above the curvature: the network is not convex, and with .1 its step ruined one seed of three.
`weight_noise`, which knows nothing, has a gap like that of many methods: look at RA and TA beside it.
`scrub_r` takes the test set for held-out data, for want of another. The full size was not run. At `sisa` two samples
are forgotten by shards: every figure is that of the reference, to the last digit (seed 0, 20 steps a slice).
"""

from ml_collections import ConfigDict

from configs.common import RETRAINED, resnet_on_cifar, sizes

LENGTHS = dict(
  tiny=dict(head="head|block_1", epoch=18, quarter=300), full=dict(head="head", epoch=704, quarter=5600)
)
SISA = dict(slices=4, slice_steps=150, batch_size=64, rate=2e-3)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg, "sisa")
  config = ConfigDict()
  config.title = f"Baselines of picture unlearning ({size})"
  config.seeds = pick(tiny=(0,), small=(0, 1, 2))
  if size == "full":
    resnet_on_cifar(config, steps=60 * 391, every=391)
    config.data.forget_share = 0.1
  else:
    config.data = dict(
      name="data.embedded", source="digits", train=1297, test=500, noise=0.1, forget_share=0.1,
    )
    config.model = dict(name="models.mlp", widths=(128, 64))
    config.train = dict(
      name="train.supervised", steps=1260, batch_size=64, rate=2e-3, optimizer="adamw",
    )  # until the wrong labels are known: before, MIA tells two models that never saw the forgotten apart
  if size == "sisa":
    config.data.forget_share = 0.0016  # two of 1297 samples: a tenth would touch every shard
    config.model = dict(name="models.ensemble", member="models.mlp", members=5, widths=(128, 64))
    config.train = dict(name="forget.sisa", **SISA)
    config.method = dict(sisa=dict(name="forget.sisa", **SISA))
  else:
    config.method = methods(**pick(**LENGTHS))
  config.reference = True if size == "sisa" else RETRAINED  # shards are equal to the last digit from one start alone
  config.measure = dict(table=dict(name="audit.unlearning"))
  return config


def methods(head: str, epoch: int, quarter: int) -> dict:
  """All baselines.

  Args:
    head: names the last layers.
    epoch: the number of batches of 64 in what is kept.
    quarter: the step at about a quarter of the training.
  """
  ten = dict(steps=10 * epoch, rate=2e-3)
  mixed = dict(steps=11 * epoch, rate=1e-3)
  few = dict(steps=20, forget_batch=64)
  return dict(
    fine_tune=dict(name="forget.fine_tune", **ten),
    cf_k=dict(name="forget.fine_tune", trainable=head, **ten),
    eu_k=dict(name="forget.fine_tune", trainable=head, fresh=True, steps=40 * epoch, rate=4e-3),
    l1_sparse=dict(name="forget.fine_tune", l1=3e-4, **ten),
    gradient_ascent=dict(name="forget.gradient_ascent", rate=1e-4, clip=1.0, cap=2.3, steps=30, forget_batch=64),
    neggrad_plus=dict(
      name="forget.neggrad_plus", alpha=0.9, rate=5e-4, steps=10 * epoch, forget_batch=64, retain_batch=64,
    ),
    random_labels=dict(name="forget.random_labels", **mixed),
    salun=dict(name="forget.salun", share=0.5, **mixed),
    boundary_shrink=dict(name="forget.boundary_shrink", rate=1e-4, **few),
    boundary_expand=dict(name="forget.boundary_expand", rate=3e-4, **few),
    scrub=dict(name="forget.scrub", rate=2e-3, forget_steps=max(epoch // 9, 1), retain_steps=epoch),
    scrub_r=dict(name="forget.scrub", rate=2e-3, forget_steps=max(epoch // 9, 1), retain_steps=epoch, holdout="test"),
    bad_teacher=dict(name="forget.bad_teacher", rate=1e-3, steps=20 * epoch // 9),
    influence=dict(name="forget.influence", alpha=5.0),
    influence_cg=dict(name="forget.influence_cg", damping=10.0, alpha=50.0),
    fisher=dict(name="forget.fisher", alpha=1e-13, limit=0.02),
    weight_noise=dict(name="forget.weight_noise", size=0.3),
    amnesiac=dict(name="forget.amnesiac", repair_steps=70 * epoch, repair_rate=2e-3),
    # Chosen on other seeds of the request `tenth` of vision_grid.py:
    ssd=dict(name="forget.ssd", alpha=3.5, weight=0.5),
    lipschitz=dict(name="forget.lipschitz", optimizer="normalised", rate=0.04, sigma=4.0, steps=5),
    unrolling=dict(name="forget.unrolling", checkpoint=quarter, rate=2e-3),
  )
