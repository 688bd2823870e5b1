"""HAMU: forgetting a set amount a step with the least harm, on forget sets of chosen hardness.

Paper: "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning", ICML 2026. Digit 0 of a network that is still
learning, a share rho of its pictures swapped for random others: the more, the harder.

  python -m experiments.run --config configs/forget/hamu.py:tiny  --workdir runs/hamu
  python -m experiments.run --config configs/forget/hamu.py:small --workdir runs/hamu
  python -m experiments.run --config configs/forget/hamu.py       --workdir runs/hamu --config.data.path=DIR

Seen at `small` (rho .25, up to 60 full-batch steps, three seeds; nll and accuracy of what is forgotten and retained):

                   forget nll  retain nll  forget  retain
  original                .79         .99     .93     .86
  ft                      .97         .72     .89     .88
  ga                    11.05        2.32     .09     .37
  gdiff                  3.82         .91     .22     .85
  gru                    7.38         .99     .22     .85
  pcgrad                 3.98         .84     .22     .86
  hamu_q                 3.68         .92     .22     .84
  hamu_u                 1.15         .91     .83     .87
  gru, released sign    10.90        2.37     .10     .37
  pcgrad, released       3.72         .91     .21     .85

`hamu_q` raises the forget loss by 2.9 and lowers the retain loss by .07, and stops where harm becomes unavoidable.
Difference of gradients and PCGrad, which take all their steps, come as far; a fifth of accuracy on the forget set is
what its swapped quarter has from the pictures that are retained. `python -m benchmarks.hamu` (three seeds): kappa of
the first step against rho correlates by .991 to .995; every step raises the forget loss by its quota, to first order,
with nothing to spare; the gain grows straight with q (R^2 .998 and more); it stops after 60, 37 to 60, 6 to 26, and no
or one step at rho 0, .25, .5, .75. At as many steps it forgets 1.17 to 1.25 times as much as the difference of
gradients at rho .25 (1.03 to 1.36 at .5) for .6 to .95 of its gain on what is retained. Without the stop, at rate 5e-2
and rho .5, it ruins the retained (-.2 to -.4); plain ascent far more (-7 to -28).
"""

from ml_collections import ConfigDict

from configs.common import sizes

PLAIN = {"ft": "retain", "ga": "ascent", "gdiff": "difference", "gru": "gru", "pcgrad": "pcgrad"}


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`."""
  size, pick = sizes(arg)
  config = ConfigDict()
  config.title = f"Hardness-aware unlearning ({size})"
  config.seeds = pick(tiny=(0,), small=(0, 1, 2), full=(0,))
  if size == "full":
    config.data = dict(name="data.tfds", source="cifar10", path="")
    config.model = dict(name="models.resnet", depth=20, stem="cifar")
    config.train = dict(name="train.supervised", steps=500, batch_size=5000, rate=1e-3)
  else:
    config.data = dict(name="data.embedded", source="digits", train=1297, test=500)
    config.model = dict(name="models.mlp", widths=(64, 32))
    config.train = dict(name="train.supervised", steps=80, batch_size=64, rate=1e-3)  # stopped early, on purpose
  config.select = dict(name="data.swap", classes=(0,), share=0.25)
  steps = dict(rate=pick(tiny=2e-2, full=1e-4), steps=pick(tiny=30, small=60, full=225))
  whole = dict(forget_batch=5000, retain_batch=5000)
  ours = dict(name="forget.hamu", q=0.5, **steps, **whole)
  plain = dict(name="forget.compromise", **steps, **whole)
  config.method = dict(hamu_q=ours, hamu_u=dict(ours, variant="u"))
  for name, rule in PLAIN.items():
    if size != "tiny" or name in ("ga", "gdiff"):
      config.method[name] = dict(plain, rule=rule)
  if size != "tiny":
    for name in ("gru", "pcgrad"):
      config.method[f"{name}_released"] = dict(plain, rule=name, released_sign=True)
  config.measure = dict(name="audit.utility", sets=("forget", "retain", "test"))
  return config
