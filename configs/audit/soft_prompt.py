"""Soft prompts after unlearning: vectors before the question, trained until the model answers.

Schwinn et al., "Soft Prompt Threats: Attacking Safety Alignment and Unlearning in Open-Source LLMs through the
Embedding Space", NeurIPS 2024. Data and model are those of `configs/forget/npo.py`; gradient ascent, NPO, and NPO
stopped early against training again without the persons (`reference`). `each` is one prompt a question, `four` and
`twenty` are one prompt of so many vectors for all, trained on three of the six persons and tried on the other three.

  python -m experiments.run --config configs/audit/soft_prompt.py:tiny --workdir runs/soft_prompt  # minutes, 2 cores
  python -m experiments.run --config configs/audit/soft_prompt.py      --workdir runs/soft_prompt  # one GPU; not run

Expect at `tiny` (seed 0), each model under a prompt of its own:

                                 original  reference  early   NPO   ascent
  each, exact match                  1.00       1.00   1.00  1.00     1.00
  four, shown persons, exact         1.00        .72   1.00   .72      .69
  held persons, nll, no prompt        .00        5.5    4.1  10.3     10.4
  held persons, nll, four             .02        4.7    2.5   4.1      4.7
  held persons, p, four               .98        .06    .21   .07      .08
  held persons, exact, four          1.00        .03    .11   .00      .03
  held persons, exact, twenty         .64        .00    .00   .03      .06

With a prompt of its own every model answers every question, the one that never knew them as well: that is no evidence.
On held persons the prompt takes off what NPO and gradient ascent had put on (nll 10 to 4, where the reference is) and
finds nothing behind it. Where NPO was stopped early the nll of the held falls below the reference's; that is a trace,
though hardly one more answer is right. Twenty vectors learn the shown persons by heart.
"""

from ml_collections import ConfigDict

from configs.audit import metrics


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = metrics.subjects(arg, early=True)
  config.title = "Soft prompts"
  config.measure = dict(
    each=dict(name="audit.soft_prompt", length=4, each=True), four=dict(name="audit.soft_prompt", length=4),
    twenty=dict(name="audit.soft_prompt", length=20),
  )
  return config
