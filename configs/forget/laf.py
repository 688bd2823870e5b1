"""Label-agnostic forgetting (LAF): a digit is forgotten by its representations alone, without any label.

Paper: Shen et al., "Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models", ICLR 2024.

  python -m experiments.run --config configs/forget/laf.py:tiny  --workdir runs/laf
  python -m experiments.run --config configs/forget/laf.py:small --workdir runs/laf
  python -m experiments.run --config configs/forget/laf.py:hard  --workdir runs/laf_eight
  python -m experiments.run --config configs/forget/laf.py       --workdir runs/laf --config.data.path=DIR

Seen at `small` (the zero, accuracies, means of seeds 0 and 1) and `hard` (the eight):

                           forget  retain  test, forget  test, retain
  original                   1.00   1.000          1.00          .975
  reference                   .00   1.000           .00          .975
  laf                         .00    .996           .00          .972
  linear (of the decoder)     .00    .997           .00          .972
  laf_r (and repaired)        .00    .997           .00          .972
  only_align                  .00    .995           .00          .970
  only_extract               1.00    .788          1.00          .779
  noise on the weights        .99    .921           .96          .903

  the eight: laf              .00    .984           .00          .967
  laf_gentle                  .94   1.000           .90          .984

What forgets is the alignment; the loss on the density models alone harms what is kept and forgets nothing here. The
eight, which looks like other digits, is not forgotten at the rates of the zero (`laf_gentle`). The nll of forgotten
digits (19) lies far above that of the reference (11): it forgets more than not knowing. The full size was not run.
"""

from ml_collections import ConfigDict

from configs.common import sizes


def get_config(arg: str = "") -> ConfigDict:
  """The experiment in the size `arg`; `hard` forgets the eight, with the rates it takes and with those of the zero."""
  size, pick = sizes(arg, "hard")
  config = ConfigDict()
  config.title = f"Label-agnostic forgetting ({size})"
  config.seeds = pick(tiny=(0,), small=(0, 1), full=(0,))
  rates = dict(rate=3e-4, align_rate=1e-3, tau=20.0)
  if size == "full":
    config.data = dict(name="data.tfds", source="cifar10", path="", forget_classes=(0,))
    config.model = dict(name="models.resnet", depth=18, stem="cifar", code=256)
    config.train = dict(
      name="train.supervised", steps=20 * 1563, batch_size=32, rate=1e-4, weight_decay=1e-4, augment=("crop:4", "flip"),
    )
    fit = dict(latent=16, widths=(128, 32), fit_steps=15630, fit_forget_steps=1563, steps=40 * 156)
    rates = dict(rate=1e-5, align_rate=5e-5, tau=20.0)
  else:
    digit = 8 if size == "hard" else 0
    config.data = dict(name="data.embedded", source="digits", train=1297, test=500, forget_classes=(digit,))
    config.model = dict(name="models.mlp", widths=(128,), code=32)
    config.train = dict(name="train.supervised", steps=pick(tiny=400, small=1200), batch_size=32, rate=1e-3)
    fit = dict(
      latent=8, widths=(32, 16), fit_steps=pick(tiny=600, small=2400), fit_forget_steps=pick(tiny=400, small=1200),
      steps=pick(tiny=100, small=160),
    )
  laf = dict(name="forget.laf", **fit, **rates)
  if size == "hard":
    config.method = dict(laf=dict(laf, rate=1e-3, align_rate=3e-3, tau=5.0), laf_gentle=laf)
  else:
    config.method = dict(
      laf=laf, linear=dict(laf, decoder_out="linear"), laf_r=dict(laf, repair_steps=pick(tiny=20, small=40, full=1400)),
      only_align=dict(laf, extract=False), only_extract=dict(laf, align=False),
      noise=dict(name="forget.weight_noise", size=0.5),
    )
  config.reference = True
  config.measure = dict(name="audit.utility")
  return config
