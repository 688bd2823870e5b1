"""Protects a person's own folder of pictures, at the size they have.

Crafting sees every picture at one small size; here its noise is painted on the originals, one picture at a time, into
`WORKDIR/protected/` as PNG. What is there already is never overwritten: the same picture counts as done, another one
is left alone and listed.

The folder is that of `data`; or that of `paint`, whose pictures crafting never sees: a method with a `text_painter` is
trained on the public pairs of `data`, once, and then asks for captions alone.
"""

from __future__ import annotations

import importlib
import inspect
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments import compare, pipeline, store
from experiments.check import argument, clear, many, whole
from experiments.plan import TO_PAINT, Plan, Stage
from experiments.tabulate import Table
from ue_jax.core import build
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data
from ue_jax.data import folder as pictures
from ue_jax.data import questions
from ue_jax.protect import publish
from ue_jax.report import tables


class Painted(NamedTuple):
  """What became of the pictures of a folder.

  Attributes:
    place: the folder written to.
    done: how many protected pictures are there.
    largest: the largest change of any value, in levels of 255, measured on the files.
    budget: the most that is allowed, in levels; None if the method has no such budget.
    unread: pairs (name, reason) of what could not be read.
    left: names where another file is in the way.
    skipped: names of files that are not pictures.
  """

  place: pathlib.Path
  done: int
  largest: int
  budget: int | None
  unread: tuple[tuple[str, str], ...]
  left: tuple[str, ...]
  skipped: tuple[str, ...]

  def table(self) -> Table:
    """The counts, and every picture that is not protected with the reason."""
    budget = "none" if self.budget is None else f"{self.budget} levels"
    rows = [["protected", f"{self.done} pictures in {self.place}"]]
    rows += [["largest change on disk", f"{self.largest} levels of 255 (budget: {budget})"]]
    rows += [[f"not protected: {name}", reason] for name, reason in self.unread]
    rows += [[f"not protected: {name}", "another file is in its place; choose another workdir"] for name in self.left]
    rows += [["other files", " ".join(self.skipped)]] if self.skipped else []
    return Table("Your pictures", ["what", "how"], rows)


def source(stage: Mapping[str, Any]) -> str:
  """What the files and folders that a stage or its parts name look like: names, sizes, times; "" if none are named."""
  parts, named = stage.get("parts"), ("path", "captions")
  inner = [source(one) for _, one in sorted(parts.items())] if isinstance(parts, Mapping) else []
  if stage.get("name") == "data.questions":  # its files have names of their own
    named += questions.FILES
    asked = [one for _, one in sorted((stage.get("asked") or {}).items()) if isinstance(one, Mapping)]
    inner += [source({"name": "data.questions", **one}) for one in asked]
  return "".join(filter(None, (*(_looks(stage.get(name)) for name in named), *inner)))


def _looks(path: Any) -> str:
  if not isinstance(path, str) or not path:
    return ""
  root = pathlib.Path(path)
  if not root.exists():  # the weights that a package brings are known by its name, from wherever we are called
    return store.digest([path])
  files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root] * root.is_file()
  seen = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
  return store.digest([str(root.absolute()), seen])


def check(config: Mapping[str, Any], workdir: pathlib.Path) -> None:
  """What protects a folder is judged before anything is made.

  Raises:
    Invalid: if what is written would lie among the pictures that are read, or there is not one method with one key
      that can paint.
  """
  outside(config, workdir)
  if not wanted(config):
    require("paint" not in config, "config.paint", config.get("paint"), "say what to protect with, as config.protect")
    return
  stages = many(clear(config), "protect")
  require(len(stages) == 1, "config.protect", list(stages), "give one method to protect a folder with")
  keys = whole(config, "keys", 0)
  require(len(keys) == 1, "config.keys", keys, "give one key to protect a folder with")
  name = next(iter(stages.values())).get("name")
  if "paint" in config:
    _check_captions(config, name)
  elif isinstance(name, str) and not can_paint(name):
    able = ", ".join(filter(can_paint, build.factories("protect")))
    fix = f"it makes no noise for pictures of other sizes than it was crafted at; choose one of {able}"
    fix += "; or name the pictures as config.paint, with captions" if _speaks(name) else ""
    raise Invalid("config.protect.name", name, fix)


def _check_captions(config: Mapping[str, Any], name: Any) -> None:
  """Raises Invalid unless the method paints by captions, and the pictures to paint have some."""
  able = ", ".join(filter(_speaks, build.factories("protect")))
  require(isinstance(name, str) and _speaks(name), "config.protect.name", name, f"by captions alone paint: {able}")
  stage = next(iter(many(clear(config), "protect").values()))
  there = config.get("surrogate") or stage.get("surrogate")
  require(bool(there), "config.surrogate", "(missing)", "say who reads captions, as dict(model=..., train=...)")
  paint = config["paint"]
  folder = isinstance(paint, Mapping) and paint.get("name") == "data.folder"
  require(folder, "config.paint", paint, "give dict(name='data.folder', path=DIR, captions=FILE)")
  told = bool(paint.get("captions")) != bool(paint.get("template"))
  fix = "give the file of captions, or a template such as 'a photo of a {}.' for the names of the folders; not both"
  require(told, "config.paint.captions", paint.get("captions") or "(missing)", fix)
  require(not paint.get("test"), "config.paint.test", paint.get("test"), "leave it out: all pictures are painted")


def _speaks(name: str) -> bool:
  """Whether a method of `protect` has a `text_painter`; Invalid for one that is not there."""
  build.find("protect", name)
  return callable(getattr(importlib.import_module(f"ue_jax.{name}"), "text_painter", None))


def outside(config: Mapping[str, Any], workdir: pathlib.Path) -> None:
  """Raises Invalid if what is written would lie among the pictures that are read."""
  path = _folder(config).get("path")
  if wanted(config) and isinstance(path, str) and path:
    inside = workdir.resolve().is_relative_to(pathlib.Path(path).resolve())
    require(not inside, "workdir", str(workdir), f"choose a folder outside of the pictures in {path}")


def can_paint(name: str) -> bool:
  """Whether a method of `protect` has a `painter`, or its noise can be read off; Invalid for one that is not there."""
  build.find("protect", name)
  return callable(getattr(importlib.import_module(f"ue_jax.{name}"), "painter", None)) or adds(name)


def adds(name: str) -> bool:
  """Whether a method adds noise of a budget to labelled pictures, and asks for no other set of pairs."""
  taken = inspect.signature(build.find("protect", name)).parameters
  return "eps" in taken and "known_set" not in taken


def wanted(config: Mapping[str, Any]) -> bool:
  """Whether an experiment protects a folder."""
  return bool(config.get("protect")) and ("paint" in config or _folder(config).get("name") == "data.folder")


def _folder(config: Mapping[str, Any]) -> Mapping[str, Any]:
  """The stage of the pictures that are painted."""
  stage = config.get("paint", config.get("data", {}))
  return stage if isinstance(stage, Mapping) else {}


def origin(plan: Plan) -> str:
  """The hash of the Data whose pictures are painted."""
  painted = [stage.hash for stage in plan.stages.values() if stage.title == TO_PAINT]
  return painted[0] if painted else plan.clean


def paint(config: Mapping[str, Any], plan: Plan, results: pipeline.Results) -> Painted:
  """Writes the protected pictures of the folder, going on from what is there.

  Raises:
    Invalid: if a file that was written is beyond the budget.
    Interrupted: if the run was asked to stop; every file that is there is whole.
  """
  title = f"protect {next(iter(many(config, 'protect')))}"
  stage = next(s for s in plan.stages.values() if s.kind == "protect" and s.title == title)
  data, budget = results(origin(plan)), levels(stage)
  brush = text_painter(stage, results, data) if "paint" in config else painter(stage, results)
  found, place = data.info["names"], results.workdir / "protected"
  if results.settings.progress:
    results.settings.progress.stage("paint", 0, 1)
  largest, left, unread = 0, [], [tuple(pair) for pair in data.info["unreadable"]]
  for row, (name, out) in enumerate(zip(found, pictures.png_names(found))):
    if results.settings.stop():
      raise pipeline.Interrupted(row)
    try:
      picture, meta = pictures.read_picture(str(pathlib.Path(data.info["path"]) / name))
    except Invalid as error:  # it could be read when it was crafted on
      unread.append((name, error.fix))
      continue
    change = one(picture, meta["alpha"], brush, row, place / out)
    if change is None:
      left.append(name)
      continue
    within = budget is None or change <= budget
    require(within, str(place / out), f"{change} levels", f"the budget is {budget}; delete it")
    largest = max(largest, change)
    if results.settings.progress:
      results.settings.progress.step(row + 1, len(found))
  done = len(found) + len(data.info["unreadable"]) - len(unread) - len(left)
  return Painted(place, done, largest, budget, tuple(unread), tuple(left), tuple(data.info["skipped"]))


def verify(plan: Plan, results: pipeline.Results, painted: Painted) -> None:
  """Reads all files again and prints what `experiments.compare` says of them.

  Raises:
    SystemExit: with code 1 and a line that says why, if a picture is beyond the budget, is not protected or has no
      protected one to be compared with, or, with a budget above 0, did not change at all.
  """
  found = compare.compare(pathlib.Path(results(origin(plan)).info["path"]), painted.place)
  table = found.summary()
  print(tables.text(table.columns, table.rows, table.title))
  if wrong := wrongs(found, painted):
    sys.exit("; ".join(wrong))
  compare.judge(found, None if painted.budget is None else painted.budget / 255)
  if painted.budget is None:
    print("this method has no budget of the largest change: see the table")


def wrongs(found: compare.Compared, painted: Painted) -> list[str]:
  """What `verify` fails for, a line each; none if every picture is protected within the budget."""
  bare = dict.fromkeys([*(name for name, _ in (*painted.unread, *found.left)), *painted.left])
  lines = [] if painted.budget is None else [found.beyond(painted.budget)]
  lines += [f"{len(bare)} pictures are not protected, e.g. {next(iter(bare))}"] if bare else []
  if painted.budget and (still := found.unchanged()):
    lines.append(f"{len(still)} pictures did not change, e.g. {still[0]}")
  return [line for line in lines if line]


def one(picture: np.ndarray, alpha: Any, brush: Callable, row: int, path: pathlib.Path) -> int | None:
  """Writes one protected picture and returns its largest change, read back from the file.

  Returns None if another picture is at `path`, which is left as it is.
  """
  protected = brush(picture, row)
  if not path.exists():
    pictures.write_png(str(path), protected, alpha)
  try:
    written, _ = pictures.read_picture(str(path))
  except Invalid:
    return None
  if written.shape != protected.shape or (written != protected).any():
    return None
  return int(np.abs(written.astype(np.int16) - picture.astype(np.int16)).max())


def painter(stage: Stage, results: pipeline.Results) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` of the stage's method, for pictures of any size; `check` has seen that there is one.

  Without a `painter` the noise is what publishing changed in the crafted pictures, stretched as a pattern is: within
  the budget, but cut where a crafted picture was near black or white.
  """
  make = getattr(importlib.import_module(f"ue_jax.{stage.config['name']}"), "painter", None)
  if make is not None:
    return make(*results.state(stage))
  clean, protected = (results(hash).arrays["image"] for hash in (stage.needs["data"], stage.hash))
  noise = protected[: len(clean)].astype(np.int16) - clean.astype(np.int16)
  return publish.pattern_painter(noise, np.arange(len(clean)))


def text_painter(stage: Stage, results: pipeline.Results, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` of a method that paints the pictures of `data` by their captions alone."""
  make = importlib.import_module(f"ue_jax.{stage.config['name']}").text_painter
  named = inspect.signature(make).parameters.values()
  asked = [p.name for p in named if p.kind is p.KEYWORD_ONLY]
  settings = {name: argument("protect", stage.config, name) for name in asked}
  state, public = results.state(stage)
  texts = data.info["labels"]["caption"]
  sentences = [texts[which] for which in data.arrays["caption"]]
  return make(state, public, results(stage.needs["surrogate"]), sentences, data.info["names"], **settings)


def levels(stage: Stage) -> int | None:
  """The budget of the stage in whole levels of 255, None if it has none in this norm."""
  module = importlib.import_module(f"ue_jax.{stage.config['name']}")
  parameters = inspect.signature(module.protect).parameters
  value = lambda name: stage.config.get(name, parameters[name].default if name in parameters else None)
  if value("eps") is None or value("norm") not in (None, "linf"):
    return None
  return int(np.floor(value("eps") * 255 + 1e-4))
