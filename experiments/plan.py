"""From a config to the list of its stages, without running anything.

A stage is known by a hash of its own config and of all stages before it: what did not change is not made again, and ten
methods share one original model. Config fields read here (absent ones are skipped):

  data                          a stage: `dict(name="data.embedded", source="digits")`
  surrogate                     `dict(model=..., train=..., data=...)`, or `dict(name="models.x", path=FILE)`; a
                                protection with `checkpoints=(100, 200)` gets it as it was at those steps, too
  protect, controls, defend     a stage, or a dict of named stages; one that learns from another surrogate than the rest
                                has a field `surrogate` of its own, one that trains another network a field `model`
  mix                           `dict(ratio=(0.2, 0.5))`: rows of the table for people who protect a share of the train
                                set only, see below
  labellings                    the tasks of the unauthorised trainers: names of label arrays
  paint                         `dict(name="data.folder", path=DIR, captions=FILE)`: pictures that are protected by
                                their captions alone; the protection is made with `data`
  model, train                  the network and how it is trained; a model with a `path` (`models.decoder`,
                                `models.resnet`) has weights already: training goes on from them, and without `train`
                                they are taken as they are
  thieves, cross                named changes to `model` and `train`: who trains on what was protected, see below
  reference                     True, or the stage that makes the control (`forget.retrain`); its field `train` changes
                                single fields of `train`. True begins where the original began, which makes the two
                                alike; `configs.common.RETRAINED` has a start of its own
  select, method, attack        what is done to the trained model; a method that begins with a network of its own
                                (`forget.der_plus`) may have a field `model`, else it gets one like `model`
  requests                      several things that it is asked to forget, each by itself, see below
  cluster                       a stage, or a dict of named ones
  measure                       a stage, or a dict of named ones; without a model, of the data: each is a row of its own
  seed, seeds                   of what comes before training, and of the trainings
  data_seeds                    one for each of `seeds`: every run draws its own data; absent: all have the same
  keys                          seeds of `protect`, each protects once, as a row of its own; absent: `seed`

`mix` adds to every protection `uc` the row `uc 20 %`, trained on the same pictures of which a share `ratio` is
protected and the rest clean, and for comparison the row `clean 80 %`, trained on those clean ones alone. Defences come
after it, but where one of them is none (`{}`) mixtures meet that one alone, unless `cross` is True. Which pictures are
protected is the same for all protections, and a smaller share is part of a larger one; 1.0 is the row `uc` itself.
Further fields are those of `data.mixture.mix`: `seed` (absent: that of the experiment) and `within`.

`thieves` are dicts with `model`, `train` or both: a model with a `name` stands in the place of that of the experiment,
everything else changes single fields. The usual thief, an empty dict (else the first), meets every defence; the others
only what was neither defended nor mixed, unless `cross` is True. Each is a column group `labelling / thief`.

`requests` are dicts with `select`, `method` or both: the selection stands in the place of that of the experiment, a
method with a `name` in the place of its namesake; without one it changes single fields. All start from one trained
model; each has a reference and tables of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ue_jax
from experiments import released, store
from experiments.check import argument, check, clear, many, near, place, seeds, short, takes, whole
from experiments.requests import requests
from experiments.variants import thieves, variants
from ue_jax.core.errors import Invalid, require

KNOWN = (
  "title", "seed", "seeds", "keys", "data", "surrogate", "protect", "controls", "mix", "defend", "labellings",
  "model", "train", "thieves", "cross", "reference", "select", "method", "attack", "cluster", "measure", "sweep",
  "paint", "requests", "data_seeds",
)
TO_PAINT = "data to paint"  # the title of the stage of `paint`
SEEDED = ("train", "select", "method", "attack", "cluster", "measure")  # made once a seed of `seeds`


class Stage(NamedTuple):
  """One thing to make.

  Attributes:
    kind: which factory (`train`); see ARCHITECTURE.md for the arrows.
    config: `name` and the keyword arguments of the factory.
    needs: role -> hash of the stage that makes it (`data`, `subject`, `reference`, `original`, `clean`, `surrogate`).
    parts: configs and values that are handed to the factory if it asks for them (`model`, `train`, `label`).
    seed: of the run.
    hash: of all of the above, and of the stages it needs.
    title: for the reader of the progress.
  """

  kind: str
  config: Mapping[str, Any]
  needs: Mapping[str, str]
  parts: Mapping[str, Any]
  seed: int
  hash: str
  title: str


class Cell(NamedTuple):
  """One place of the result table: what was measured, under which row and column group.

  Attributes:
    row: protected by what, or changed by what.
    group: the labelling, and after ` / ` the thief if there are several; of several requests, which.
    seed: of the training.
    made: hash of the Subject or Clustering, or of the Data if that is what was measured.
    data: hash of the Data it came from.
    scores: measure -> hash of its Scores.
  """

  row: str
  group: str
  seed: int
  made: str
  data: str
  scores: Mapping[str, str]


class Plan(NamedTuple):
  """What an experiment consists of.

  Attributes:
    kind: `protect`, `forget`, `cluster`, `train`, `measure` or `data`.
    stages: hash -> Stage, every stage after those it needs.
    cells: of the result table.
    variants: row -> hash of the Data of that row (protect).
    clean: hash of the untouched Data.
  """

  kind: str
  stages: Mapping[str, Stage]
  cells: tuple[Cell, ...]
  variants: Mapping[str, str]
  clean: str


def plan(config: Mapping[str, Any], source: Callable[[Mapping[str, Any]], str] = lambda stage: "") -> Plan:
  """The stages of an experiment, in the order in which they can be made.

  Args:
    config: nested dicts (`ConfigDict.to_dict()`).
    source: stage config -> what the files it reads look like now, so that changed files are read again.

  Raises:
    Invalid: for a missing stage, an unknown name or an unknown argument of a factory.
  """
  config = clear(config)
  require("data" in config, "config.data", "(missing)", "say which data, as dict(name='data.embedded')")
  whole(config, "seed", 0)
  require("mix" not in config or "protect" in config, "config.mix", config.get("mix"), "say what to protect with, too")
  stages: dict[str, Stage] = {}
  checked: dict[tuple[str, int], Any] = {}  # (kind, id) -> stage: one measure stands behind hundreds of rows

  def add(kind, stage, needs={}, parts={}, seed=0, title=""):
    """Adds a stage, unless there is one like it, and returns its hash."""
    if (kind, id(stage)) not in checked:
      check(kind, stage, place(config, stage) or f"config.{kind}")
      checked[kind, id(stage)] = stage
    seen = source(stage) if kind in ("data", "pretrained") else ""
    parts = {name: part for name, part in parts.items() if part is not None}
    hash = store.digest([ue_jax.__version__, kind, stage, needs, parts, seed, seen])
    which = f" (seed {seed})" if len(seeds(config)) > 1 and kind in SEEDED else ""
    stages.setdefault(hash, Stage(kind, stage, needs, parts, seed, hash, f"{kind} {title}{which}"))
    return hash

  drawn = _drawn(config, add)
  data = next(iter(drawn.values()))
  if "paint" in config:
    add("data", config["paint"], title=TO_PAINT.removeprefix("data "))
  builders = {"cluster": _cluster, "method": _forget, "protect": _protect, "train": _train, "measure": _measure}
  kind = next((k for k in builders if k in config), "data")
  fix = "name the methods as config.method; requests change single fields of them"
  require(kind == "method" or not config.get("requests"), "config.requests", sorted(config.get("requests") or ()), fix)
  kind = "train" if kind == "measure" and released.has_weights(config) else kind
  fix = "leave it out: only where a model is trained, and asked to forget, does every run draw its own data"
  require("data_seeds" not in config or kind in ("method", "train"), "config.data_seeds", config.get("data_seeds"), fix)
  given = drawn if kind in ("method", "train") else data
  cells, variants = builders[kind](config, given, add) if kind in builders else ((), {})
  return Plan({"method": "forget"}.get(kind, kind), stages, tuple(cells), variants, data)


def _drawn(config, add):
  """Adds the data; seed of `seeds` -> hash of its Data, which are the same unless `data_seeds` says otherwise."""
  own, stage, trained = config.get("data_seeds"), config["data"], seeds(config)
  if own is None:
    return dict.fromkeys(trained, add("data", stage, parts=released.words(config), title=short(stage)))
  own = whole(config, "data_seeds", 0)
  fix = f"give one for each of config.seeds, of which there are {len(trained)}"
  require(len(own) == len(trained), "config.data_seeds", own, fix)
  draw = lambda one: add("data", {**stage, "seed": one}, parts=released.words(config), title=f"{short(stage)} {one}")
  return {seed: draw(one) for seed, one in zip(trained, own)}


def unknown_fields(config: Mapping[str, Any]) -> None:
  """Raises Invalid for a field at the top of a config that no part of an experiment reads."""
  for key in config:
    if key not in KNOWN:
      fix = f"{near(key, KNOWN) or 'remove it; '}an experiment reads {', '.join(KNOWN)}"
      raise Invalid(f"config.{key}", config[key], fix)


def _training(config, data, add, label, seed, title, role="config"):
  """Adds the training of `config.model` by `config.train` on the Data `data`, from released weights if it has any."""
  start = released.weights(config, add, role)
  if start and "train" not in config:
    return start
  for part in ("model", "train"):
    require(part in config, f"{role}.{part}", "(missing)", f"say which {part}, as dict(name='...')")
  check("pretrained" if start else "model", config["model"], f"{role}.model")
  stage = config["train"]
  if label and takes("train", stage, "label"):
    stage = {**stage, "label": label}
  parts = {"model": config["model"], "label": stage.get("label")}
  return add("train", stage, {"data": data, **({"start": start} if start else {})}, parts, seed, title)


def _surrogate(config, data, add, own=None, row="", until=0):
  """Adds the surrogate, or with `until` the point of its training at that step, and returns its hash."""
  found, role = (own, f"config.protect.{row}.surrogate") if own else (config.get("surrogate"), "config.surrogate")
  if not found:
    return None
  if until:
    trained = "name" not in found and "train" in found
    fix = f"give {role} a model and its training: the points are steps of that"
    require(trained, "config.protect.checkpoints", until, fix)
    found = {**found, "train": {**found["train"], "until": until}}
  if "name" in found:
    return add("pretrained", found, title=short(found))
  if "data" in found:
    data = add("data", found["data"], title=short(found["data"]))
  title = (f"surrogate of {row}" if own else "surrogate") + (f" at step {until}" if until else "")
  return _training(found, data, add, "", config.get("seed", 0), title, role)


def _protect(config, data, add):
  rows, cells = variants(config, data, add, functools.partial(_surrogate, config, data, add)), []
  if "train" not in config:
    return cells, rows
  measures = many(config, "measure") or {"utility": {"name": "audit.utility"}}
  fixed = config["train"].get("label")
  labellings = config.get("labellings", (fixed or "label",))
  fix = f"leave it out: labellings says which are trained, {tuple(labellings)}"
  require(fixed is None or tuple(labellings) == (fixed,), "config.train.label", fixed, fix)
  for row, protected in rows.items():
    for label in labellings:
      for thief, of in thieves(config, row).items():
        group = f"{label} / {thief}" if thief else label
        for seed in seeds(config):
          title = f"{row} / {group}"
          subject = _training(of, protected, add, label, seed, title)
          needs = {"subject": subject, "data": protected, "clean": data}
          scores = _scores(add, measures, needs, label, seed, title)
          cells.append(Cell(row, group, seed, subject, protected, scores))
  return cells, rows


def _train(config, drawn, add):
  cells = []
  for seed, data in drawn.items():
    subject = _training(config, data, add, "", seed, "original")
    cells += _measured(config, add, {"original": (subject, data)}, {}, seed)
  return cells, {}


def _forget(config, drawn, add):
  cells = []
  for seed, data in drawn.items():
    original = _training(config, data, add, "", seed, "original")
    for request, asked in requests(config).items():
      cells += _forgotten(asked, data, add, original, seed, request)
  return cells, {}


def _forgotten(config, data, add, original, seed, request):
  """The cells of one request: what is selected, the methods, what attacks bring back, all of it measured."""
  train, of = config.get("train"), f" ({request})" if request else ""
  parts = {"model": config["model"], "train": train, "label": (train or {}).get("label")}
  asked = data
  for name, stage in many(config, "select").items():
    asked = add("select", stage, {"subject": original, "data": asked}, parts, seed, name + of)
  rows, how = {"original": (original, asked)}, {"original": {}}  # how: what made them, for measures that ask
  needs, common = {"subject": original, "data": asked, "original": original}, {"original": original}
  if config.get("reference"):
    stage = config["reference"] if isinstance(config["reference"], Mapping) else {"name": "forget.retrain"}
    stage, its = _control(stage, parts)
    begun = released.again(config, add, stage, needs)
    rows["reference"], how["reference"] = (add("method", stage, begun, its, seed, f"reference{of}"), asked), stage
    common = {**common, "reference": rows["reference"][0]}
  nets = {}
  for name, stage in many(config, "method").items():
    begun = released.again(config, add, stage, needs)
    stage, nets[name] = _network(stage, parts, name)
    rows[name], how[name] = (add("method", stage, begun, nets[name], seed, name + of), asked), stage
  for name, stage in many(config, "attack").items():
    for row in [r for r in rows if r != "original" and " + " not in r]:
      attacked = {**needs, "subject": rows[row][0]}
      made = add("attack", stage, attacked, nets.get(row, parts), seed, f"{row} + {name}{of}")
      rows[f"{row} + {name}"] = (made, asked)
  return _measured(config, add, rows, common, seed, how, request)


def _control(stage, parts):
  """The stage of the reference without its field `train`, and the parts with what that changes."""
  if "train" not in stage:
    return stage, parts
  fix = "say how the original is trained, of which reference.train changes fields"
  require(parts["train"] is not None, "config.train", "(missing)", fix)
  changed = {**parts["train"], **stage["train"]}
  check("train", changed, "config.reference.train")
  return {name: value for name, value in stage.items() if name != "train"}, {**parts, "train": changed}


def _network(stage, parts, name):
  """The stage of a method without its field `model`, and the parts with that network, if it has one of its own."""
  if "model" not in stage:
    return stage, parts
  check("model", stage["model"], f"config.method.{name}.model")
  return {key: value for key, value in stage.items() if key != "model"}, {**parts, "model": stage["model"]}


def _measured(config, add, rows, common, seed, how={}, request=""):
  label = config.get("train", {}).get("label")
  measures = many(config, "measure") or {"utility": {"name": "audit.utility"}}
  for row, (subject, data) in rows.items():
    needs = {"subject": subject, "data": data, **common}
    attack = row.partition(" + ")[2]
    if attack and "reference" in common:  # under the same attack, the reference learns again, too
      needs["reference"] = rows[f"reference + {attack}"][0]
    asked = {n: m for n, m in measures.items() if row in how or not takes("measure", m, "method")}
    title = f"{row} ({request})" if request else row
    yield Cell(row, request, seed, subject, data, _scores(add, asked, needs, label, seed, title, config, how.get(row)))


def _scores(add, measures, needs, label, seed, title, config={}, made=None):
  """Adds the measures; one that judges a recipe takes `train` and `method`, and gets those that made the subject."""

  said = released.words(config) if "data" in config else {}

  def parts(stage):
    """The label, the tokenizer, and the recipe."""
    spoken = said if any(takes("measure", stage, name) for name in ("encode", "decode")) else {}
    if not takes("measure", stage, "train"):
      return {"label": label, **spoken}
    fix = "it trains models of its own: use it where one config.train makes what is measured"
    require("train" in config and "model" in config, "config.measure", stage["name"], fix)
    recipe = {"train": config["train"], "model": config["model"]}
    method = {"method": made} if made and takes("measure", stage, "method") else {}
    return {"label": label, **spoken, **recipe, **method}

  return {name: add("measure", m, needs, parts(m), seed, f"{name} of {title}") for name, m in measures.items()}


def _cluster(config, data, add):
  cells = []
  for seed in seeds(config):
    for name, stage in many(config, "cluster").items():
      made = add("cluster", stage, {"data": data}, seed=seed, title=name)
      k = argument("cluster", stage, "k")
      score = add("score", {"name": "cluster.scores"}, {"clustering": made, "data": data}, {"k": k}, title=name)
      cells.append(Cell(name, "", seed, made, data, {"clustering": score}))
  return cells + _measure(config, data, add)[0], {}


def _measure(config, data, add):
  cells = []
  for seed in seeds(config):
    for name, stage in many(config, "measure").items():
      score = add("measure", stage, {"data": data}, seed=seed, title=name)
      alone = stage["name"].startswith("cluster.")
      require(alone, "config.train", "(missing)", f"say how the model is trained that {stage['name']} measures")
      cells.append(Cell(name, "", seed, data, data, {short(stage): score}))
  return cells, {}
