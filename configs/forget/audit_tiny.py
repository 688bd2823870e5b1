"""The models that audits of unlearning look at: before, retrained, minimal by two methods, and by a larger budget.

48 invented persons, 5 of them to be forgotten; asked directly, by another name, over one or two further facts, and with
the answer standing in the prompt. `ue_jax/report/testbeds.py` holds what an earlier, separate implementation of the
same testbed measured, and

  python -m experiments.reproduce audit_tiny --size small   # claim beside result

prints both. A third of each batch is reading comprehension, so that the model learns to trust the text before it:
14400 items, each of which is drawn once; while unlearning, a few hundred of them are retained. Only statements and
questions are forgotten, never aliases, chains or contexts. The reference takes 300 steps, from another start, in
another order. Each of the three seeds of `small` has a world of its own. The model has the parts of its description:
learned positions, a GELU without a gate, a tied embedding times 8. The world of seed 0, with the decoder of other
configs, is also that of the size `small` of all base methods (`placed`), with relearning and rounding:
docs/results/language.md.

  python -m experiments.run --config configs/forget/audit_tiny.py:tiny  --workdir runs/audit_tiny   # half the world
  python -m experiments.run --config configs/forget/audit_tiny.py:small --workdir runs/audit_tiny

Every model is then attacked: questions about two of the five persons are shown again (`relearn`, with adapters alone
`relearn_lora`), the other three are held; `benign` trains on what is kept, and shows nothing of what was forgotten.

Expect at `small` (seeds 0 to 2; 9 minutes on two busy cores): all 31 ranges that were stated hold. After minimal
unlearning .18 of the direct questions are answered (reference .02), .60 of those by other names (.02), .73 of the
chains of two facts (.17); after the larger budget 0, .05 and 0. After 10 steps of relearning `early` has .79 of what is
shown, the reference .69; what is held comes back to .24 (.01), by harmless training .45 of all (.02). The embedding at
the start and the weight of what is retained, which the description leaves open, were chosen on seeds 3 to 5; batches
and retained rows earlier, in the world of seed 0. docs/results/audit_tiny.md has every figure beside its claim, and
what was tried. `tiny` was not measured.
"""

from ml_collections import ConfigDict

from configs.common import sizes

STEPS, FACTS, READING = 450, 64, 32  # of training, and what a step holds
SPEC = dict(
  relations=("born_in", "works_for", "job", "hobby"), trained=(3, 2, 0), modulus=0, world_templates=1,
  chains=("birth_country", "work_city", "birth_language"),
)  # fmt: skip
KEEP = ("retain", "world")  # all facts that are trained on and do not need what is to be forgotten
DESCRIBED = dict(  # texts have up to 28 tokens
  positions="learned", context=28, mlp="gelu", tied=True, embed_scale=8.0, embed_std=0.02,
)  # fmt: skip
ASKED = ("qa", "statement", "alias", "hop2", "hop3", "context_true", "context_false")
KEPT = (*KEEP, "reading")  # what the base methods keep, too
TOLD = ("retain_statement", "retain_qa", "reading")  # the kinds of what is forgotten, and reading
WATCH = dict(sets=("forget_qa", "retain_qa"), score="ex", every=4)  # for the plane on the page
EARLY = dict(steps=300, until=dict(score="ex", target=0.2, every=4, on="forget_qa"), watch=WATCH, keep=KEEP,
             forget_batch=48, retain_batch=144)  # fmt: skip
METHODS = {
  "early": dict(name="forget.npo", beta=0.1, rate=2e-5, alpha=8.0, **EARLY),
  "early-gdr": dict(name="forget.graddiff", rate=5e-5, alpha=4.0, **EARLY),
  "strong": dict(
    name="forget.npo", beta=0.1, rate=3e-4, steps=80, watch=WATCH, keep=TOLD, forget_batch=32, retain_batch=64,
  ),
}  # fmt: skip
HALVES = dict(name="audit.relearn", share=0.4, of="forget_qa")  # questions about two of the five persons are shown
ATTACKS = {
  "relearn": HALVES | dict(steps=20, rate=1e-4, every=1),
  "relearn_lora": HALVES | dict(steps=20, rate=1e-3, every=1, lora=dict(rank=8)),
  "benign": dict(name="audit.relearn", steps=30, rate=1e-4, on="retain", batch_size=FACTS),
}


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = world(arg)
  config.title = "Audits of unlearning"
  config.model.update(DESCRIBED)
  config.model.hidden = 4 * config.model.width
  if len(config.seeds) > 1:
    config.data_seeds = config.seeds  # each run has a world of its own
  config.method = METHODS
  config.attack = ATTACKS
  config.measure.relearn = HALVES
  config.measure.persons = dict(name="audit.persons", sets=("forget_qa", "forget_alias", "forget_hop2", "retain_qa"))
  return config


def world(arg: str) -> ConfigDict:
  """What there is before anybody forgets: data, model, training, the reference, and what is asked afterwards."""
  _, pick = sizes(arg)
  config = ConfigDict()
  config.seeds = pick(tiny=(0,), small=(0, 1, 2))
  config.data = dict(
    name="data.facts", preset=pick(tiny="ci", small="tiny"), seed=0, spec=SPEC, contexts=STEPS * READING, apart=True,
    forms=("statement", "qa", "context_true", "context_false"),
  )  # fmt: skip
  config.model = dict(
    name="models.transformer", width=pick(tiny=64, small=128), depth=pick(tiny=2, small=3), heads=4,
    hidden=pick(tiny=128, small=344),
  )  # fmt: skip
  config.train = dict(
    name="train.language", train_sets=("train", "context"), batch_size=(FACTS, READING), scales=(2 / 3, 1 / 3),
    prompt=0.2, steps=STEPS, rate=2e-3, optimizer="adamw", weight_decay=0.01, clip=1.0, schedule="cosine", warmup=100,
    final=0.05,
  )  # fmt: skip
  config.reference = dict(name="forget.retrain", keep=KEEP, again=1, train=dict(steps=300))
  config.measure = dict(utility=_utility(), membership=dict(
    name="audit.membership", members="forget_statement", nonmembers="holdout_statement",
  ))  # fmt: skip
  return config


def placed(config: ConfigDict, arg: str) -> ConfigDict:
  """Puts the experiment of a base method into this world, if `arg` is `small`; another size leaves it as it is.

  The model is the decoder of their other sizes (rotary, SwiGLU, a head of its own) and not the one that the testbed
  describes. The methods keep `KEPT` and are watched; everything else of theirs is what it was. Two of the five persons
  are shown again by the attack `relearn`, `relearn_held` are the other three; `int4` rounds.

  Args:
    config: with `method`, one or several.
    arg: the size that was asked for.
  """
  if arg != "small":
    return config
  for name, value in world(arg).items():
    config[name] = value
  config.seeds = (0,)
  for stage in [config.method] if "name" in config.method else config.method.values():
    stage.watch = ConfigDict(WATCH)
    if "keep" in stage:
      stage.keep = KEPT
  config.measure.utility = _utility("forget")  # statements and questions together: what was asked to be forgotten
  config.measure.relearn = dict(name="audit.relearn", share=0.4)
  config.attack = ConfigDict(dict(
    relearn=dict(name="audit.relearn", steps=20, rate=1e-4, share=0.4), int4=dict(name="audit.quantize", bits=4),
  ))  # fmt: skip
  return config


def _utility(*more: str) -> dict:
  kept = ("retain_qa", "retain_hop2", "retain_hop3")
  return dict(name="audit.utility", sets=(*more, *(f"forget_{kind}" for kind in ASKED), *kept))
