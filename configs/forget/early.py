"""Minimal unlearning: NPO and gradient difference, stopped at the first look at which a fifth of the answers is left.

Audits need models that forgot no more than they had to: facts that other facts still tell, and weights that rounding
brings back, are seen there and wiped out by a fixed budget of steps. Data, model and measures are those of
`configs/forget/npo.py`; `until` can be given to any gradient method.

  python -m experiments.run --config configs/forget/early.py:tiny --workdir runs/early   # a minute, 2 cores
  python -m experiments.run --config configs/forget/early.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (seed 0 alone):

                        npo      graddiff  reference  before
  forget, exact         .19      .15       .01        1.00
  forget, nll           3.8      4.9       5.4        .00
  forget paraphrase     .11      .17       .00        .97
  retain, exact         .69      .69       1.00       1.00
  world, exact          .95      .88       1.00       1.00
  membership, AUC       .62      .54       .53        1.00

In a model this small the persons cannot be told apart at once: where a fifth of the forget answers is left, a third of
the others is gone, and NPO at six times the rate, 60 steps, ends with .92 of them (`configs/forget/npo.py`).

At `small` (seed 0 alone) the methods are those of `configs/forget/audit_tiny.py`, in smaller batches and with a weight
of 1 on what is retained (there 8 and 4, chosen for the decoder that it describes): they stop at .18 and .20 of the
direct questions, with .97 and .94 of the retained ones; aliases .95 and .85 (reference .00), chains of two facts .67
(.11) and of three 1.00 (.50). Here the persons can be told apart. Relearning two persons brings nothing of the others
back (p .09 and .06, reference .11), rounding .01 at most.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

SIZES = dict(forget_batch=24, retain_batch=48)
RECORDED = dict(alpha=1.0, **SIZES)  # the weight that docs/results/world_small.json was recorded with
STEPS = dict(rate=5e-5, steps=200, keep=npo.KEEP, until=dict(score="ex", target=0.2, every=4), **SIZES)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "Minimal unlearning"
  config.method = ConfigDict(dict(npo=dict(name="forget.npo", **STEPS), graddiff=dict(name="forget.graddiff", **STEPS)))
  if arg == "small":
    both = dict(npo=audit_tiny.METHODS["early"], graddiff=audit_tiny.METHODS["early-gdr"])
    config.method = ConfigDict({name: method | RECORDED for name, method in both.items()})
  del config.sweep  # two methods in one table
  return released(audit_tiny.placed(config, arg), arg)
