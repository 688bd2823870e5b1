"""What is kept beside what is forgotten: neighbours or others, and how retain samples are paired with forget samples.

Papers: Maini et al., "TOFU", 2024 (a retain sample for each forget sample, drawn at random); "Standard vs. Modular
Sampling: Best Practices for Reliable LLM Unlearning", 2025 (one to one, random, cyclic; neighbours and others). Any
method with a retain term takes `pairing` and `retain_sets`. Data, model and training are those of
`configs/forget/npo.py`; neighbours of a forgotten person share a language or an employer with one: three fifths do.

  python -m experiments.run --config configs/forget/pairing.py:tiny --workdir runs/pairing   # minutes, 2 cores

Expect at `tiny`, exact match (mean of three seeds of the training and of the method, taken by calls of the methods with
these settings; forget is .00 everywhere, .04 with the random pairing; before, all are 1.00):

                        neighbour   far    world   math
  GradDiff, far            .37      .98    1.00    1.00     24 samples a step of each set
  GradDiff, near           .95      .68    1.00    1.00
  GradDiff, both           .90      .96    1.00    1.00
  NPO, far                 .41      .99    1.00    1.00
  NPO, near                .96      .69    1.00    1.00
  NPO, both                .90      .98    1.00    1.00
  cyclic                   .83      .91     .95    1.00     24 retain samples a step of all sets together
  random                   .88      .90    1.00     .99
  one to one               .32      .35     .59     .71

What no retain term names is lost where it is near to what is forgotten, and half as much where it is not. One partner
for good keeps that partner and nothing else. One of the three cyclic runs went further than the others (forget nll 16,
not 12) and took .70 of the neighbours with it.
"""

from ml_collections import ConfigDict

from configs.forget import npo

STEPS = dict(rate=3e-4, steps=60, forget_batch=24, retain_batch=24)
WEIGHTS = {
  "far": dict(far=0.8, world=0.1, math=0.1),
  "near": dict(neighbour=0.8, world=0.1, math=0.1),
  "both": dict(neighbour=0.4, far=0.4, world=0.1, math=0.1),
}
PAIRINGS = ("cyclic", "random", "one_to_one")


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg)
  config.title = "Pairing"
  config.data.near = ("language", "employer")
  rows = {f"{title}, {name}": dict(name=method, retain_sets=weights, **STEPS)
          for title, method in (("GradDiff", "forget.graddiff"), ("NPO", "forget.npo"))
          for name, weights in WEIGHTS.items()}  # fmt: skip
  rows |= {how.replace("_", " "): dict(name="forget.graddiff", pairing=how, keep=npo.KEEP, **STEPS) for how in PAIRINGS}
  config.method = ConfigDict(rows)
  config.measure = dict(utility=dict(name="audit.utility", sets=("forget", "neighbour", "far", "world", "math")))
  del config.sweep  # many methods in one table
  for part in ("attack", "reference"):
    if part in config:
      del config[part]
  return config
