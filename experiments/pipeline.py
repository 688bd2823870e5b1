"""Makes the stages of a plan, one after the other, each once: what is stored already is read, not made."""

from __future__ import annotations

import collections
import functools
import importlib
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments import early, released, store
from experiments.check import argument, make, takes
from experiments.plan import Plan, Stage
from ue_jax.core import keys
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Clustering, Data, Request, Score, Scores, Subject, check_data
from ue_jax.core.procedure import Procedure
from ue_jax.models.model import Model
from ue_jax.train import checkpoint, log, loop
from ue_jax.train.loop import Interrupted

KEPT = 6  # nouns that stay in memory; older ones are read again when they are needed


class Settings(NamedTuple):
  """How stages are run; nothing of it changes a result, so nothing of it is in a hash.

  Attributes:
    mode: of `parallel.spread`: auto, one, jit, fsdp, pmap, shard_map.
    steps_per_call: steps taken inside one compiled call; 0 chooses.
    seconds: of work that a killed run may lose.
    progress: object with `stage(title, done, total)`, `step(t, steps, metrics)`.
    stop: returns True when the run should end at the next step.
    tensorboard: whether the curves are written for TensorBoard, too.
  """

  mode: str = "auto"
  steps_per_call: int = 0
  seconds: float = 5.0
  progress: Any = None
  stop: Callable[[], bool] = lambda: False
  tensorboard: bool = False


def settings(flags: Any, progress: Any, stop: Callable[[], bool]) -> Settings:
  """What the flags of a command ask for."""
  return Settings(flags.mode, flags.steps_per_call, flags.save_seconds, progress, stop, flags.tensorboard)


class Results:
  """Hash -> noun: read from the workdir, or made there. Holds the last few in memory."""

  def __init__(self, plan: Plan, workdir: pathlib.Path, settings: Settings = Settings()):
    self.plan, self.workdir, self.settings = plan, workdir, settings
    self._kept: collections.OrderedDict[str, Any] = collections.OrderedDict()
    self._models: dict[str, Model] = {}
    self._last: dict[str, Any] = {}  # last states of what was protected just now, if they are needed again

  def path(self, hash: str) -> pathlib.Path:
    """The folder of the artefact."""
    return store.folder(self.workdir, self.plan.stages[hash].kind, hash)

  def __call__(self, hash: str) -> Any:
    """The noun that the stage makes.

    Raises:
      Invalid: if what is stored is damaged.
    """
    if hash not in self._kept:
      stage, path = self.plan.stages[hash], self.path(hash)
      if not path.exists():
        self._make(stage)
      self._kept[hash] = store.load(path, self.model(stage) if stage.parts.get("model") or _pretrained(stage) else None)
    self._kept.move_to_end(hash)
    while len(self._kept) > KEPT:
      self._kept.popitem(last=False)
    return self._kept[hash]

  def all(self) -> None:
    """Makes every stage that is not stored yet."""
    stages = list(self.plan.stages.values())
    for i, stage in enumerate(stages):
      if self.settings.stop():
        raise Interrupted(0)
      if not self.path(stage.hash).exists():
        if self.settings.progress:
          self.settings.progress.stage(stage.title, i, len(stages))
        self(stage.hash)
      if stage.hash == self.plan.clean:
        early.pictures(self)
        early.asked(self)

  def model(self, stage: Stage) -> Model:
    """The network of a stage that makes a Subject."""
    if _pretrained(stage):
      config, sizes = released.network(stage.config), {}
    else:
      config = released.network(stage.parts["model"])
      sizes = _sizes(config, self(stage.needs["data"]), stage.parts.get("label", "label"))
    name = store.digest([config, sizes])
    if name not in self._models:  # one object a network: compiled functions are found again by it
      self._models[name] = make("model", config, **sizes)
    return self._models[name]

  def _make(self, stage: Stage) -> None:
    start = time.monotonic()
    noun = MAKERS.get(stage.kind, _arrow)(self, stage, self.needs(stage))
    self.keep(stage, noun, time.monotonic() - start)
    shutil.rmtree(self._state(stage), ignore_errors=True)

  def needs(self, stage: Stage) -> dict[str, Any]:
    """Role -> noun of what the stage starts from."""
    return {role: self(hash) for role, hash in stage.needs.items()}

  def keep(self, stage: Stage, noun: Any, seconds: float) -> None:
    """Stores what a stage made."""
    about = {"kind": stage.kind, "config": stage.config, "seed": stage.seed, "needs": stage.needs, "title": stage.title}
    last = self._last.get(stage.hash)
    store.save(self.path(stage.hash), noun, {**about, "seconds": round(seconds, 3)}, last)

  def state(self, stage: Stage) -> tuple[Any, Data]:
    """The last state of a `protect` stage that paints, and the Data it was made from."""
    self(stage.hash)
    if stage.hash in self._last:
      return self._last[stage.hash], self(stage.needs["data"])
    factory, problem = prepare(self, stage, self.needs(stage))  # an earlier run made it: only init knows its shape
    like = factory().init(keys.key(stage.seed), problem)
    return store.load_state(self.path(stage.hash), like), problem

  def _paints(self, stage: Stage) -> bool:
    """Whether the last state of a `protect` stage may be asked for: by a folder now, or captions later."""
    from_folder = self.plan.stages[stage.needs["data"]].config["name"] == "data.folder"
    return from_folder or hasattr(importlib.import_module(f"ue_jax.{stage.config['name']}"), "text_painter")

  def _state(self, stage: Stage) -> pathlib.Path:
    return self.workdir / "state" / f"{stage.kind}-{stage.hash}"

  def _log(self, stage: Stage) -> log.Log:
    """Appends the curves of the stage to a file of its own; only steps make one."""
    path = self.workdir / "logs" / f"{stage.kind}-{stage.hash}.jsonl"
    path.parent.mkdir(exist_ok=True)
    return log.both(log.json_lines(path), self.tensorboard(stage) if self.settings.tensorboard else None)

  def tensorboard(self, stage: Stage) -> log.Log:
    """Writes curves of the stage to a folder of its own; it is made by the first."""
    opened = functools.cache(lambda: log.tensorboard(self.workdir / "tensorboard" / f"{stage.kind}-{stage.hash}"))
    return lambda step, metrics: opened()(step, metrics)

  def fit(self, stage: Stage, procedure: Procedure, problem: Any) -> Any:
    """Runs a procedure, going on from where an earlier run of the same stage was ended."""
    settings, finish = self.settings, procedure.finish
    if stage.kind == "protect" and self._paints(stage):

      def remembering(state, problem):
        """Finishes, and keeps the last state: pictures of other sizes are painted with it."""
        self._last[stage.hash] = state
        return finish(state, problem)

      procedure = procedure._replace(finish=remembering)
    keeper = Timed(checkpoint.Keeper(self._state(stage)), settings.seconds)
    try:
      return loop.fit(
        procedure, problem, seed=stage.seed, mode=settings.mode, steps_per_call=settings.steps_per_call, keeper=keeper,
        save_every=1, log=self._log(stage), progress=settings.progress and settings.progress.step, stop=settings.stop,
      )
    except Interrupted:
      keeper.flush()
      raise


class Timed:
  """A Keeper that writes only when enough seconds have passed since the last time, and what is left in `flush`."""

  def __init__(self, keeper: Any, seconds: float):
    self.keeper, self.seconds, self.last, self.offered = keeper, seconds, time.monotonic(), None
    self.latest, self.extra = keeper.latest, keeper.extra

  def save(self, *checkpoint: Any) -> None:
    """Writes the checkpoint if it is time to, else remembers it."""
    self.offered = checkpoint
    if time.monotonic() - self.last >= self.seconds:
      self.flush()

  def flush(self) -> None:
    """Writes the checkpoint that was offered last, unless it is written."""
    if self.offered:
      self.keeper.save(*self.offered)
    self.offered, self.last = None, time.monotonic()


def _pretrained(stage: Stage) -> bool:
  return stage.kind == "pretrained"


def _data(results: Results, stage: Stage, needs: Mapping[str, Any]) -> Data:
  return early.answers(early.apart(check_data(make("data", stage.config, **_words(stage)))))


def _words(stage: Stage) -> dict[str, Any]:
  """The tokenizer of a released model, for what makes ids of texts, or texts of ids: of its parts what it takes."""
  its = stage.parts.get("words")
  if not its:
    return {}
  found = importlib.import_module(f"ue_jax.{its['name']}").words(its["path"])
  return {name: value for name, value in found.items() if takes(stage.kind, stage.config, name)}


def _load_pretrained(results: Results, stage: Stage, needs: Mapping[str, Any]) -> Subject:
  name, path = stage.config["name"], stage.config.get("path", "")
  module = importlib.import_module(f"ue_jax.{name}")
  more = {"dtype": stage.config["dtype"]} if path and "dtype" in stage.config else {}
  params, state = module.load(path, **more) if path else module.load()
  return Subject(results.model(stage), params, state)


def prepare(results: Results, stage: Stage, needs: Mapping[str, Any]) -> tuple[Callable[..., Procedure], Any]:
  """The stage's factory, with everything bound that it asks for, and the problem it is given.

  A factory takes its config, and of what is at hand the arguments that its signature names. The returned one takes
  keyword arguments that replace some of the config.
  """
  began = {"start": needs["start"]} if "start" in needs else {}
  at_hand: dict[str, Callable[[], Any]] = {
    "surrogate": lambda: needs.get("surrogate"),
    "start": lambda: needs.get("start"),
    "label": lambda: stage.parts.get("label"),
    "model": lambda: results.model(stage),
    "train": lambda: make("train", stage.parts["train"], model=results.model(stage), **began),
    "method": lambda: _recipe(stage.parts["method"], at_hand["train"]),
  }
  there = {name for name in at_hand if name in needs or name in stage.parts}
  offered = {name: at_hand[name]() for name in there if takes(stage.kind, stage.config, name)} | _words(stage)
  if points := [noun for role, noun in needs.items() if role.startswith("surrogate at ")]:
    offered["checkpoints"] = tuple(points)
  factory = lambda **changed: make(stage.kind, stage.config, **offered, **changed)
  problem = _problem(needs) if "subject" in needs else needs["data"]
  data = problem.data if isinstance(problem, Request) else problem
  for role in ("start", "subject"):
    if role in needs:
      early.words(needs[role], data)
      if _pretrained(made := results.plan.stages[stage.needs[role]]):
        early.network(made, needs[role], data)
  return factory, problem


def _recipe(stage: Mapping[str, Any], train: Callable[[], Procedure]) -> Procedure:
  """The method of a config, for a measure that applies it to models of its own."""
  return make("method", stage, **({"train": train()} if takes("method", stage, "train") else {}))


def _problem(needs: Mapping[str, Any]) -> Request:
  problem = Request(**{role: noun for role, noun in needs.items() if role in Request._fields})
  if isinstance(problem.data, Request):  # what a `select` stage made
    return problem._replace(data=problem.data.data, schedule=problem.data.schedule)
  return problem


def _arrow(results: Results, stage: Stage, needs: Mapping[str, Any]) -> Any:
  factory, problem = prepare(results, stage, needs)
  noun = results.fit(stage, factory(), problem)
  return check_data(noun, stage.kind) if isinstance(noun, Data) else noun


def _score_clustering(results: Results, stage: Stage, needs: Mapping[str, Any]) -> Scores:
  """How many clusters there are of those asked for, and ACC, NMI and ARI against every labelling of the Data."""
  from ue_jax.cluster import scores

  found: Clustering = needs["clustering"]
  data, n = needs["data"], len(needs["clustering"].labels)
  labels = np.asarray(found.labels)
  out, k = {}, stage.parts.get("k")
  if k is not None:
    out["clusters"] = Score(float(len(np.unique(labels))), n, "near", float(k), 1.0, float(n))
  for name in data.info.get("labels", {}):
    truth = np.asarray(data.arrays[name])
    if len(truth) == n and truth.min() >= 0:  # a labelling of a part says nothing of the other rows
      for score, fn in (("acc", scores.accuracy), ("nmi", scores.nmi), ("ari", scores.ari)):
        out[f"{name}/{score}"] = Score(float(fn(truth, labels)), n, "high", 1.0, -1.0 if score == "ari" else 0.0, 1.0)
  return out


def _mix(results: Results, stage: Stage, needs: Mapping[str, Any]) -> Data:
  """Clean and protected pictures together; or, for comparison, the clean ones of the mixture alone."""
  clean, protected = needs["clean"], needs["protected"]
  early.both_kinds(stage, clean)
  sizes = tuple("x".join(map(str, data.arrays["image"].shape[1:])) for data in (clean, protected))
  require(sizes[0] == sizes[1], "mix", sizes, "let the protection keep the size of the pictures")
  mixed = make("mix", {"seed": stage.seed, **stage.config}, clean=clean, protected=protected)
  if stage.parts.get("alone"):
    within = argument("mix", stage.config, "within")
    mixed = protected._replace(sets={**protected.sets, within: mixed.sets[f"{within}_clean"]})
  return check_data(mixed, "mix")


MAKERS = {"data": _data, "pretrained": _load_pretrained, "mix": _mix, "score": _score_clustering}  # others: `_arrow`


def _sizes(config: Mapping[str, Any], data: Data | Request, label: str) -> dict[str, int]:
  """The sizes of a model's input and output alphabet: they come from the Data unless the config names them."""
  sizes = {}
  info = (data.data if isinstance(data, Request) else data).info
  if takes("model", config, "classes"):
    names = info.get("labels", {})
    if label not in names:
      raise Invalid("train.label", label, f"choose one of {sorted(names)}, the labellings of this data")
    sizes["classes"] = len(names[label])
  if takes("model", config, "vocabulary") and "vocabulary" in info:
    words = info["vocabulary"]
    sizes["vocabulary"] = words if isinstance(words, int) else len(words)
  return sizes
