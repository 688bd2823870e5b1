"""What the methods of this room share: batches of a request, the retain term, the way in and out.

Everything works for token sequences and for pictures with labels, on the likelihoods of `train.likelihood`: the model
runs as in evaluation, without dropout, and batch statistics stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.pieces import pieces
from ue_jax.core.terms import Term
from ue_jax.data import mixture
from ue_jax.train import batches, language, losses
from ue_jax.train.likelihood import batch_of, callable_tree, log_prob, logits, nll_term

TOKENS = 4096  # at once, where nothing is trained: the logits of 50 000 words are then 0.8 GB
RETAIN = ("nll", "kl", "none")
OVER = ("answers", "all")  # what the kl counts
TAKEN = ("forget", "loss", "reinforce")  # terms and curves of other meaning


def keep(request: Request, names: Sequence[str] = ("retain",)) -> Request:
  """The request with the union of the sets `names` as its set `retain`: all that must not be forgotten.

  Raises:
    Invalid: for a set that the data does not have, or no name.
  """
  data = request.data
  require(len(names) > 0, "method.keep", names, "name at least one set")
  for name in names:
    require(name in data.sets, "method.keep", name, f"give data with this set; it has {sorted(data.sets)}")
  if tuple(names) == ("retain",):
    return request
  rows = np.unique(np.concatenate([np.asarray(data.sets[name]) for name in names]))
  return request._replace(data=Data(data.arrays, {**data.sets, "retain": rows}, data.info))


def check(request: Request, sets: Sequence[str], label: str = "label") -> Request:
  """The request, if its data has the `sets` and the arrays that unlearning reads.

  Raises:
    Invalid: naming the missing set or array, or a set that is none (see `check_sets`).
  """
  data = request.data
  check_sets(data, sets)
  require(
    "ids" in data.arrays or "image" in data.arrays,
    "data.arrays", sorted(data.arrays), "give token sequences (ids, mask) or pictures (image and a labelling)",
  )
  wanted = ("ids", "mask") if "ids" in data.arrays else ("image", label)
  for name in wanted:
    require(name in data.arrays, "data.arrays", sorted(data.arrays), f"add the array '{name}'")
  return request


def check_sets(data: Data, sets: Sequence[str]) -> None:
  """Each of `sets` is there, has rows and names rows that there are; none is to be forgotten twice.

  Raises:
    Invalid: naming the set and the first position that is wrong.
  """
  for name in sets:
    require(name in data.sets, "method.sets", name, f"give data with this set; it has {sorted(data.sets)}")
    at, field = np.asarray(data.sets[name]), f"data.sets[{name}]"
    require(len(at) > 0, field, "0 positions", "name at least one row")
    beyond = at[(at < 0) | (at >= data.n)]
    require(not len(beyond), field, beyond[:1].tolist(), f"name rows within 0..{data.n - 1}")
    values, counts = np.unique(at, return_counts=True)
    twice = values[counts > 1] if name == "forget" else values[:0]
    require(not len(twice), field, twice[:1].tolist(), "name every row once")


def rows(data: Data, name: str, at: np.ndarray, label: str = "label") -> dict[str, np.ndarray]:
  """The samples at positions `at` of the set `name`, as a batch.

  Returns `ids`, `mask` `[b, t]` or `image`, `label`, `mask` `[b]`, and `row` int32 `[b]`: the position
  inside the set, by which values stored per sample of the set are found again.
  """
  at = np.asarray(at)
  return batch_of(data, np.asarray(data.sets[name])[at], label) | {"row": at.astype(np.int32)}


def batch(
  sizes: Mapping[str, int], label: str = "label", names: Sequence[str] = ("retain",), pairing: str = "cyclic",
  anchor: str = "forget",
):  # fmt: skip
  """The `batch` of a Procedure: for step t, `sizes[name]` samples of every set named; `names` make up `retain`.

  A pure function of (seed, t). What is to be forgotten runs through its own permutations, one an epoch, and so do all
  other sets if they are `cyclic`; else the others stand beside its rows as `data.mixture.pairs` says. With the anchor
  `retain` all others run through theirs, and what is to be forgotten stands beside the rows of the first of them. Sets
  smaller than the size asked for give all they have. Token sequences come without the columns on the right in which no
  sequence of their set has a target: a causal model never sees those.
  """
  seen: dict[str, Any] = {}  # the widths of the data looked at last: they are the same one step after step

  def draw(seed: int, problem: Request, t: int) -> dict[str, dict[str, np.ndarray]]:
    """name of a set -> its batch of step `t`."""
    if seen.get("data") is not problem.data:
      kept = keep(problem, names) if "retain" in sizes else problem
      widths = {name: batches.width(kept.data, (name,)) for name in sizes} if "ids" in kept.data.arrays else {}
      seen.update(data=problem.data, kept=kept, widths=widths)
    out, data = {}, seen["kept"].data
    n, own = {name: len(data.sets[name]) for name in sizes}, dict(zip(sizes, _own_seeds(seed, len(sizes))))
    walked = lambda name: batches.shuffled(own[name], n[name], min(sizes[name], n[name]), t)
    first = next(name for name in sizes if (name == "forget") == (anchor == "forget") or pairing == "cyclic")
    for name, size in sizes.items():
      if pairing == "cyclic" or (name == "forget") == (anchor == "forget"):
        at = walked(name)
      else:
        at = mixture.beside(walked(first), n[first], n[name], min(size, n[name]), own[name], t, pairing)
      out[name] = cut(rows(data, name, at, label), seen["widths"].get(name))
    return out

  return draw


def sizes(
  forget: int, retain: int, kind: str, weights: Mapping[str, Any] = {}, pairing: str = "cyclic", anchor: str = "forget"
) -> dict[str, int]:
  """The sizes of a batch: with `retain` samples, of every set of `weights` if there are some, unless `kind` is `none`.

  With the pairing `one_to_one` every set gives as many samples as `forget`.

  Raises:
    Invalid: for an unknown kind of retain term, pairing or anchor, a size below 1, a weight below 0, or weights or the
      anchor `retain` without a retain term.
  """
  require(pairing in mixture.PAIRINGS, "method.pairing", pairing, f"choose one of {mixture.PAIRINGS}")
  require(anchor in mixture.ANCHORS, "method.anchor", anchor, f"choose one of {mixture.ANCHORS}")
  fix = "choose the pairing 'random' or 'one_to_one': with 'cyclic' each set has epochs of its own"
  require(anchor == "forget" or pairing != "cyclic", "method.anchor", anchor, fix)
  for name, weight in weights.items():
    require(name not in TAKEN, "method.retain_sets", name, "name sets to keep")
    below = isinstance(weight, (int, float)) and weight < 0
    require(not below, f"method.retain_sets.{name}", weight, "give a weight >= 0")
  require(kind in RETAIN, "method.retain", kind, f"choose one of {RETAIN}")
  require(forget >= 1, "method.forget_batch", forget, "give at least 1")
  fix = "leave it out, or choose the retain term 'nll' or 'kl': with 'none' no set is retained"
  require(kind != "none" or not weights, "method.retain_sets", dict(weights), fix)
  require(kind != "none" or anchor == "forget", "method.anchor", anchor, fix)
  require(retain >= 1, "method.retain_batch", retain, "give at least 1")
  kept = {} if kind == "none" else dict.fromkeys(weights or ("retain",), forget if pairing == "one_to_one" else retain)
  return {"forget": forget, **kept}


def read(kind: str, names: Sequence[str], weights: Mapping[str, Any]) -> tuple[str, ...]:
  """The sets that a method reads: `forget` and, unless `kind` is `none`, those of `names` or of `weights`.

  Raises:
    Invalid: if sets are named in both ways.
  """
  once = not weights or tuple(names) == ("retain",)
  require(once, "method.keep", tuple(names), "leave it out beside retain_sets, which names the sets by itself")
  return ("forget",) if kind == "none" else ("forget", *(weights or names))


def frozen(request: Request, **more: Any) -> dict[str, Any]:
  """What the objective reads and nothing trains: the model's `apply` as a pytree, and `more`."""
  return {"apply": callable_tree(request.subject.model.apply), **more}


def finish(params: Any, state: Any, problem: Request) -> Subject:
  """The subject with new parameters."""
  return Subject(problem.subject.model, params, state)


def kl_term(
  before: jax.Array, after: jax.Array, batch: Mapping[str, jax.Array], scale: jax.Array | float = 1.0,
  over: str = "answers",
) -> Term:  # fmt: skip
  """KL(before || after) of the distributions that predict the targets, mean over targets.

  With `over="all"` those that predict the tokens before the last target count too, the prompt's; padding never does.
  A picture has one output.
  """
  value, mask = losses.kl(before, after), batch["mask"]
  if "ids" in batch:  # the distribution over the token at t is the output at t - 1
    mask = language.weights(mask, 1.0) if over == "all" else mask
    value, mask = value[:, :-1], mask[:, 1:]
  return Term(jnp.sum(value * mask), jnp.sum(mask), scale)


def retain_terms(
  kind: str, params: Any, state: Any, frozen: Mapping[str, Any], batch: Mapping[str, Any], scale: jax.Array | float,
  weights: Mapping[str, Any] = {}, over: str = "answers",
) -> dict[str, Term]:  # fmt: skip
  """`{"retain": ...}`: nll, or KL to the model before unlearning (`frozen["params"]`), or nothing.

  With `weights` a Term for each of their sets, under its name and with `scale` times its weight: each divides by the
  targets of its own batch, so a set of few short answers counts by its weight and not by its length. What
  the KL is taken `over`: see `kl_term`.
  """
  if kind == "none":
    return {}
  apply, found = frozen["apply"], {}
  for name, weight in (weights or {"retain": 1.0}).items():
    part = batch[name]
    now = logits(apply, params, state, part)
    if kind == "nll":
      found[name] = nll_term(now, part, scale * weight)
    else:
      found[name] = kl_term(logits(apply, frozen["params"], state, part), now, part, scale * weight, over)
  return found


def original_params(kind: str, request: Request) -> dict[str, Any]:
  """`{"params": ...}` if the retain term compares with the model before unlearning."""
  return {"params": request.subject.params} if kind == "kl" else {}


def reference_log_prob(request: Request, name: str, label: str = "label", chunk: int = 128) -> jax.Array:
  """s of every sample of the set `name` under the request's subject, float32 `[m]`, compiled once a model."""
  subject, m = request.subject, len(request.data.sets[name])
  apply = callable_tree(subject.model.apply)
  long = batches.width(request.data, (name,)) if "ids" in request.data.arrays else None
  chunk = min(chunk, max(TOKENS // (long or 1), 1))
  part = lambda some: cut(rows(request.data, name, some, label), long)
  done = [_log_probs(apply, subject.params, subject.state, part(some)) for some in pieces(m, chunk)]
  return jnp.concatenate(done)[:m]


@jax.jit
def _log_probs(apply, params, state, part):
  return log_prob(logits(apply, params, state, part), part)[0]


def cut(batch: dict[str, np.ndarray], width: int | None) -> dict[str, np.ndarray]:
  """The batch with the first `width` columns of its token sequences."""
  return batch if width is None else {**batch, **{name: batch[name][:, :width] for name in ("ids", "mask")}}


def _own_seeds(seed: int, n: int) -> list[int]:
  return [int(np.random.SeedSequence([seed, order]).generate_state(1)[0]) for order in range(n)]
