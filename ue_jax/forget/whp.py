"""Who's Harry Potter: fine-tuning on what the model would say without what the forget set teaches.

Source: Eldan and Russinovich, "Who's Harry Potter? Approximate Unlearning in LLMs", 2023, section 2. A copy is
reinforced by descending on the nll of the forget set. With z0 the logits before and z' the reinforced ones, the generic
logits are

  z = z0(text with its anchors replaced) - scale relu(z'(text) - z0(text)),

and the model is fine-tuned on them at the targets of the forget set (by their argmax, as the paper, or as they are).
What reinforcing raises is what the target teaches; everything else keeps its logit. `guided` uses z itself, with two
models and nothing trained but the copy, as Shi et al., "MUSE", 2024, do. Anchors are one-word names here, replaced by a
table; the paper asks another model for longer expressions and their translations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ue_jax.core.build import with_options
from ue_jax.core.errors import require
from ue_jax.core.nouns import Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.core.terms import Term
from ue_jax.forget import shared
from ue_jax.models.model import Model
from ue_jax.train import descend, likelihood, losses

ALONE = {"retain": "none", "retain_sets": {}, "anchor": "forget", "kl_over": "answers"}  # the copy retains nothing


class Lessons(NamedTuple):
  """The state: first the copy is reinforced, then the subject learns from both.

  Attributes:
    copy: the descent of the reinforced copy.
    own: the descent of the subject.
    key, step: typed random key, and the steps of both together.
  """

  copy: descend.Descent
  own: descend.Descent
  key: jax.Array
  step: jax.Array

  @property
  def params(self) -> Any:
    """Of the subject."""
    return self.own.params

  @property
  def state(self) -> Any:
    """Of the subject's model."""
    return self.own.state


def method(
  scale: float = 5.0,
  reinforce: float = 1 / 3,
  hard: bool = True,
  anchors: Sequence[Sequence[str]] = (),
  gamma: float = 1.0,
  steps: int = 90,
  lora: Mapping[str, Any] = {},
  until: Mapping[str, Any] = {},
  watch: Mapping[str, Any] = {},
  **options: Any,
) -> Procedure:
  """Request -> Subject; reads the sets `forget` and (unless `retain` is `none`) those of `keep` or `retain_sets`.

  The paper has no retain term; `retain="none"` leaves it out.

  Args:
    scale: how much of what was raised is taken away; the paper uses 5, MUSE 1. May be traced, like `gamma`.
    reinforce: share of the steps that the copy takes first, from 0 to below 1.
    hard: learn the most likely of the generic outputs; False: their distribution.
    anchors: pairs of words of the vocabulary: in z0's text the first becomes the second. For token sequences.
    gamma: coefficient of the forget term.
    steps: optimiser steps, of the copy and of the subject together.
    lora, until, watch: see `shared.procedure`.
    options: those of `shared.pieces`, of which every argument is taken: alpha, rate, forget_batch, retain_batch,
      retain, keep, optimizer, label, trainable, pairing, anchor, retain_sets, kl_over.

  Raises:
    Invalid: for anchors that the vocabulary lacks, a share out of range, an unknown retain term, or data without the
      sets.
  """
  require(0 <= reinforce < 1, "method.reinforce", reinforce, "give a share of the steps from 0 to below 1")
  first_steps = round(reinforce * steps)

  def forget(look, part, frozen):
    wanted = look(_translated(part, frozen.get("swap")), "params")
    wanted = generic(wanted, look(part, "params"), look(part, "copy"), scale)
    now, _, mask = likelihood.target_logits(look(part), part)
    return loss(now, likelihood.target_logits(wanted, part)[0], mask, hard, gamma)

  given = lambda request: {"params": request.subject.params, **_swap(request, anchors)}
  learn = lambda look, part, _: likelihood.nll_term(look(part), part)
  own = descend.descend(**shared.pieces(forget, given, steps=steps - first_steps, **options))
  copy = descend.descend(**shared.pieces(learn, lambda _: {}, steps=first_steps, **{**options, **ALONE}))

  def init(key, request):
    first, second = jax.random.split(key)
    mine = own.init(second, request)
    return Lessons(copy.init(first, request), mine, mine.key, mine.step)

  def step(state: Lessons, batch, axis=None):
    return _either(state.step < first_steps, (_reinforced(copy, axis), _taught(own, axis)), state, batch)

  finish = lambda state, request: own.finish(state.own, request)
  both = own._replace(init=init, step=step, finish=finish, steps=steps)
  return shared.wrapped(both, lora, until, watch, options.get("label", "label"))


method.__signature__ = with_options(method, shared.pieces)


def generic(z0: jax.Array, before: jax.Array, reinforced: jax.Array, scale: jax.Array | float) -> jax.Array:
  """`z0 - scale relu(reinforced - before)`, float32 `[..., v]`: what was not raised keeps its logit, with its bits.

  Args:
    z0: float `[..., v]`, logits of the text with its anchors replaced; `before` if there are none.
    before, reinforced: float `[..., v]`, logits of the text itself, of the model before unlearning and of the copy.
    scale: 0 changes nothing.
  """
  raised = jax.nn.relu(reinforced.astype(jnp.float32) - before.astype(jnp.float32))
  return z0.astype(jnp.float32) - jnp.float32(1) * scale * raised


def guided(subject: Subject, reinforced: Any, scale: float = 1.0) -> Subject:
  """A subject that answers with the generic logits of two models: nothing of the original is trained.

  To be used by hand, as no config reaches it: a run stores the parameters of a subject alone and puts the network of
  `config.model` around them when it reads them, and attacks expect parameters in the shapes of the original.

  Args:
    subject: the model before unlearning.
    reinforced: parameters of the copy that was fine-tuned on the forget set.
    scale: see `generic`.

  Returns:
    A subject whose parameters are `{"before": ..., "reinforced": ...}`; its `features` are those before.
  """
  apply = subject.model.apply

  def both(params, inputs, **more):
    out, other = apply(params["before"], inputs, **more), apply(params["reinforced"], inputs, **more)
    return out._replace(logits=generic(out.logits, out.logits, other.logits, scale))

  params = {"before": subject.params, "reinforced": reinforced}
  return subject._replace(model=Model(lambda key, inputs: (params, subject.state), both), params=params)


def loss(
  logits: jax.Array, wanted: jax.Array, mask: jax.Array, hard: bool = True, scale: jax.Array | float = 1.0
) -> Term:
  """The forget term: mean over targets of the cross entropy with the generic logits, which are not trained.

  Args:
    logits, wanted: float `[..., v]`, that the targets are predicted from: now, and generic ones.
    mask: float32 `[...]`, 1 where there is a target.
    hard: to the largest of `wanted`; else to its distribution.
    scale: the term's coefficient.
  """
  to = jnp.argmax(wanted, axis=-1) if hard else jax.lax.stop_gradient(jax.nn.softmax(wanted, axis=-1))
  return Term(jnp.sum(losses.cross_entropy(logits, to) * mask), jnp.sum(mask), scale)


def _swap(request: Request, anchors: Sequence[Sequence[str]]) -> dict[str, jax.Array]:
  """`{"swap": int32 [v]}`, the word that each word becomes; nothing without anchors."""
  if not anchors:
    return {}
  words = list(request.data.info.get("vocabulary", []))
  for pair in anchors:
    known = len(pair) == 2 and all(word in words for word in pair)
    require(known and "ids" in request.data.arrays, "method.anchors", pair, "give pairs of words of the vocabulary")
  table = jnp.arange(len(words), dtype=jnp.int32)
  return {"swap": table.at[jnp.array([words.index(a) for a, _ in anchors])].set(
    jnp.array([words.index(b) for _, b in anchors], jnp.int32)
  )}  # fmt: skip


def _translated(part: Mapping[str, jax.Array], swap: jax.Array | None) -> Mapping[str, jax.Array]:
  return part if swap is None else {**part, "ids": swap[part["ids"]]}


def _reinforced(copy: Procedure, axis: str | None) -> Any:
  """A step of the copy: `(state, batch) -> (state, metrics)`."""

  def go(state, batch):
    copied, seen = copy.step(state.copy, batch, axis=axis)
    return state._replace(copy=copied), {"reinforce": seen["forget"], "loss": seen["loss"]}

  return go


def _taught(own: Procedure, axis: str | None) -> Any:
  """A step of the subject, which looks at the copy: `(state, batch) -> (state, metrics)`."""

  def go(state, batch):
    told = state.own._replace(frozen={**state.own.frozen, "copy": state.copy.params})
    mine, seen = own.step(told, batch, axis=axis)
    return state._replace(own=mine._replace(frozen=state.own.frozen)), seen

  return go


def _either(first: jax.Array, branches: Sequence[Any], state: Lessons, batch: Any) -> tuple[Lessons, dict]:
  """One of two steps, each with the metrics of both: what the other one counts has seen nothing."""
  shapes = [jax.eval_shape(go, state, batch)[1] for go in branches]
  blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), {**shapes[0], **shapes[1]})

  def whole(go):
    def run(state):
      after, seen = go(state, batch)
      return after._replace(step=state.step + 1), {**blank, **seen}

    return run

  return jax.lax.cond(first, *map(whole, branches), state)
