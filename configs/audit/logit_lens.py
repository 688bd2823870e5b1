"""The logit lens after unlearning: what would be said after each block.

Patil, Hase and Bansal, "Can Sensitive Information Be Deleted From LLMs?", ICLR 2024. Data and model are those of
`configs/forget/npo.py`; gradient ascent, NPO, and NPO stopped early against training again without the persons
(`reference`).

  python -m experiments.run --config configs/audit/logit_lens.py:tiny --workdir runs/logit_lens  # minutes, 2 cores
  python -m experiments.run --config configs/audit/logit_lens.py      --workdir runs/logit_lens  # one GPU; not run

Expect at `tiny` (seed 0), the first token of the answer, on the forgotten persons:

                                 original  reference  early   NPO   ascent
  after block 0, ranked first         .76        .08    .32   .07      .04
  after block 1 (said)               1.00        .06    .21   .00      .00
  after block 0, log p               -1.2       -5.4   -3.2  -6.2     -5.8
  after block 1, log p                .00       -7.0   -6.8 -17.0    -16.3
  leak                               1.00        .08    .32   .07      .06

Where NPO was stopped early, more answers stand first after the first block than are said at the end: they are held back
there, not forgotten. After strong unlearning the lens sees as little as in the reference; the last block, whose log p
is ten nats below the reference's, shows that the answer is not unknown but forbidden.
"""

from ml_collections import ConfigDict

from configs.audit import metrics


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = metrics.subjects(arg, early=True)
  config.title = "Logit lens"
  config.measure = dict(lens=dict(name="audit.logit_lens", sites=("residual", "mlp_out", "attention")))
  return config
