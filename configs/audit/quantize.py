"""Rounding after unlearning: does storing the weights in 8 or 4 bits bring back what was forgotten?

Paper: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization", 2024. Data and model are those of
`configs/forget/npo.py`; persons are forgotten by NPO at the usual rate, and by half as many steps at a third of it
(`gentle`). `nothing` is the model with no step at all: what rounding alone does.

  python -m experiments.run --config configs/audit/quantize.py:tiny  --workdir runs/quantize  # 2 minutes, 2 busy cores
  python -m experiments.run --config configs/audit/quantize.py:small --workdir runs/quantize  # NF4 and 3 bits, too
  python -m experiments.run --config configs/audit/quantize.py       --workdir runs/quantize  # one GPU, 3 seeds

Expect at `tiny` (seed 0; the other sizes were not run):

  exact match            float32    int8    int4    FP4
    forget    nothing       1.00    1.00    1.00   1.00
              gentle         .58     .58     .58    .57
              npo            .00     .00     .00    .00
    retain    nothing       1.00    1.00    1.00   1.00
              gentle         .97     .97     .93    .95
              npo            .92     .92     .89    .90

So rounding does NOT bring back what this model forgot, not even after few small steps: its weights are spread over
their cells, and a small shift of all of them changes the right share of codes. It does where weights lie on the grid
already, as those of a model that was released in 4 bits: `tests/audit/quantize_test.py` forgets inside the cells, and
rounding gives all of it back.
"""

from ml_collections import ConfigDict

from configs.forget import npo


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  config = npo.kgtiny(arg)
  config.title = "Rounding"
  usual = config.method.to_dict()
  config.method = ConfigDict(dict(
    npo=usual, gentle=dict(usual, rate=1e-4, steps=30), nothing=dict(usual, steps=0),
  ))
  attack = lambda kind, bits, per: dict(name="audit.quantize", kind=kind, bits=bits, per=per, group=64)
  config.attack = ConfigDict({
    "int8": attack("absmax", 8, "channel"), "int4": attack("absmax", 4, "channel"), "fp4": attack("fp4", 4, "group"),
  })
  if arg != "tiny":
    config.attack["nf4"] = attack("nf4", 4, "group")
    config.attack["int3"] = attack("absmax", 3, "channel")
  config.measure = dict(utility=dict(name="audit.utility"))
  if "reference" in config:
    del config.reference
  return config
