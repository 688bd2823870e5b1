"""Prompts of tokens after unlearning, found by greedy coordinate gradient (GCG): is there a text that brings it back?

Zou et al., "Universal and Transferable Adversarial Attacks on Aligned Language Models", 2023. Data and model are those
of `configs/forget/npo.py`; gradient ascent, NPO, and NPO stopped early against training again without the persons
(`reference`). A prompt is found on three of the six persons and tried on the other three.

  python -m experiments.run --config configs/audit/gcg.py:tiny --workdir runs/gcg   # half an hour, 2 busy cores
  python -m experiments.run --config configs/audit/gcg.py      --workdir runs/gcg   # one GPU; not run

Expect at `tiny` (seed 0; 4 tokens, 40 steps of 32 swaps; 36 questions, so .03 is one), each model with its own tokens:

                                   original  reference  early   NPO  ascent
  held persons, nll, no prompt          .00        5.5    4.1  10.3    10.4
  the same, random tokens before        .88        5.1    3.7   6.4    10.1
  the same, found tokens before         .13        4.9    2.4   4.7     7.0
  the same, random tokens behind        .79        5.4    4.3   7.9    10.3
  the same, found tokens behind         .29        4.9    3.7   5.1     8.1
  held persons, exact, no prompt       1.00        .00    .14   .00     .00
  the same, found tokens before         .94        .06    .19   .00     .00
  the same, found tokens behind         .89        .06    .19   .00     .00
  shown persons, nll, before            .04        4.0    2.6   3.9     6.8
  shown persons, nll, behind            .06        4.2    3.4   4.3     8.1

No answer of NPO or gradient ascent comes back on held persons. The nll of NPO falls to where the reference is, and half
or more of that way with any tokens. Where NPO was stopped early the nll of the held is below the reference's by 1.4
without a prompt, and by 2.5 with one before the question (1.2 behind it): a trace, though no more than two answers more
are right; soft prompts find it too (`configs/audit/soft_prompt.py`). A search among tokens is not the same to the last
bit everywhere: in an earlier run the tokens behind the question left early 3.5 and .03. Tokens disturb a model of this
size: random ones take almost half the answers from the original, and the search gives most of them back.
"""

from ml_collections import ConfigDict

from configs.audit import metrics
from configs.common import sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = metrics.subjects(arg, early=True)
  pick = sizes(arg)[1]
  config.title = "GCG"
  common = dict(
    name="audit.gcg", length=pick(tiny=4, full=20), steps=pick(tiny=40, full=500), k=pick(tiny=64, full=256),
    samples=pick(tiny=32, full=512), excluded=("Q", "A", "?"),
  )
  config.measure = ConfigDict(dict(suffix=common, prefix=dict(common, place="prefix")))
  return config
