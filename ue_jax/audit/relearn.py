"""Relearning: fine-tune on half of what was forgotten and see whether the other half comes back.

Source: Hu et al., "Jogging the Memory of Unlearned LLMs Through Targeted Relearning Attacks", 2024; Lynch et al.,
"Eight Methods to Evaluate Robust Unlearning in LLMs", 2024. The half that is trained on comes back in any case,
so the number to look at is the held half, against the same attack on a model that never saw either. `on` takes another
set instead, and forgets nothing of it: facts about neighbours of the forgotten, or texts that have nothing to do with
them, after which all of the forget set is held. What harmless training brings back was hidden, not forgotten.

`split` decides who is in which half; it depends on the data, `share`, `seed`, `by` and `on` only, so an `attack` and a
`measure` with the same settings agree without passing anything between them.
"""

from __future__ import annotations

import jax
import numpy as np

from ue_jax.audit import scoring, utility
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Scores, Subject
from ue_jax.core.procedure import Procedure, once
from ue_jax.train import batches, descend, likelihood, optim

HALVES = ("relearn", "relearn_held")


def attack(
  steps: int = 20,
  rate: float = 3e-4,
  share: float = 0.5,
  seed: int = 0,
  by: str = "",
  batch_size: int = 0,
  optimizer: str = "adam",
  label: str = "label",
  every: int = 0,
  on: str = "",
) -> Procedure:
  """Request -> Subject: the subject after descending on the nll of the set `relearn` of `split`.

  The model runs as in evaluation (no dropout, batch statistics stay).

  Args:
    steps: optimiser steps; 0 is the attack that does nothing.
    rate: learning rate; may be traced.
    share, seed, by, on: see `split`.
    batch_size: samples a step; 0 or more than there are: all of them.
    optimizer: a name that `train.optim.make` knows.
    label: the labelling, for pictures.
    every: steps between two looks at both halves, kept as curves `relearn/p` and `relearn_held/p`; 0: none.

  Raises:
    Invalid: see `split`.
  """
  require(batch_size >= 0, "attack.batch_size", batch_size, "give 0 (all samples) or a positive number")

  def start(key, request):
    del key
    split(request.data, share, seed, by, on)  # refuses here what could not be split later
    frozen = {"apply": jax.tree_util.Partial(request.subject.model.apply)}
    return request.subject.params, request.subject.state, frozen

  def batch(run_seed, request, t):
    data = split(request.data, share, seed, by, on)
    n = len(data.sets["relearn"])
    at = batches.shuffled(run_seed, n, min(batch_size or n, n), t)
    return likelihood.batch_of(data, data.sets["relearn"][at], label)

  def objective(params, state, frozen, batch, key):
    del key
    return {"nll": likelihood.nll_term(likelihood.logits(frozen["apply"], params, state, batch), batch)}, state

  def finish(params, state, request):
    return Subject(request.subject.model, params, state)

  def probe(descent, request):
    data = split(request.data, share, seed, by, on)
    scored = scoring.score(finish(descent.params, descent.state, request), data, HALVES, label)
    return {f"{name}/p": float(np.exp(-one.mean_nll()).mean()) for name, one in scored.items()}

  return descend.descend(
    objective, optim.make(optimizer, rate, steps), start=start, finish=finish, batch=batch, steps=steps,
    probe=probe if every else None, every=every,
  )


def measure(
  share: float = 0.5, seed: int = 0, by: str = "", label: str = "label", chunk: int = 256, on: str = ""
) -> Procedure:  # fmt: skip
  """Request -> Scores of `audit.utility` on both halves: `relearn/...` and `relearn_held/...`.

  Give it the `share`, `seed`, `by` and `on` of the attack.
  """

  def score(key, request: Request) -> Scores:
    del key
    return utility.scores(request._replace(data=split(request.data, share, seed, by, on)), HALVES, label, chunk)

  return once(score)


def split(data: Data, share: float = 0.5, seed: int = 0, by: str = "", on: str = "") -> Data:
  """The data with its set `forget` parted into `relearn` and `relearn_held`, or with another set as `relearn`.

  Args:
    share: of the groups that go to `relearn`, between 0 and 1; at least one goes to each side.
    seed: which groups.
    by: the array whose equal values belong together (facts of one person must not be on both sides);
      empty: `person` if the data has it, else every sample for itself.
    on: a set of the data to relearn from instead (`neighbour`, `math`, `relearn_benign`); held is what of `forget` is
      not in it, and the arguments above are not read. Empty: as they say.

  Raises:
    Invalid: without a set `forget` or the set `on`, if that holds all of `forget`, for an unknown array, a share
      outside (0, 1), or a single group.
  """
  if on:
    return _split_on(data, on)
  by = by or ("person" if "person" in data.arrays else "index")
  require("forget" in data.sets, "attack.sets", "forget", f"give data with this set; it has {sorted(data.sets)}")
  require(by in data.arrays, "attack.by", by, f"choose from {sorted(data.arrays)}")
  require(0 < share < 1, "attack.share", share, "give a number between 0 and 1, both excluded")
  rows = np.asarray(data.sets["forget"])
  groups = np.unique(data.arrays[by][rows])
  require(len(groups) > 1, "attack.by", by, "choose an array that has several values in the forget set")
  count = min(max(round(share * len(groups)), 1), len(groups) - 1)
  chosen = np.random.default_rng(seed).permutation(groups)[:count]
  shown = np.isin(data.arrays[by][rows], chosen)
  return Data(data.arrays, {**data.sets, "relearn": rows[shown], "relearn_held": rows[~shown]}, data.info)


def _split_on(data: Data, on: str) -> Data:
  for name, field in (("forget", "attack.sets"), (on, "attack.on")):
    require(name in data.sets, field, name, f"give data with this set; it has {sorted(data.sets)}")
  shown, rows = np.asarray(data.sets[on]), np.asarray(data.sets["forget"])
  held = rows[~np.isin(rows, shown)]
  require(len(held) > 0, "attack.on", on, "choose a set that leaves something of forget to be held")
  return Data(data.arrays, {**data.sets, "relearn": shown, "relearn_held": held}, data.info)
