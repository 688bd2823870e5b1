"""Your own files: what a model is to forget and what it is asked then, in the forms of MUSE, WMDP, MMLU and RWKU.

Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models", 2024 (VerbMem, KnowMem, PrivLeak); Li et
al., "The WMDP Benchmark", 2024 (multiple choice). A model learns the texts of `forget` and `retain`, NPO makes it
forget the former, and `reference` never saw them. It is asked questions (`qa`), to choose (`choice`), and to continue
passages (`verbatim`). The forms of the files are in `ue_jax/data/records.py`: one JSON object a line, or one list.

  python -m experiments.run --config configs/audit/questions.py:tiny --workdir runs/questions \\
    --config.data.forget=FILE --config.data.retain=FILE --config.data.holdout=FILE \\
    --config.data.asked.qa.forget=FILE --config.data.asked.qa.retain=FILE \\
    --config.data.asked.choice.forget=FILE --config.data.asked.choice.retain=FILE \\
    --config.data.asked.verbatim.forget=FILE
  python -m experiments.run --config configs/audit/questions.py --config.model.path=DIR ...   # one GPU; not run

`tiny` and `small` train a network from nothing on the words of the files, full takes the decoder in the folder DIR, in
bfloat16, by adapters alone, with the lengths of MUSE. `--config.data.form=qa` trains on questions instead of plain
text. Examples before the questions, as MUSE has them: `--config.data.asked.qa.forget_shots=FILE`, and `retain_shots`.
A file that you do not have: take its set out of the measure, `--config.measure.choice.sets="()"`; without `holdout`,
`--config.measure.muse.members= --config.measure.muse.nonmembers=`.

Expect at `tiny`, with the eight small files that `tests/experiments/questions_test.py` writes (seed 0):

                                 original  reference    NPO
  forget, choice, accuracy           1.00        .50    .00
  forget, VerbMem                     .91        .73    .18
  forget, KnowMem                     .86        .64    .29
  retain, choice, accuracy           1.00       1.00    .25
  retain, KnowMem                     .86        .86    .39
  PrivLeak                           -100          0     40

Sixteen people are too few to keep the one half and lose the other: it shows that everything works, and no more. Plain
text has no end, so that no answer ends: KnowMem of the right answer and one word more is .86.
"""

from ml_collections import ConfigDict

from configs.common import sizes

ASKED = dict(forget="", retain="", forget_shots="", retain_shots="")


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg)
  config = ConfigDict()
  config.title = "Questions of your own"
  config.seed = 0
  config.data = dict(
    name="data.questions", forget="", retain="", holdout="", form="passage", length=pick(tiny=64, full=2048),
    asked=dict(
      qa=dict(form="qa", **ASKED), choice=dict(form="choice", **ASKED),
      verbatim=dict(form="continuation", forget="", retain=""),
    ),
  )  # fmt: skip
  config.model = dict(name="models.transformer", width=pick(tiny=64, small=128), depth=pick(tiny=2, small=3), heads=4,
                      hidden=pick(tiny=128, small=344))  # fmt: skip
  config.train = dict(name="train.language", steps=pick(tiny=200, small=600), batch_size=16, rate=2e-3, warmup=20)
  config.method = dict(name="forget.npo", beta=0.1, rate=3e-4, steps=60, forget_batch=8, retain_batch=8)
  if size == "full":
    config.model = dict(name="models.decoder", path="", dtype="bfloat16", remat=True, scan=True)
    config.train.update(rate=2e-4, lora=dict(rank=32, alpha=64.0))
    config.method.update(rate=1e-4, steps=250, lora=dict(rank=8, alpha=16.0))
  config.reference = dict(name="forget.retrain")
  config.measure = dict(
    utility=dict(name="audit.utility", sets=("forget", "retain")),
    choice=dict(name="audit.choice", sets=("forget_choice", "retain_choice"), letters=("A", "B", "C", "D")),
    muse=dict(
      name="audit.muse", verbatim=("forget_verbatim",), knowledge=("forget_qa", "retain_qa"), members="forget",
      nonmembers="holdout", new=pick(tiny=(0, 0), full=(128, 32)),
    ),
  )  # fmt: skip
  return config
