"""Challenging Forgets: Unveiling the Worst-Case Forget Sets in Machine Unlearning (Fan et al., ECCV 2024).

Which samples are the hardest to unlearn? Those on which the unlearned model still has a low loss (section 4):

    min over w in [0, 1]^n, sum w = m,  of  sum_i w_i loss_i(theta(w)) + gamma |w|^2
    where theta(w) is what unlearning makes of the model if sample i is forgotten with weight w_i, kept with 1 - w_i.

The gradient by w through theta(w) is dropped: where unlearning goes by the sign of the gradient it is zero almost
everywhere. A step of this procedure unlearns from the start again, computes all losses, descends on w and projects.

Departures. The losses are computed in evaluation mode without augmentation, where the released code trains on in that
pass. The projection bisects around the m-th largest entry, in which numbers of any size keep their digits. `lower` may
be any method whose batches are parts `retain` and `forget`, or rows with an `index`; only for `sign` steps does
dropping the gradient lose nothing.

A trap of the released defaults: from a random start of zeros and ones, alpha = 0.01 moves no w by more than a tenth,
and the m largest stay what they were. The metric `overlap`, the set `start` and `info["worst_case"]` tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import build
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.pieces import pieces
from ue_jax.core.procedure import Procedure
from ue_jax.data import splits
from ue_jax.forget import fine_tune, relaxed, requests, simplex
from ue_jax.train import likelihood, losses

WAYS = {"by": ("sample", "class"), "start": ("uniform", "random"), "mode": ("reload", "retrain")}


class Selection(NamedTuple):
  """The state of a selection; groups are samples or classes.

  Attributes:
    w: float32 `[g]` in [0, 1] with sum m: how much each group is to be forgotten.
    score: float32 `[g]`: `w` before it was last made binary.
    begin: float32 `[g]`: `w` at the start.
    lower: the state in which every unlearning starts.
    frozen: pictures, labels and groups of all samples, and the network.
    key: typed random key.
    step: int32 scalar.
  """

  w: jax.Array
  score: jax.Array
  begin: jax.Array
  lower: Any
  frozen: Any
  key: jax.Array
  step: jax.Array


def select(
  share: float = 0.1,
  by: str = "sample",
  start: str = "uniform",
  mode: str = "reload",
  reverse: bool = False,
  steps: int = 10,
  alpha: Any = 1e3,
  gamma: Any = 1e-4,
  binarise: int = 5,
  lower: Procedure | Mapping[str, Any] | None = None,
  lower_steps: int = 40,
  rate: Any = 1e-3,
  batch_size: int = 64,
  within: str = "train",
  label: str = "label",
  chunk: int = 512,
) -> Procedure:
  """Request -> Request: the sets `forget` (the hardest of `within`) and `retain` (its other rows). For pictures.

  The data gets an array `difficulty`, float32 in [0, 1]: the last w of each row, 0 outside of `within`; for a random
  start the set `start`; and `info["worst_case"]`.

  Args:
    share: of the samples, or of the classes, that is chosen, in (0, 1).
    by: `sample`, or whole classes of `label` (`class`).
    start: w is `uniform` (recommended) or the indicator of a `random` set.
    mode: every unlearning starts at the subject (`reload`), or at parameters drawn anew (`retrain`).
    reverse: True looks for the easiest to forget: those of the largest loss.
    steps: of the upper level. Paper 20.
    alpha: rate of the upper level; may be traced, as may gamma and rate. Paper 1e-3, code 0.01: see above.
    gamma: weight of |w|^2.
    binarise: every so many steps w becomes the indicator of its m largest; 0 never does (projected gradient), 1 always.
    lower: the unlearning: a method's Procedure, or its stage (`dict(name="forget.graddiff", ...)`). None is
      fine-tuning by the sign of the gradient.
    lower_steps, rate, batch_size: of that default.
    within: the set to choose from.
    label: the labelling.
    chunk: samples whose losses are computed at once.

  Raises:
    Invalid: for a setting out of range; at `init` for data that `lower` does not take or without the set; at the first
      batch for a `lower` whose batches do not say which samples they hold.
  """
  _check(share, steps, binarise, by=by, start=start, mode=mode)
  lower = _lower(lower, lower_steps, rate, batch_size, label)

  def init(key, request):
    inner_key, start_key, key = jax.random.split(key, 3)
    asked = relaxed.everything(request, within, label)
    frozen, groups = _frozen(asked, by, label)
    begin, inner = _begin(start_key, groups, share, start), lower.init(inner_key, asked)
    has = {"params", "state", "key"} <= set(inner._fields)
    require(has, "select.lower", inner._fields, "choose a method whose state holds params, state and key")
    return Selection(begin, begin, begin, inner, frozen, key, jnp.zeros((), jnp.int32))

  def step(state, batch):
    key = jax.random.fold_in(state.key, state.step)
    m = simplex.size(share, len(state.w))
    params, model_state = _unlearned(lower, state, batch, key, mode)
    cost = simplex.group_means(_losses(params, model_state, state.frozen, chunk), state.frozen["group"], len(state.w))
    sign = -1.0 if reverse else 1.0
    objective = jnp.sum(sign * state.w * cost) + gamma * jnp.sum(state.w**2)
    score = simplex.project(state.w - alpha * (sign * cost + 2 * gamma * state.w), m)
    hits = simplex.top(score, m)
    binary = (state.step + 1) % binarise == 0 if binarise else False
    metrics = {"objective": objective, "cost": jnp.sum(hits * cost) / m, "overlap": jnp.sum(hits * state.begin) / m}
    return state._replace(w=jnp.where(binary, hits, score), score=score, step=state.step + 1), metrics

  def batch(seed, request, t):
    asked = relaxed.everything(request, within, label)
    parts = [relaxed.lean(lower.batch(seed, asked, t * lower.steps + i), asked.data) for i in range(lower.steps)]
    return jax.tree.map(lambda *x: np.stack(x), *parts)

  def finish(state, request):
    return chosen(state, request, simplex.size(share, len(state.w)), by, within, label, start)

  return Procedure(init, step, finish, batch, steps, convolutional=lower.convolutional)


def chosen(
  state: Selection, request: Request, m: int, by: str, within: str, label: str, start: str
) -> Request:
  """The request for the m groups of the largest w, with what the search found out about itself."""
  w, begin, score = (np.asarray(x, np.float64) for x in (state.w, state.begin, state.score))
  group, rows = np.asarray(state.frozen["group"]), np.asarray(request.data.sets[within])
  best = np.argsort(-w, kind="stable")[:m]
  old = {name: at for name, at in request.data.sets.items() if name not in ("forget_test", "retain_test", "start")}
  if start == "random":
    old["start"] = rows[begin[group] > 0]
  difficulty = np.zeros(request.data.n, np.float32)
  difficulty[rows] = score[group]
  data = Data({**request.data.arrays, "difficulty": difficulty}, old, request.data.info)
  if by == "class":
    data = splits.forget_classes(data, sorted(best.tolist()), label=label, within=within, field="select.share")
  else:
    data = splits.forget_index(data, data.arrays["index"][rows[best]], within=within)
  return request._replace(data=data._replace(info={**data.info, "worst_case": _about(begin, best, start)}))


def _about(begin: np.ndarray, best: np.ndarray, start: str) -> dict[str, Any]:
  """`overlap` with the start, whether the search had an effect, and what to do if not."""
  overlap = float(begin[best].sum() / len(best))
  still = start == "random" and overlap == 1
  advice = "the found set is the random start: alpha is too small to move it; take 1e2 to 1e4, or start='uniform'"
  return {"overlap": overlap, "effective": not still, **({"advice": advice} if still else {})}


def _unlearned(lower: Procedure, state: Selection, batch: Any, key: jax.Array, mode: str) -> tuple[Any, Any]:
  """Parameters and model state after unlearning what `state.w` asks for."""
  frozen, begin = state.frozen, state.lower
  if mode == "retrain":
    params, model_state = frozen["init"](jax.random.fold_in(key, 1), frozen["image"][:1])
    begin = begin._replace(params=params, state=model_state)
  weight = state.w[frozen["group"]]
  walk = lambda inner, part: (lower.step(inner, relaxed.fill(part, frozen["image"], weight))[0], None)
  after, _ = jax.lax.scan(walk, begin._replace(key=key), batch)
  return after.params, after.state


def _losses(params: Any, state: Any, frozen: Mapping[str, Any], chunk: int) -> jax.Array:
  """The cross entropy of all samples, float32 `[n]`, `chunk` at a time."""
  n = len(frozen["label"])
  at = np.stack(list(pieces(n, chunk, "select.chunk")))

  def some(rows):
    part = {"image": frozen["image"][rows]}
    return losses.cross_entropy(likelihood.logits(frozen["apply"], params, state, part), frozen["label"][rows])

  return jax.lax.map(some, jnp.asarray(at)).reshape(-1)[:n]


def _frozen(request: Request, by: str, label: str) -> tuple[dict[str, Any], int]:
  """What nothing changes, and the number of groups."""
  rows, arrays = np.asarray(request.data.sets["train"]), request.data.arrays
  group = arrays[label][rows] if by == "class" else np.arange(len(rows))
  model, groups = request.subject.model, int(group.max()) + 1
  require(len(np.unique(group)) == groups >= 2, "select.by", by, "give at least two samples or classes, none empty")
  more = {"image": arrays["image"][rows], "label": arrays[label][rows], "group": group.astype(np.int32)}
  return requests.frozen(request, init=jax.tree_util.Partial(model.init), **jax.tree.map(jnp.asarray, more)), groups


def _begin(key: jax.Array, groups: int, share: float, start: str) -> jax.Array:
  m = simplex.size(share, groups)
  if start == "random":
    return simplex.top(jax.random.uniform(key, (groups,)), m)
  return jnp.full(groups, m / groups, jnp.float32)


def _lower(lower: Any, steps: int, rate: Any, batch_size: int, label: str) -> Procedure:
  if lower is None:
    lower = fine_tune.method(optimizer="sign", steps=steps, rate=rate, retain_batch=batch_size, label=label)
  elif isinstance(lower, Mapping):
    lower = build("method", lower["name"], **{name: value for name, value in lower.items() if name != "name"})
  require(lower.steps >= 1, "select.lower", lower.steps, "choose a method that takes steps")
  return lower


def _check(share: float, steps: int, binarise: int, **words: str) -> None:
  require(isinstance(share, float) and 0 < share < 1, "select.share", share, "give a share above 0 and below 1")
  whole = lambda x, least: isinstance(x, int) and x >= least
  require(whole(steps, 1), "select.steps", steps, "give a whole number >= 1")
  require(whole(binarise, 0), "select.binarise", binarise, "give a number of steps, 0 for never")
  for name, word in words.items():
    require(word in WAYS[name], f"select.{name}", word, f"choose one of {WAYS[name]}")
