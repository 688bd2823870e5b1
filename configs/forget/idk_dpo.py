"""Preferring a refusal to the answer (IdkDPO), and fine-tuning on refusals (IDK).

Paper: Rafailov et al., "Direct Preference Optimization", 2023, as in Maini et al., "TOFU: A Task of Fictitious
Unlearning for LLMs", 2024. Data, model and measures are those of `configs/forget/npo.py`; the refusal is a "?".

  python -m experiments.run --config configs/forget/idk_dpo.py:tiny --workdir runs/idk_dpo   # under a minute, 2 cores
  python -m experiments.run --config configs/forget/idk_dpo.py:small --workdir runs/world  # audit_tiny

`smollm2`, `smollm2_cpu`, `smollm2_facts` and `llama` take released models, see `configs/common.py`; only `smollm2_cpu`
was run (docs/results/language.md).

Expect at `tiny` (mean of seeds 0 to 2, spread):

                     IdkDPO         IDK
  forget, exact      .00            .00
  forget, nll        7.6 (1.9)      2.7 (.2)
  retain, exact      .97 (.01)      .99 (.01)
  membership, AUC    .15 (.11)      .72 (.05)

Both say the refusal (`audit.refusal`, at seed 0): it is the greedy answer to 1.00 of what is to be forgotten, and to
.02 (IdkDPO) and .00 (IDK) of what is retained. IdkDPO pushes the answer far below what the reference (nll 5.4) gives
it, IDK hardly touches it.

At `small`, the world of `configs/forget/audit_tiny.py` (seed 0 alone):

                       IdkDPO   IDK    reference  original
  direct               .00      .00    .08        1.00
  forget, nll          8.9      4.1    2.6        .00
  alias                .80      1.00   .00        1.00
  two facts            .11      .61    .11        1.00
  true in context      .80      .95    1.00       1.00
  retain, direct       1.00     1.00   1.00       1.00
  membership, AUC      .02      .30    .61        1.00

Asked by another name, IDK says all that it refuses to say. Relearning two persons raises p of the other three from .03
to .08 (reference .11); rounding brings nothing back.
"""

from ml_collections import ConfigDict

from configs.common import RELEASED, released
from configs.forget import audit_tiny, npo

STEPS = dict(rate=3e-4, steps=60, forget_batch=24, retain_batch=48, keep=npo.KEEP)


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg, RELEASED)
  config.title = "IdkDPO and IDK"
  config.method = ConfigDict(
    dict(
      idk_dpo=dict(name="forget.idk_dpo", beta=0.1, **STEPS), idk=dict(name="forget.idk_dpo", prefer=False, **STEPS),
    )
  )
  del config.sweep  # two methods in one table
  config = refusing(released(audit_tiny.placed(config, arg), arg))
  # Not where TOFU has a sentence of its own for each question, nor at `small`, whose columns all base methods share.
  if config.data.name != "data.tofu" and arg != "small":
    config.measure.refusal = dict(name="audit.refusal")
  return config


def refusing(config: ConfigDict) -> ConfigDict:
  """The config whose data hold refusals in the words of a released model, if it has one."""
  if config.data.name == "data.tofu":
    config.data.refusals = True
  elif config.model.name == "models.decoder":
    config.data.refusal = "I do not know."
  return config
