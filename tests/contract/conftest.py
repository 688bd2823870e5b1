"""Tiny problems of every kind, and any factory built for them from nothing but its signature."""

import functools
import inspect
import pathlib
from typing import Any, NamedTuple

import jax
import pytest

from ue_jax.core import build
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
# Sizes that make any factory small, used where it has an argument of that name.
SMALL = {
  "episodes": 8, "known_set": "holdout", "parts": 1, "fit_steps": 10, "fit_forget_steps": 10,
  "steps": 3, "epochs": 1, "batch_size": 8, "forget_batch": 4, "retain_batch": 6, "k": 3, "restarts": 1, "max_steps": 5,
  "ks": (2, 3, 4), "chunk": 32, "warmup": 0, "every": 0, "rate": 1e-3, "width": 8, "blocks": 1,
  "models": 6, "targets": 4, "passes": 1, "max_passes": 1, "forget_steps": 1, "retain_steps": 2, "slices": 2,
  "slice_steps": 1, "repair_steps": 1, "learn_steps": 2, "lower_steps": 3,
  "copies": 2, "samples": 2, "attack_steps": 2, "noise_steps": 2, "latents": 8,
}
FLAVOURS = {
  "protect": ("pictures",), "defend": ("pictures",), "train": ("pictures", "tokens"), "select": ("pictures", "tokens"),
  "method": ("pictures", "tokens"), "attack": ("pictures", "tokens"), "measure": ("pictures", "tokens"),
  "cluster": ("pictures", "table"),
}
# Looked at only where a factory accepts none of the above.
SPARE = {
  "train": ("sharded",), "select": ("stream",), "method": ("sharded", "stream", "whole", "heads", "apart"),
  "measure": ("stream",),
}  # fmt: skip
STREAMS = ("stream", "heads", "apart")
# What cannot be built from its signature, and why; a test holds that every entry is needed.
BY_HAND: dict[tuple[str, str], str] = {
  ("data", "data.folder"): "needs a folder of pictures",
  ("data", "data.imagenet"): "needs folders of pictures",
  ("data", "data.npz"): "needs a file",
  ("data", "data.tfds"): "needs a prepared data set",
  ("data", "data.questions"): "needs files",
  ("data", "data.tofu"): "needs the published files",
}


# Compiled in a hurry: these programs take three steps.
quick = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)


class Built(NamedTuple):
  """A factory's procedure with a problem that it accepts, and what it made of it if it takes no steps."""

  flavour: str
  procedure: Procedure
  problem: Any
  made: Any = None


class Workshop:
  """Builds and keeps: the same tiny problem and procedure serve all contract tests of a session."""

  by_hand = BY_HAND

  @functools.cached_property
  def pictures(self):
    from ue_jax.data import synthetic

    data = synthetic.data(n=64, test=16, size=16)
    rows = data.sets["train"]
    sets = {**data.sets, "forget": rows[:8], "retain": rows[8:], "holdout": data.sets["test"]}
    return Data(data.arrays, sets, data.info)

  @functools.cached_property
  def tokens(self):
    from ue_jax.data import facts

    return facts.data("ci", alternatives=2, forms=("choice",))

  @functools.cached_property
  def sharded(self):
    return self.pictures

  @functools.cached_property
  def whole(self):
    """The pictures, of which a whole class is to be forgotten."""
    data, label = self.pictures, self.pictures.arrays["label"]
    rows = data.sets["train"]
    sets = {"forget": rows[label[rows] == 0], "retain": rows[label[rows] != 0]}
    return data._replace(sets={**data.sets, **sets})

  @functools.cached_property
  def table(self):
    from ue_jax.data import blobs

    return blobs.data(n=60)

  @functools.cached_property
  def stream(self):
    """Two tasks on the same tiny pictures; the first is learned and unlearned, the second stays."""
    from ue_jax.data import tasks

    data = tasks.data(tasks=2, train=40, test=20)
    return data._replace(sets={**data.sets, "forget": data.sets["task_0"], "retain": data.sets["task_1"]})

  def data(self, flavour):
    return self.stream if flavour in STREAMS else getattr(self, flavour)

  def model(self, flavour):
    from ue_jax.models import apart, ensemble, hypernetwork, mlp, multihead, transformer

    if flavour == "sharded":
      return ensemble.model(len(self.pictures.info["labels"]["label"]), members=2, widths=(16,))
    if flavour in ("heads", "apart"):
      return (multihead if flavour == "heads" else apart).model(tasks=2, widths=(8,))
    if flavour == "stream":
      return hypernetwork.model(tasks=2, widths=(8,))
    if flavour == "tokens":
      vocabulary = len(self.tokens.info["vocabulary"])
      return transformer.model(vocabulary, width=16, depth=1, heads=2, hidden=32)
    return mlp.model(classes=len(self.pictures.info["labels"]["label"]), widths=(16,))

  @functools.cache  # noqa: B019 (one workshop a session)
  def subject(self, flavour):
    if flavour == "sharded":  # what one method alone works on
      train = build.build("train", "forget.sisa", **self.arguments("train", "forget.sisa", flavour))
      return train.finish(train.init(jax.random.key(7), self.sharded), self.sharded)
    model, arrays = self.model(flavour), self.data(flavour).arrays
    params, state = model.init(jax.random.key(7), arrays["ids" if flavour == "tokens" else "image"][:2])
    return Subject(model, params, state)

  def problem(self, kind, flavour):
    data = self.data(flavour)
    if kind in ("protect", "defend", "train", "cluster"):
      return data
    subject = self.subject(flavour)
    asked = ("L0", "L1", "U0") if flavour in STREAMS else ()
    return Request(subject, data, reference=subject, original=subject, schedule=asked)

  def arguments(self, kind, module, flavour):
    """Keyword arguments for the factory, by the names in its signature."""
    found = {}
    for name, parameter in inspect.signature(build.find(kind, module)).parameters.items():
      if name == "augment" and parameter.default:
        found[name] = ("crop",)  # one instead of many
      elif name in SMALL:
        found[name] = SMALL[name]
      elif name == "model" and flavour != "table":
        found[name] = self.model(flavour)
      elif name == "train":
        room = "train.language" if flavour == "tokens" else "train.supervised"
        found[name] = build.build("train", room, **self.arguments("train", room, flavour))
      elif name == "surrogate":
        found[name] = self.subject(flavour)
      elif name == "test" and kind == "defend":
        found[name] = False
      elif name == "path" and kind == "model":
        found[name] = str(GOLDEN / "llama_tied")
      elif name == "vocabulary":
        found[name] = len(self.tokens.info["vocabulary"])
    return found

  @functools.cache  # noqa: B019
  def built(self, kind, module) -> tuple[Built, ...]:
    """The factory on every sort of problem that it accepts; one that it does not read is refused with Invalid."""
    out = []
    for flavour in (*FLAVOURS[kind], *SPARE.get(kind, ())):
      if out and flavour not in FLAVOURS[kind]:
        break
      problem = self.problem(kind, flavour)
      try:
        procedure = build.build(kind, module, **self.arguments(kind, module, flavour))
        state = procedure.init(jax.random.key(0), problem)
        made = procedure.finish(state, problem) if procedure.steps == 0 else None
      except Invalid:
        continue
      out.append(Built(flavour, procedure, problem, made))
    assert out, f"{module}.{kind} accepts none of the tiny problems: {FLAVOURS[kind]}"
    return tuple(out)

  @functools.cache  # noqa: B019
  def walk(self, kind, module, flavour):
    built = next(b for b in self.built(kind, module) if b.flavour == flavour)
    return Walk(built.procedure, built.problem)

  @functools.cache  # noqa: B019
  def noun(self, kind, module, flavour):
    """What the factory makes of its problem."""
    built = next(b for b in self.built(kind, module) if b.flavour == flavour)
    return built.made if built.procedure.steps == 0 else self.walk(kind, module, flavour).again()


class Walk:
  """Two steps of a procedure on its tiny problem, and what was seen on the way."""

  def __init__(self, procedure, problem):
    self.procedure, self.problem, self._count = procedure, problem, 0
    self.traced = jax.jit(self._counted)  # may be used within other programs: it is traced once for all of them
    self.step = quick(lambda state, batch: self.traced(state, batch))
    self.batches = [jax.device_put(procedure.batch(0, problem, t)) for t in range(max(procedure.steps, 3))]
    self.states, self.metrics = [procedure.init(jax.random.key(0), problem)], []
    for batch in self.batches[:2]:
      state, metrics = self.step(self.states[-1], batch)
      self.states.append(state)
      self.metrics.append(metrics)
    self.traces = self._count  # of these two steps, whatever else is made of it later

  def _counted(self, state, batch):
    self._count += 1
    return self.procedure.step(state, batch)

  def again(self):
    """The noun, from the beginning."""
    state = self.procedure.init(jax.random.key(0), self.problem)
    for t in range(self.procedure.steps):
      state, _ = self.step(state, self.batches[t])
    return self.procedure.finish(state, self.problem)


@pytest.fixture(scope="session")
def workshop():
  return Workshop()


@pytest.fixture(scope="session")
def quick_jit():
  return quick


