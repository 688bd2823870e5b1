"""The usual panel of unlearning metrics, side by side: TOFU's, MUSE's, membership attacks, memorisation, perplexity.

Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024; Shi et al., "MUSE: Machine Unlearning Six-Way
Evaluation for Language Models", 2024. Data and model are those of `configs/forget/npo.py`, with four wrong answers a
question; gradient ascent and NPO against training again without the persons (`reference`).

  python -m experiments.run --config configs/audit/metrics.py:tiny --workdir runs/metrics   # minutes on 2 cores

Expect at `tiny` (seed 0):

                                    original  reference  gradient ascent    NPO
  forget, truth ratio                   .005        .32              .55    .27
  forget, quality (KS p-value)         1e-42       1.00             .001   3e-4
  the same in other words              5e-21       1.00              .21    .02
  model utility                          .99        .99              .00    .95
  forget, KnowMem                       1.00        .05              .00    .00
  PrivLeak                              -100          0               33     99
  Min-K% (40 %), AUC                    1.00        .53              .37    .06

Gradient ascent ruins the model and has the better forget quality: never read it without utility beside it. NPO has the
better utility and goes far beyond ignorance, which PrivLeak and the AUC show.
"""

from ml_collections import ConfigDict

from configs.forget import npo

ATTACKS = ("loss", "zlib", "reference", "min_k", "min_k_pp", "gradnorm")


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = subjects(arg)
  config.title = "Unlearning metrics"
  config.data.alternatives = 4
  config.measure = ConfigDict(dict(
    truth=dict(name="audit.truth", sets=("forget", "forget_paraphrase", "retain", "world")),
    utility=dict(name="audit.model_utility", plain=("retain",), normalised=("world",)),
    muse=dict(name="audit.muse"),
    membership=dict(name="audit.membership", attacks=ATTACKS, fpr=0.01),
    memorize=dict(name="audit.memorize", sets=("forget", "retain")),
    perplexity=dict(name="audit.perplexity", sets=("forget", "retain")),
  ))  # fmt: skip
  return config


def subjects(arg: str = "", early: bool = False) -> ConfigDict:
  """Who is audited: the original, the reference, NPO and gradient ascent; `measure` is left to the caller.

  Args:
    arg: the size.
    early: also NPO stopped early (`early`), where most of what an audit can find is still there.
  """
  config = npo.kgtiny(arg)
  few = dict(early=dict(config.method.to_dict(), rate=1e-4, steps=50)) if early else {}
  config.method = ConfigDict(dict(
    npo=config.method, gradient_ascent=dict(name="forget.gradient_ascent", rate=3e-4, steps=30, forget_batch=24), **few,
  ))  # fmt: skip
  config.reference = ConfigDict(dict(name="forget.retrain", keep=npo.KEEP))
  for name in ("attack", "sweep"):
    if name in config:
      del config[name]
  return config
