"""Picture unlearning on 8x8 digits: the time of every method, LiRA's shadow models, a grid of settings.

    python -m benchmarks.forget [--small] [--repeats 2] [--only methods|lira|grid] [--methods NAME,NAME]
    python -m benchmarks.forget --weights FILE --path TFDS_DIR   # the time of methods on CIFAR-10, ResNet-20

The bed is that of `configs/forget/baselines.py:small`, so what was trained knows noisy labels by heart and a tenth of
it is to be forgotten; the methods are those of the table of `configs/forget/vision_grid.py:small` for a tenth. With
weights of a ResNet-20, bed and methods are those of `vision_grid.py:cifar`, and of the others, which have no settings
there, as many steps as those take (`further`): their time, not how well they forget. Compared:

- every method's unlearning call, `init` and `finish` included: the first call (which compiles), the least of the later
  ones (RTE), that over training again, and how many samples its steps see;
- 32 shadow models on random halves as one program (`parallel.many`) against `train.loop.fit` for one after another,
  which share one compiled step: what LiRA costs before it can say anything;
- four alpha and four rates of NegGrad+ as one program (`parallel.sweep`, mode `vmap`, 20 steps a call), against one
  setting after another (mode `loop`) through one compiled step and through 20 of them in a call, and against sixteen
  fits, each of which compiles its own.

No compilation is kept on disk. `--small` takes a few steps of everything, to see that it runs.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.sweep import measure
from configs.forget import vision_grid
from ue_jax.audit import shadows
from ue_jax.core.build import build, find
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.forget import neggrad_plus
from ue_jax.models import mlp, resnet
from ue_jax.parallel import sweep
from ue_jax.report import tables
from ue_jax.train import loop

PARTS = ("methods", "lira", "grid")
LAST = "head|block_[678]"  # of a ResNet-20
SCANNED = 20  # steps of a grid in one compiled call


def bed(small: bool) -> tuple[Procedure, Request, Mapping[str, Any]]:
  """(the training, the request to forget, the stages of all methods)."""
  config = vision_grid.get_config("small").to_dict()
  data = _made("data", config["data"] | {"forget_share": 0.1})
  own = config["requests"]["tenth"]["method"]
  stages = {name: stage | own.get(name, {}) for name, stage in config["method"].items() if name != "again"}
  if small:
    config["train"]["steps"] = 60
    stages = {name: stages[name] for name in ("fine_tune", "salun", "influence")}
  train = _made("train", config["train"], model=mlp.model(widths=tuple(config["model"]["widths"]), classes=10))
  subject = loop.fit(train, data)
  return train, Request(subject, data, original=subject), stages


def bed_of_weights(weights: str, path: str, small: bool) -> tuple[Procedure, Request, Mapping[str, Any]]:
  """The same of a ResNet-20 whose training goes on from given weights, also that of the reference."""
  config = vision_grid.from_weights("cifar").to_dict()
  data = _made("data", config["data"] | {"path": path})
  model = {name: value for name, value in config["model"].items() if name != "path"}
  network = _made("model", model | {"classes": 10})
  if small:
    config["train"]["steps"] = 2
    config["method"] = {"fine_tune": config["method"]["fine_tune"] | {"steps": 2}}
  train = _made("train", config["train"], model=network, start=Subject(network, *resnet.load(weights)))
  subject = loop.fit(train, data)
  stages = {name: stage for name, stage in config["method"].items() if name != "again"}
  return train, Request(subject, data, original=subject), stages | ({} if small else further())


def further() -> dict[str, Any]:
  """The methods that `vision_grid.py:cifar` leaves out, for 400 pictures to be forgotten and 800 to be kept."""
  sgd, pair = dict(steps=40, optimizer="sgd", rate=1e-3), dict(forget_batch=64, retain_batch=64)
  few = dict(steps=12, optimizer="sgd", rate=1e-3, forget_batch=64)
  passes = dict(passes=2, forget_steps=6, retain_steps=13, rate=1e-3)
  return dict(
    cf_k=dict(name="forget.fine_tune", trainable=LAST, **sgd),
    eu_k=dict(name="forget.fine_tune", trainable=LAST, fresh=True, **sgd),
    gradient_ascent=dict(name="forget.gradient_ascent", cap=2.3, **few),
    random_labels=dict(name="forget.random_labels", **sgd),
    boundary_shrink=dict(name="forget.boundary_shrink", **few),
    boundary_expand=dict(name="forget.boundary_expand", **few),
    scrub_r=dict(
      name="forget.scrub", passes=2, max_passes=2, forget_steps=6, retain_steps=13, rate=3e-3, clip=3.0,
      optimizer="sgd", holdout="test",
    ),
    influence=dict(name="forget.influence", alpha=1e-3, steps=400),
    influence_cg=dict(name="forget.influence_cg", alpha=1e-3, damping=1.0, steps=5, retain_batch=800),
    fisher=dict(name="forget.fisher", alpha=1e-13, limit=0.02, steps=25),
    hamu=dict(name="forget.hamu", quota="relative", q=0.5, **sgd, **pair),
    laf=dict(vision_grid.LAF, fit_steps=400, fit_forget_steps=200, steps=40),
    scar=dict(name="forget.scar", **sgd, **pair),  # `gkt` forgets whole classes, of which this request has none
    pcu=dict(name="forget.pcu", **sgd, **pair),
    spkd=dict(name="forget.distill", **passes),
    rkd=dict(name="forget.distill", distil="relation", **passes),
    amnesiac=dict(name="forget.amnesiac", repair_steps=40),
    ssd=dict(name="forget.ssd", alpha=2.0),
  )


def methods(train: Procedure, request: Request, stages: Mapping[str, Any], repeats: int) -> list[list[Any]]:
  """A line a method: name, first call, RTE, over training again, samples."""
  every = {"retrain": dict(name="forget.retrain"), **stages}
  lines, whole = [], None
  for name, stage in every.items():
    procedure = _made("method", stage, train=train)
    cold, warm = seconds(lambda: loop.fit(procedure, request), repeats)  # noqa: B023
    whole = whole or warm
    seen = sum(_samples(procedure.batch(0, request, t)) for t in range(procedure.steps))
    lines.append([name, cold, warm, warm / whole, seen])
    print(f"{name}: {warm / whole:.3g} of retrain", flush=True)  # a table of all takes half an hour
  return lines


def lira(train: Procedure, data: Data, models: int) -> list[list[Any]]:
  """A line a way of training the shadow models: name, seconds in all, over the one program."""
  rows = np.asarray(data.sets["train"])
  parts = [rows[one] for one in shadows.halves(len(rows), models)]
  sets = lambda part: {**data.sets, "train": part.astype(np.int32)}
  apart = lambda: [loop.fit(train, Data(data.arrays, sets(one), data.info), seed=i) for i, one in enumerate(parts)]
  together, _ = seconds(lambda: shadows.train_many(train, data, parts), 0)
  alone, _ = seconds(apart, 0)
  return [["one program", together, 1.0], ["one after another", alone, alone / together]]


def grid(request: Request, steps: int, repeats: int) -> list[list[Any]]:
  """A line a way of running sixteen settings: name, first call, later ones, both over the one program's, agreement."""
  settings = sweep.grid(alpha=np.linspace(0.8, 0.98, 4), rate=np.geomspace(1e-4, 1e-3, 4))
  factory = lambda alpha, rate: neggrad_plus.method(alpha=alpha, rate=rate, steps=steps)
  pairs = [dict(alpha=float(a), rate=float(r)) for a, r in zip(settings["alpha"], settings["rate"])]
  final = lambda subjects: [float(s.history["loss"][-1]) for s in subjects]
  swept = lambda mode, size: lambda: final(sweep.sweep(factory, settings, request, mode=mode, steps_per_call=size))
  ways = {"one program": swept("vmap", SCANNED), "one step": swept("loop", 1), "steps scanned": swept("loop", SCANNED)}
  ways["sixteen fits"] = lambda: final([loop.fit(factory(**pair), request) for pair in pairs])
  lines, base = [], None
  for name, run in ways.items():
    cold, warm, losses = measure(run, repeats)
    base = base or (cold, warm, losses)
    apart = float(np.max(np.abs(np.asarray(losses) - np.asarray(base[2]))))
    lines.append([name, cold, warm, cold / base[0], warm / base[1], apart])
  return lines


def seconds(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
  """(seconds of the first call, the least of `repeats` more; of none the first again). Waits for what is computed."""
  found = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    jax.block_until_ready(getattr(run(), "params", None))
    found.append(time.perf_counter() - start)
  return found[0], min(found[1:] or found)


def _made(kind: str, stage: Mapping[str, Any], **handed: Any) -> Any:
  """The stage's factory called with its config, and with what it asks for of `handed`."""
  takes = inspect.signature(find(kind, stage["name"])).parameters
  fields = {name: value for name, value in stage.items() if name != "name"}
  return build(kind, stage["name"], **fields, **{n: x for n, x in handed.items() if n in takes})


def _samples(batch: Any) -> int:
  """How many real samples a batch holds."""
  if not isinstance(batch, Mapping):
    return 0
  if "mask" in batch:
    return int(np.sum(np.asarray(batch["mask"]) > 0))
  return sum(_samples(part) for part in batch.values())


def main() -> None:
  """Prints the tables."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--repeats", type=int, default=2)
  parser.add_argument("--only", choices=("", *PARTS), default="")
  parser.add_argument("--methods", default="", help="names after commas; all, if left out")
  parser.add_argument("--weights", default="", help="of a ResNet-20, under PyTorch's names")
  parser.add_argument("--path", default="", help="where tensorflow-datasets keeps CIFAR-10")
  asked = parser.parse_args()
  if bool(asked.weights) != bool(asked.path) or (asked.weights and asked.only not in ("", "methods")):
    parser.error("give --weights and --path together, and with them no --only but methods")
  jax.config.update("jax_enable_compilation_cache", False)
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}", flush=True)
  if asked.weights:
    train, request, stages = bed_of_weights(asked.weights, asked.path, asked.small)
  else:
    train, request, stages = bed(asked.small)
  if asked.methods:
    names = asked.methods.split(",")
    if unknown := [name for name in names if name not in stages]:
      parser.error(f"--methods: {', '.join(unknown)}: choose from {', '.join(stages)}")
    stages = {name: stages[name] for name in names}
  if asked.only in ("", "methods"):
    columns = ["method", "first call, s", "RTE, s", "of retrain", "samples"]
    print(tables.text(columns, methods(train, request, stages, asked.repeats), title="\nTime to forget"), flush=True)
  if asked.weights:
    return
  if asked.only in ("", "lira"):
    models = 4 if asked.small else 32
    lines = lira(train, request.data, models)
    print(tables.text(["way", "all, s", "times"], lines, title=f"\n{models} shadow models"), flush=True)
  if asked.only in ("", "grid"):
    columns = ["way", "first, s", "later, s", "times, first", "times, later", "losses within"]
    lines = grid(request, 10 if asked.small else 180, asked.repeats)
    print(tables.text(columns, lines, title="\n4 x 4 settings of NegGrad+"))


if __name__ == "__main__":
  main()
