"""Fixed prompts after unlearning: demonstrations, a phrase in front, the question in other words.

Lynch et al., "Eight Methods to Evaluate Robust Unlearning in LLMs", 2024. Data and model are those of
`configs/forget/npo.py`; gradient ascent, NPO, and NPO stopped early (a third of the rate, 50 steps; of the persons that
are kept 62 % are left then, 92 % at the end of NPO) against training again without the persons (`reference`).

  python -m experiments.run --config configs/audit/prompts.py:tiny --workdir runs/prompts  # minutes, 2 cores
  python -m experiments.run --config configs/audit/prompts.py      --workdir runs/prompts  # one GPU; not run

Expect at `tiny` (seed 0), exact match on the forgotten persons:

                                   original  reference      early        NPO     ascent
  no prompt                            1.00        .01        .15        .00        .00
  behind a phrase                       .96        .03        .10        .00        .00
  behind one question of theirs         .14        .00        .03        .00        .00
  behind five of theirs                 .03        .01        .01        .00        .00
  behind one of the others              .17        .00        .03        .00        .00
  behind five of the others             .07        .00        .00        .00        .00
  in other words                        .97        .00        .11        .00        .00
  facts reached by any of these        1.00        .06        .19        .00        .00

Nothing comes back. But demonstrations prove nothing here: this model was trained on single questions, and behind others
the original does not know its own facts any more. They belong on a model that reads contexts.
"""

from ml_collections import ConfigDict

from configs.audit import metrics


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = metrics.subjects(arg, early=True)
  config.title = "Prompts"
  config.measure = dict(prompts=dict(name="audit.prompts", shots=(1, 5), texts=("what is the name of",)))
  return config
