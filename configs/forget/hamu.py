"""HAMU: forgetting a set amount a step with the least harm, on forget sets of chosen hardness.

Paper: "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning", ICML 2026. Digit 0 of a network that is still
learning, a share rho of its pictures swapped for random others: the more, the harder.

  python -m experiments.run --config configs/forget/hamu.py:tiny  --workdir runs/hamu  # half a minute
  python -m experiments.run --config configs/forget/hamu.py:small --workdir runs/hamu  # half a minute, 3 seeds
  python -m experiments.run --config configs/forget/hamu.py       --workdir runs/hamu --config.data.path=DIR
  python -m benchmarks.hamu                                        # what hardness does: 3 seeds, 2 minutes

Another hardness: --config.select.share=0.5. At `small` expect (rho .25; nll, means of 3 seeds, spread up to .2, for
hamu_q .4, for ga 1.3; `tiny`, one seed and half the steps, takes hamu_q to 2.6 and gdiff to 2.4):

           original   ft   hamu_q  hamu_u  gdiff  pcgrad  pcgrad, released  gru   gru, released   ga
  forget     1.06   1.21    5.04    1.79    3.95   4.30         3.90        7.71       11.2      11.3
  retain     1.14    .81    1.00     .95    1.02    .95         1.02        1.14       2.69      2.64

Of `benchmarks.hamu` (seeds 0 / 1 / 2; train accuracy .78 / .82 / .82 before; gains in nats, forget up and retain down;
gradient difference over as many steps as hamu_q took; ascent and fine-tuning at rate 5e-2 for 50):

  rho                        0                     .25                     .5                     .75
  kappa, first step    -.30 / -.43 / -.38    -.14 / -.29 / -.19     .08 / -.08 / -.01     .37 / .24 / .27
  steps until it stops  60 /  60 /  60        60 /  60 /  60         52 /  37 /  39        0 /   3 /   4
  hamu_q       forget   4.6 / 5.1 / 5.5       3.5 / 3.9 / 4.2        1.9 / 1.4 / 1.7       0 / .04 / .07
               retain   .31 / .26 / .31       .18 / .14 / .17        .06 / .05 / .06       0 / .001 / .003
  difference   forget   4.5 / 5.1 / 5.2       2.7 / 2.9 / 2.9        1.1 / .83 / .89       0 / .03 / .04
               retain   .26 / .24 / .26       .15 / .12 / .13        .06 / .04 / .05       0 / .002 / .003
  times        forget  1.03 / 1.00 / 1.07    1.31 / 1.36 / 1.47     1.73 / 1.73 / 1.93     - / 1.39 / 1.50
               retain  1.17 / 1.10 / 1.18    1.22 / 1.16 / 1.25     1.12 / 1.10 / 1.19     - / .36 / .77
  fine-tuning  forget   2.0 / 1.9 / 2.3      -.12 / -.03 / -.19     -.56 / -.38 / -.61    -.61 / -.49 / -.63
  ascent       retain  -7.2 / -10 / -17      -9.4 / -13 / -21        -16 / -22 / -25       -27 / -28 / -29

What holds on these seeds: kappa follows the hardness (correlation .992 / .985 / .995), the quota is met to four
digits, the gain is linear in q (R^2 above .999 at rho .5), from rho .5 on the run stops sooner the harder the set, at
rho .25 and .5 it forgets 1.3 to 1.9 times as much as gradient difference and keeps more, and nothing kept is harmed
with the stop, while without it retain falls to -.09 / -.21 / -.31 (rho .5, rate 5e-2, 50 steps). Fine-tuning lowers the
forget loss at rho .25 and above; at rate 2e-2 for 60 steps it does not at rho .25 (+.14 / .20 / .13, `ft` above).

Init and steps of the network were chosen with these seeds in sight; how, and what seeds 3 to 5 say, is in
docs/results/forget_vision.md.

`gru` with the released sign harms what is kept, with the right one hardly (-.007 at worst).

At `small` (rho .25, up to 60 full-batch steps, three seeds) the fifth of accuracy that is left on the forget set is the
swapped quarter, which the retained pictures teach. The full size was not run. `kl` and `scrub` are gradient difference
of other losses (`forget/compromise`), with the rate of all and the authors' .99 and .001: `kl` ends worse on what is
kept than it began, `scrub` does not, and forgets less than gradient difference.

                   forget nll  retain nll  forget  retain
  original               1.06        1.14     .90     .81
  ft                     1.21         .81     .77     .87
  ga                    11.26        2.64     .07     .31
  gdiff                  3.95        1.02     .20     .82
  kl                     3.32        1.19     .19     .76
  scrub                  3.25        1.00     .21     .83
  gru                    7.71        1.14     .20     .82
  pcgrad                 4.30         .95     .22     .84
  hamu_q                 5.04        1.00     .20     .83
  hamu_u                 1.79         .95     .40     .84
  gru, released sign    11.24        2.69     .07     .28
  pcgrad, released       3.90        1.02     .20     .82
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
    config.model = dict(name="models.mlp", widths=(64, 32), init="he_throughout")
    config.train = dict(name="train.supervised", steps=66, batch_size=64, rate=1e-3)  # stopped early, on purpose
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
    config.method.kl = dict(plain, rule="difference", retain="kl")
    config.method.scrub = dict(plain, rule="difference", retain="both", forget="kl", gamma=0.99, alpha=0.001)
    for name in ("gru", "pcgrad"):
      config.method[f"{name}_released"] = dict(plain, rule=name, released_sign=True)
  config.measure = dict(name="audit.utility", sets=("forget", "retain", "test"))
  return config
