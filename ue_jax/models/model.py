"""A model is a pair of pure functions over plain pytrees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError

from ue_jax.core.errors import require

Taps = Mapping[str, Callable[[jax.Array], jax.Array]]


class Out(NamedTuple):
  """What a model returns.

  Attributes:
    logits: float32 `[batch, classes]`, or `[batch, length, vocabulary]` for token models.
    features: float32 `[batch, width]`, the input of the last linear layer (`[batch, length, width]` for tokens).
    state: the model state after the call (batch statistics); the one given if `train` is False.
  """

  logits: jax.Array
  features: jax.Array
  state: Any = {}


class Model(NamedTuple):
  """Something that can be initialised and applied.

  Attributes:
    init: `(key, inputs) -> (params, state)`; `inputs` is an example batch, only its shape matters.
    apply: `(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out`. Pictures may be uint8 or
      float32 in [0, 1]. `taps` maps a site to a function applied to the value there; a site not named costs nothing.
    convolutional: True if it has convolutions of XLA on CPUs, which lose their threads inside loops there.
    cache: `(params, batch, slots) -> state` of language models: room for `slots` tokens of each of `batch` texts, to
      be given to `apply` as its state; None where there is none.
    adapts: True if `apply` takes a `lora.Beside` in the place of `params`.
    context: tokens of the longest text that a language model was made for; None where no limit is known.
    packs: True if `apply` takes an `attention.Packed` as inputs.
  """

  init: Callable[..., tuple[Any, Any]]
  apply: Callable[..., Out]
  convolutional: bool = False
  cache: Callable[..., Any] | None = None
  context: int | None = None
  adapts: bool = False
  packs: bool = False


def tap(taps: Taps, site: str, value: jax.Array) -> jax.Array:
  """The value after the function that `taps` holds for `site`, if any."""
  return taps[site](value) if site in taps else value


def at_task(state: Any, task: jax.Array | int) -> Any:
  """The state in which a model of several tasks is the classifier of `task`.

  Raises:
    Invalid: for the state of a network that has no tasks.
  """
  fix = "give a network with tasks, as models.hypernetwork or models.multihead"
  require("task" in state, "model", sorted(state), fix)
  return {**state, "task": jnp.asarray(task, jnp.int32)}


def fits(model: Model, params: Any, state: Any, inputs: Any) -> bool:
  """Whether the parameters are those of a network for inputs of such a shape; nothing is computed."""
  try:
    shapes_of(model, params, state, inputs)
  except ScopeParamShapeError:
    return False
  return True


def classes_of(model: Model, params: Any, state: Any, inputs: Any) -> int:
  """How many logits the model gives for such inputs; nothing is computed."""
  return shapes_of(model, params, state, inputs).logits.shape[-1]


def shapes_of(model: Model, params: Any, state: Any, inputs: Any) -> Out:
  """What the model gives for such inputs, as `jax.ShapeDtypeStruct`s; nothing is computed.

  A model is traced once for inputs of a shape: JAX keeps what it found, which a fresh function would hide from it.
  """
  return _applied.eval_shape(model.apply, params, state, inputs)


@functools.partial(jax.jit, static_argnums=0)
def _applied(apply, params, state, inputs):
  return apply(params, inputs, state=state)
