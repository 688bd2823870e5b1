"""The models that audits of unlearning look at: before, retrained, minimal by two methods, and by a larger budget.

48 invented persons, 5 of them to be forgotten; asked directly, by another name, over one or two further facts, and with
the answer standing in the prompt. `ue_jax/report/testbeds.py` holds what an earlier, separate implementation of the
same testbed measured, and

  python -m experiments.reproduce audit_tiny --size small   # claim beside result

prints both. A third of each batch is reading comprehension, so that the model learns to trust the text before it.

  python -m experiments.run --config configs/forget/audit_tiny.py:tiny  --workdir runs/audit_tiny   # half the world
  python -m experiments.run --config configs/forget/audit_tiny.py:small --workdir runs/audit_tiny
"""

from ml_collections import ConfigDict

from configs.common import sizes

KEEP = ("retain", "world", "math", "context")  # all that is trained on and does not need what is to be forgotten
DIRECT = ("statement", "qa", "cloze")
EARLY = dict(steps=300, until=dict(score="ex", target=0.2, every=4, on="forget_qa"))
ASKED = ("qa", "statement", "alias", "hop2", "hop3", "context_true", "context_false")


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  _, pick = sizes(arg)
  config = ConfigDict()
  config.title = "Audits of unlearning"
  config.seeds = pick(tiny=(0,), small=(0, 1, 2))
  config.data = dict(
    name="data.facts", preset=pick(tiny="ci", small="tiny"), seed=0, forms=(*DIRECT, "context_true", "context_false"),
    contexts=pick(tiny=300, small=1200),
  )  # fmt: skip
  config.model = dict(
    name="models.transformer", width=pick(tiny=64, small=128), depth=pick(tiny=2, small=3), heads=4,
    hidden=pick(tiny=128, small=344),
  )  # fmt: skip
  config.train = dict(
    name="train.language", steps=450, batch_size=96, rate=2e-3, optimizer="adamw",
    weight_decay=0.01, clip=1.0, schedule="cosine", warmup=100, final=0.05,
  )  # fmt: skip
  config.reference = dict(name="forget.retrain", keep=KEEP)
  watch = dict(sets=("forget_qa", "retain_qa"), score="ex", every=4)  # for the plane on the page
  batch = dict(forget_batch=24, retain_batch=48, keep=KEEP, watch=watch)
  config.method = {
    "early": dict(name="forget.npo", beta=0.1, rate=2e-5, **EARLY, **batch),
    "early-gdr": dict(name="forget.graddiff", rate=5e-5, **EARLY, **batch),
    "strong": dict(name="forget.npo", beta=0.1, rate=3e-4, steps=80, **batch),
  }
  config.measure = dict(
    utility=dict(
      name="audit.utility", sets=(*(f"forget_{kind}" for kind in ASKED), "retain_qa", "retain_hop2", "retain_hop3")
    ),
    membership=dict(name="audit.membership", members="forget_statement", nonmembers="holdout_statement"),
  )
  return config
