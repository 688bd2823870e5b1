"""A method out of a forget term: what gradient methods with a retain term have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Data, Request
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.data import refused
from ue_jax.forget import adapted, requests
from ue_jax.train import descend, likelihood, optim
from ue_jax.train import until as stopping
from ue_jax.train import watch as watching

# look(batch) -> its logits now, look(batch, name) -> those of the parameters `frozen[name]`
Look = Callable[..., jax.Array]
# (look, the forget batch, what `given` found and more that nothing trains) -> the forget term
Forget = Callable[[Look, Mapping[str, jax.Array], Mapping[str, Any]], Term]


def procedure(
  forget: Forget,
  given: Callable[[Request], Mapping[str, Any]],
  lora: Mapping[str, Any] = {},
  until: Mapping[str, Any] = {},
  watch: Mapping[str, Any] = {},
  **options: Any,
) -> Procedure:
  """Request -> Subject: descends on a forget term and, unless `retain` is `none`, `alpha` times a retain term.

  Reads the set `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  Args:
    forget: the forget term.
    given: what that reads besides, found once at the start: `{"params": request.subject.params}` for the model before
      unlearning; `{}` for nothing.
    lora: settings of `adapted.adapted`, as `dict(rank=8)`: only adapters are trained, and merged at the end; empty: all
      that is `trainable`.
    until: settings of `train.until.until`, as `dict(score="ex", target=0.2)`: where to stop early; empty: never.
    watch: settings of `train.watch.watch`, as `dict(sets=("forget", "retain"), every=5)`: curves on the Subject; empty:
      none.
    options: those of `pieces`.

  Raises:
    Invalid: for a setting that is not known, or data without the sets.
  """
  return wrapped(descend.descend(**pieces(forget, given, **options)), lora, until, watch, options.get("label", "label"))


def pieces(
  forget: Forget,
  given: Callable[[Request], Mapping[str, Any]],
  *,
  alpha: float = 1.0,
  rate: float = 3e-4,
  steps: int = 60,
  forget_batch: int = 24,
  retain_batch: int = 48,
  retain: str = "nll",
  keep: Sequence[str] = ("retain",),
  optimizer: str = "adam",
  clip: float = 0.0,
  label: str = "label",
  trainable: str = ".*",
  pairing: str = "cyclic",
  anchor: str = "forget",
  retain_sets: Mapping[str, Any] = {},
  kl_over: str = "answers",
) -> dict[str, Any]:
  """What `descend.descend` takes, for `procedure` and for methods that put more around a step.

  Args:
    forget, given: see `procedure`.
    alpha: coefficient of the retain term; may be traced, as may rate.
    rate: learning rate.
    steps: optimiser steps.
    forget_batch, retain_batch: samples a step; a smaller set gives all it has.
    retain: `nll` of the retain batch, `kl` to the model before unlearning on it, or `none`.
    keep: the sets that the retain batches are drawn from, taken together.
    optimizer: a name that `train.optim.make` knows.
    clip: the largest global norm of the gradient; 0 means no clipping.
    label: the labelling to forget, for pictures.
    trainable: regular expression: leaves in whose name it is found are trained, all others keep their bits.
    pairing: which retain samples stand beside those to forget: `cyclic`, the retain set is gone through epoch after
      epoch, all of it alike; `random`, drawn anew with replacement at every step; `one_to_one`, as many as are to be
      forgotten (`retain_batch` is not read), each forget sample always with the same partner.
    anchor: the set that goes through its epochs where the pairing is not `cyclic`: `forget`, or `retain` (with
      `retain_sets` every one of them), and `forget_batch` partners are drawn for rows of the first of those sets.
    retain_sets: set -> weight, as `dict(neighbour=0.5, retain=0.4, world=0.1)`: in the place of `keep`, batches and a
      retain term for each of the sets, under its name, with `alpha` times its weight. Weights may be traced; they need
      not add up to 1. Empty: one retain term of `keep`.
    kl_over: what the retain term `kl` counts: `answers`, the targets alone, or `all`, the tokens before them too.

  Raises:
    Invalid: for an unknown retain term, pairing or anchor, a `kl_over` that is unknown or without that term, the anchor
      `retain` where nothing is paired, a weight below 0, or sets named both in `keep` and `retain_sets`.
  """
  require(kl_over in requests.OVER, "method.kl_over", kl_over, f"choose one of {requests.OVER}")
  alone = kl_over != "answers" and retain != "kl"
  require(not alone, "method.kl_over", kl_over, "choose the retain term 'kl', or leave it out")
  sizes = requests.sizes(forget_batch, retain_batch, retain, retain_sets, pairing, anchor)
  sets = requests.read(retain, keep, retain_sets)

  def start(key, request):
    del key
    requests.check(request, sets, label)
    first = {**requests.original_params(retain, request), **given(request)}
    return request.subject.params, request.subject.state, requests.frozen(request, **first)

  def objective(params, state, frozen, batch, key):
    del key
    terms = {"forget": forget(looking(params, state, frozen), batch["forget"], frozen)}
    return terms | requests.retain_terms(retain, params, state, frozen, batch, alpha, retain_sets, kl_over), state

  tx = optim.make(optimizer, rate, steps, clip=clip, train=trainable)
  draw = requests.batch(sizes, label, keep, pairing, anchor)
  return dict(objective=objective, tx=tx, start=start, finish=requests.finish, batch=draw, steps=steps)


procedure.__signature__ = with_options(procedure, pieces)


def looking(params: Any, state: Any, frozen: Mapping[str, Any]) -> Look:
  """What a forget term looks through: see `Look`."""
  return lambda part, name="": likelihood.logits(frozen["apply"], frozen[name] if name else params, state, part)


def wrapped(
  procedure: Procedure, lora: Mapping[str, Any] = {}, until: Mapping[str, Any] = {}, watch: Mapping[str, Any] = {},
  label: str = "label",
) -> Procedure:  # fmt: skip
  """The procedure with what a config may put around any gradient method; empty settings put nothing.

  Raises:
    Invalid: for a setting that `adapted.adapted`, `train.until.until` or `train.watch.watch` does not take.
  """
  labelled = lambda settings: {"label": label, **settings} if settings else {}
  arrows = {
    "until": (stopping.until, labelled(until)), "lora": (adapted.adapted, lora),
    "watch": (watching.watch, labelled(watch)),
  }  # fmt: skip
  for field, (arrow, settings) in arrows.items():
    known = list(inspect.signature(arrow).parameters)[1:]
    for name, value in settings.items():
      require(name in known, f"method.{field}.{name}", value, f"it takes {', '.join(known)}")
    procedure = arrow(procedure, **settings) if settings else procedure
  return procedure


def refusals(data: Data, words: Sequence[str]) -> dict[str, Any]:
  """The sequences of the set `forget` with a refusal for the answer, see `data.refused`.

  Raises:
    Invalid: for words that the vocabulary lacks, or a refusal that is too long for a sequence.
  """
  return refused.refused(data, words, "forget", "method.refusal")
