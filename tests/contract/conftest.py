"""Tiny problems of every kind, and any factory built for them from nothing but its signature."""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import pytest

from ue_jax.core import build
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure

# Sizes that make any factory small, used where it has an argument of that name.
SMALL = {
  "steps": 3, "epochs": 1, "batch_size": 8, "forget_batch": 4, "retain_batch": 6, "k": 3, "restarts": 1, "max_steps": 5,
  "chunk": 32, "warmup": 0, "every": 0, "rate": 1e-3, "width": 8, "blocks": 1,
}
FLAVOURS = {
  "protect": ("pictures",), "defend": ("pictures",), "train": ("pictures", "tokens"), "select": ("pictures", "tokens"),
  "method": ("pictures", "tokens"), "attack": ("pictures", "tokens"), "measure": ("pictures", "tokens"),
  "cluster": ("pictures", "table"),
}
# What cannot be built from its signature, and why; a test holds that every entry is needed.
BY_HAND: dict[tuple[str, str], str] = {
  ("data", "data.folder"): "needs a folder of pictures",
  ("data", "data.npz"): "needs a file",
  ("data", "data.tfds"): "needs a prepared data set",
}


class Built(NamedTuple):
  """A factory's procedure with a problem that it accepts."""

  flavour: str
  procedure: Procedure
  problem: Any


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

    return facts.data()

  @functools.cached_property
  def table(self):
    from ue_jax.data import blobs

    return blobs.data(n=60)

  def data(self, flavour):
    return getattr(self, flavour)

  def model(self, flavour):
    from ue_jax.models import mlp, transformer

    if flavour == "tokens":
      vocabulary = len(self.tokens.info["vocabulary"])
      return transformer.model(vocabulary, width=16, depth=1, heads=2, hidden=32)
    return mlp.model(classes=len(self.pictures.info["labels"]["label"]), widths=(16,))

  @functools.cache  # noqa: B019 (one workshop a session)
  def subject(self, flavour):
    model, arrays = self.model(flavour), self.data(flavour).arrays
    params, state = model.init(jax.random.key(7), arrays["ids" if flavour == "tokens" else "image"][:2])
    return Subject(model, params, state)

  def problem(self, kind, flavour):
    data = self.data(flavour)
    if kind in ("protect", "defend", "train", "cluster"):
      return data
    subject = self.subject(flavour)
    return Request(subject, data, reference=subject, original=subject)

  def arguments(self, kind, module, flavour):
    """Keyword arguments for the factory, by the names in its signature."""
    found = {}
    for name in inspect.signature(build.find(kind, module)).parameters:
      if name in SMALL:
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
      elif name == "vocabulary":
        found[name] = len(self.tokens.info["vocabulary"])
    return found

  @functools.cache  # noqa: B019
  def built(self, kind, module) -> tuple[Built, ...]:
    """The factory on every sort of problem that it accepts; one that it does not read is refused with Invalid."""
    out = []
    for flavour in FLAVOURS[kind]:
      problem = self.problem(kind, flavour)
      try:
        procedure = build.build(kind, module, **self.arguments(kind, module, flavour))
        state = procedure.init(jax.random.key(0), problem)
        if procedure.steps == 0:
          procedure.finish(state, problem)
      except Invalid:
        continue
      out.append(Built(flavour, procedure, problem))
    assert out, f"{module}.{kind} accepts none of the tiny problems: {FLAVOURS[kind]}"
    return tuple(out)

  @functools.cache  # noqa: B019
  def noun(self, kind, module, flavour):
    """What the factory makes of its problem, by the one loop."""
    from ue_jax.train import loop

    built = next(b for b in self.built(kind, module) if b.flavour == flavour)
    return loop.fit(built.procedure, built.problem, seed=3, mode="one", steps_per_call=1)


@pytest.fixture(scope="session")
def workshop():
  return Workshop()


