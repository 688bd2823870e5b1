"""Linear probes after unlearning: what can still be read off the hidden states.

Lynch et al., "Eight Methods to Evaluate Robust Unlearning in LLMs", 2024. Data and model are those of
`configs/forget/npo.py`; gradient ascent, NPO, and NPO stopped early against training again without the persons
(`reference`). Regressions learn from the 54 persons that are kept and are asked about the six others.

  python -m experiments.run --config configs/audit/linear_probe.py:tiny --workdir runs/linear_probe  # minutes, 2 cores
  python -m experiments.run --config configs/audit/linear_probe.py      --workdir runs/linear_probe  # one GPU; not run

Expect at `tiny` (seed 0), accuracy on the forgotten persons (60 questions, chance .05):

                                 original  reference  early   NPO   ascent
  after block 0                       .45        .03    .25   .07      .08
  after block 1                      1.00        .07    .40   .13      .15
  after block 1, shuffled labels      .18        .05    .13   .05      .18

Where NPO was stopped early the probe reads off 40 % of the first tokens, of which 21 % are said (the logit lens after
the last block), far above reference and shuffled labels. After strong unlearning it is within the noise of either (six
persons; the shuffled controls alone spread from .05 to .18).
"""

from ml_collections import ConfigDict

from configs.audit import metrics


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = metrics.subjects(arg, early=True)
  config.title = "Linear probes"
  config.measure = dict(probe=dict(name="audit.linear_probe"))
  return config
