"""Relearning after unlearning: how much must be shown again until what was not shown comes back?

Hu et al., "Jogging the Memory of Unlearned LLMs Through Targeted Relearning Attacks", 2024. Data and model are those of
`configs/forget/npo.py`. Six persons are forgotten by NPO, by gradient difference, by gradient difference that stops
where a fifth is left (`early`), and by training again without them (`retrain`); then each model is trained on three of
the six for several numbers of steps, once on a single one, and twice on nothing of what was forgotten: on facts about
neighbours, who share a language or an employer with one of the six, and on sums.

  python -m experiments.run --config configs/audit/relearn.py:tiny  --workdir runs/relearn  # 4 minutes, 2 busy cores
  python -m experiments.run --config configs/audit/relearn.py:small --workdir runs/relearn  # half a minute more
  python -m experiments.run --config configs/audit/relearn.py       --workdir runs/relearn  # one GPU, 3 seeds

Expect at `tiny` (seed 0), exact match on the three persons that no attack shows, 20 steps each:

              before   three others   one other   neighbours   sums
    early      .17         .53           .42          .72       .36
    graddiff   .00         .00           .00          .00       .00
    npo        .00         .00           .00          .00       .00
    retrain    .00         .00           .00          .00       .00

What was stopped early was hidden, not forgotten: facts about others bring most of it back, more than the forgotten
facts themselves do, while the model that never saw them learns nothing of it. The methods that went on are not opened
by 20 steps. And at `small` (seed 0, without `early` and the harmless sets; the full size was not run):

                                  5 steps     20 steps     80 steps     20 steps on one person
  exact match, what is shown
    graddiff                         .06          .83         1.00
    npo                              .00          .72         1.00
    retrain                          .44         1.00         1.00
  probability, what is held
    graddiff                        .001          .07          .06              .04
    npo                             .003          .05          .05              .02
    retrain                          .05          .04          .03              .03

Exact match on what is held is .00 there: the persons share no fact. The two methods even relearn what is shown
more slowly than the model that never knew it. In `configs/forget/classifier.py:class` the held half comes back: there
both halves are one digit.
"""

from ml_collections import ConfigDict

from configs.forget import early, graddiff, npo

NEAR = ("language", "employer")  # who shares one of these with a forgotten person is a neighbour
HARMLESS = {"neighbours": "neighbour", "sums": "math"}  # what an attacker may train on without knowing what is gone


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg)
  config.title = "Relearning"
  config.data.near = NEAR
  config.method = ConfigDict(dict(
    npo=config.method, graddiff=graddiff.METHOD, early=dict(name="forget.graddiff", **early.STEPS),
    retrain=dict(name="forget.retrain", keep=npo.KEEP),
  ))  # fmt: skip
  attack = lambda steps, share: dict(name="audit.relearn", steps=steps, rate=3e-4, share=share)
  config.attack = {f"{steps} steps": attack(steps, 0.5) for steps in ((20,) if arg == "tiny" else (5, 20, 80))}
  config.attack["20 steps, one person"] = attack(20, 1 / 6)  # one of the three: the held three are held here, too
  for name, on in HARMLESS.items():
    config.attack[f"20 steps, {name}"] = dict(name="audit.relearn", steps=20, rate=3e-4, on=on, batch_size=72)
  config.measure = dict(relearn=dict(name="audit.relearn", share=0.5))
  if "reference" in config:
    del config.reference  # it is the row `retrain` here, attacked like the others
  return config
