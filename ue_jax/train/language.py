"""Training of token models on next-token prediction."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.tally import add, means, tally
from ue_jax.core.terms import Objective, mean_term
from ue_jax.models import lora as low_rank
from ue_jax.models.attention import Packed
from ue_jax.models.model import Model
from ue_jax.train import adapters, batches, losses, optim
from ue_jax.train.descend import Descent, descend


def train(
  model: Model,
  *,
  train_sets: Sequence[str] = ("train",),
  scales: Sequence[Any] = (),
  prompt: Any = 0.0,
  steps: int = 1000,
  batch_size: int | Sequence[int] = 64,
  rate: Any = 1e-3,
  optimizer: str = "adamw",
  schedule: str = "cosine",
  warmup: int = 0,
  final: Any = 0.0,
  weight_decay: Any = 0.0,
  b2: Any = 0.999,
  clip: Any = 1.0,
  trainable: str = ".*",
  probe_sets: Sequence[str] = (),
  every: int = 0,
  start: Subject | None = None,
  lora: Mapping[str, Any] = {},
  pack: int = 0,
) -> Procedure:
  """Data (or Request) -> Subject: minimises the mean negative log-likelihood over target tokens, in nats.

  With `prompt` the other tokens of a sequence count too, with that weight; the scores count targets only.

  Args:
    model: maps ids int32 `[b, t]` to logits `[b, t, vocabulary]`.
    train_sets: sets to train on; with more than one (replay of earlier data) each is a term of its own, named after
      it, with its own batches.
    scales: the terms' coefficients, one a set; empty means 1 for each.
    prompt: weight of the tokens that stand before the last target and are none, in [0, 1]; may be traced.
    batch_size: sequences a step of each set, or one number a set.
    steps, rate, optimizer, schedule, warmup, final, weight_decay, b2, clip, trainable: see `optim.make`.
    probe_sets: sets whose `<set>_nll` (nats a token) and `<set>_accuracy` are looked at every `every` steps.
    start: a Subject to go on from, instead of a fresh initialisation.
    lora: settings of `train.adapters`, as `dict(rank=8)`: only low-rank adapters of `start` are trained, and merged at
      the end; empty: all that is `trainable`.
    pack: length of rows into which several sequences are packed, each read as if it stood alone (`data.packed`);
      `batch_size` then counts rows. For models with `packs`. 0: a row for each sequence.

  Raises:
    Invalid: for arguments out of range; at `init` for a set that does not exist, adapters without a start, or packed
      texts longer than the model reads.
  """
  require(len(train_sets) > 0, "train.train_sets", train_sets, "name at least one set")
  require(len(scales) in (0, len(train_sets)), "train.scales", scales, f"give one number for each of {train_sets}")
  require(isinstance(steps, int) and steps >= 0, "train.steps", steps, "give a whole number >= 0")
  each = (batch_size,) * len(train_sets) if isinstance(batch_size, int) else tuple(batch_size)
  right = len(each) == len(train_sets) and all(isinstance(size, int) and size >= 1 for size in each)
  require(right, "train.batch_size", batch_size, "give a whole number >= 1, or one for each of train_sets")
  require(not isinstance(prompt, (int, float)) or 0 <= prompt <= 1, "train.prompt", prompt, "give 0 to 1")
  require(isinstance(pack, int) and pack >= 0, "train.pack", pack, "give the length of a row, or 0")
  require(not pack or model.packs, "train.pack", pack, "leave it out: this model reads one text a row")
  tx = optim.make(
    optimizer, rate, max(steps, 1), schedule=schedule, warmup=warmup, final=final, weight_decay=weight_decay, b2=b2,
    clip=clip, train=trainable,
  )  # fmt: skip

  low = adapters.settings(lora, "train.lora") if lora else None

  def begin(key, problem):
    data = batches.data_of(problem)
    for name in train_sets:
      batches.rows_of(data, name)
      longest = batches.width(data, (name,)) if pack and model.context else 0
      fix = f"the model reads texts of up to {model.context} tokens; one in the set '{name}' has {longest}: shorten it"
      require(longest <= (model.context or 0), "train.pack", pack, fix)
    batches.array_of(data, "mask")
    if low is not None:
      require(start is not None, "train.lora", lora, "give a model with weights: adapters need a base")
      adapted = adapters.subject_of(key, start, low["rank"], _scale(low), low["where"], low["start"])
      return adapted.params, start.state, {"apply": adapted.model.apply}
    if start is not None:
      return start.params, start.state, {}
    return *model.init(key, batches.array_of(data, "ids")[:1]), {}

  def whole(params):
    return params if low is None else low_rank.merge(start.params, params, _scale(low))

  def finish(params, state, problem):
    del problem
    return Subject(model, whole(params), state)

  def probe(state: Descent, problem):
    return token_scores(model, whole(state.params), state.state, batches.data_of(problem), probe_sets)

  def part(name, size):
    if pack:
      return batches.packed(name, size, pack)
    return batches.trimmed(batches.epochs(name, size, ("ids", "mask")), (name,))

  return descend(
    objective(model, train_sets, scales, prompt), tx, start=begin, finish=finish,
    batch=batches.several(**{name: part(name, size) for name, size in zip(train_sets, each)}),
    steps=steps, probe=probe if probe_sets else None, every=every, convolutional=model.convolutional,
  )  # fmt: skip


def _scale(low: Mapping[str, Any]) -> Any:
  return low["alpha"] / low["rank"]


def objective(
  model: Model, sets: Sequence[str] = ("train",), scales: Sequence[Any] = (), prompt: Any = 0.0
) -> Objective:
  """The mean negative log-likelihood of each set's tokens by `weights`, as an Objective over nested batches.

  `frozen["apply"]`, a pytree, stands in the place of the model's own if it is there.
  """
  scales = scales or (1.0,) * len(sets)

  def terms(params, state, frozen, batch, key):
    """One Term a set, and the model state after all of them."""
    apply, found = frozen.get("apply", model.apply), {}
    for i, (name, scale) in enumerate(zip(sets, scales)):
      part = batch[name]
      inputs = Packed(part["ids"], part["segment"]) if "segment" in part else part["ids"]
      out = apply(params, inputs, state=state, train=True, key=jax.random.fold_in(key, i))
      state = out.state
      counted = weights(part["mask"], prompt, part.get("segment"))
      found[name] = mean_term(-losses.token_log_probs(out.logits, part["ids"]), counted, scale)
    return found, state

  return terms


def weights(mask: jax.Array, prompt: Any = 0.0, segment: jax.Array | None = None) -> jax.Array:
  """How much each token counts: targets as `mask` says, what stands before the last of them `prompt` times as much.

  The first token of a text, which nothing predicts, and padding count nothing; float32 `[b, t]`, as `mask`.

  Args:
    mask: float `[b, t]`, 1 where there is a target.
    prompt: see `train`.
    segment: int `[b, t]` of rows that hold several texts; None: one.
  """
  later = jnp.flip(jax.lax.cummax(jnp.flip(mask, axis=1), axis=1), axis=1)
  first = jnp.zeros(mask.shape[1], jnp.int32).at[0].set(1) > 0
  if segment is not None:
    first = first | (segment != jnp.roll(segment, 1, axis=1))
  return jnp.where(first, 0.0, jnp.where(mask > 0, mask, prompt * later))


def token_scores(
  model: Model, params: Any, state: Any, data: Data, sets: Sequence[str], batch_size: int = 256
) -> dict[str, np.float32]:
  """`<set>_nll` (nats a target token, >= 0) and `<set>_accuracy` (in [0, 1]) for those of `sets` that exist."""
  out = {}
  for name in sets:
    if name in data.sets:
      rows = np.asarray(data.sets[name])
      parts = []
      for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        full = np.resize(some, min(batch_size, len(rows)))
        mask = data.arrays["mask"][full] * (np.arange(len(full)) < len(some))[:, None].astype(np.float32)
        parts.append(_score(model, params, state, data.arrays["ids"][full], mask))
      out.update({f"{name}_{key}": np.float32(value) for key, value in means(add(parts)).items()})
  return out


@functools.partial(jax.jit, static_argnums=0)
def _score(model: Model, params: Any, state: Any, ids: jax.Array, mask: jax.Array) -> dict:
  logits = model.apply(params, ids, state=state, train=False).logits
  hits = jnp.pad(losses.correct(logits[:, :-1], ids[:, 1:]), ((0, 0), (1, 0)))
  return {"nll": tally(-losses.token_log_probs(logits, ids), mask), "accuracy": tally(hits, mask)}
