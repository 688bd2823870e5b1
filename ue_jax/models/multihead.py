"""A network with a head for each of several tasks: all but the last layer is shared.

Which task is asked is in the state, as with `models.hypernetwork`. Where one batch holds pictures of several tasks,
`marked` reads it off the pictures, so that whoever knows nothing of tasks can train and judge the network, too.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.build import build, remembered
from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, Out, at_task

MOST = 255  # tasks that a byte tells apart


@remembered
def model(classes: int = 10, tasks: int = 5, trunk: str = "models.mlp", **options: Any) -> Model:
  """A classifier for each of several tasks. Parameters: those of the trunk, with `head` for `[tasks]` of its heads.

  The state says which task is asked: `task` int32, a scalar or one a picture `[b]`, see `model.at_task`. Batch
  statistics of the trunk are those of the batch in every mode, as in `models.hypernetwork`.

  Args:
    classes: size of the logits, of every task.
    tasks: how many, at most 255.
    trunk: the module of the network; its last layer must be linear and be called `head`.
    options: its arguments, such as `widths`.

  Sites for taps are those of the trunk.

  Raises:
    Invalid: for sizes that are not positive whole numbers, what the trunk refuses, or a trunk with another last layer.
  """
  layers.check_positive(tasks=tasks)
  require(tasks <= MOST, "model.tasks", tasks, f"give at most {MOST}")
  inner = build("model", trunk, classes=classes, **options)

  def init(key, inputs):
    params, state = inner.init(key, inputs)
    head = params.get("head") if isinstance(params, dict) else None
    linear = isinstance(head, dict) and set(head) == {"kernel", "bias"} and head["kernel"].ndim == 2
    require(linear, "model.trunk", trunk, "give a network with a linear last layer named 'head'")
    keys = jnp.stack([key, *(jax.random.fold_in(key, i) for i in range(1, tasks))])
    heads = jax.vmap(lambda key: inner.init(key, inputs)[0]["head"])(keys)
    own = {"task": jnp.zeros((), jnp.int32)} | ({"trunk": state} if state else {})
    return {**params, "head": heads}, own

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    require("task" in state, "state", sorted(state), "give the state that init or load returned")
    first = {**params, "head": jax.tree.map(lambda x: x[0], params["head"])}  # features are the same under any head
    batch = state.get("trunk", {})
    out = inner.apply(first, inputs, state=batch, train=train or bool(batch), key=key, taps=taps)
    return Out(answer(params["head"], out.features, state["task"]), out.features, state)

  return Model(init, apply, inner.convolutional)


def answer(head: Any, features: jax.Array, task: jax.Array) -> jax.Array:
  """Logits float32 `[b, classes]` of features `[b, f]` by the heads of `task`, int32 scalar or `[b]`."""
  if jnp.ndim(task) == 0:
    return features @ head["kernel"][task] + head["bias"][task]
  every = jnp.einsum("bf,tfc->btc", features, head["kernel"]) + head["bias"]  # cheaper than a kernel for each picture
  return jnp.take_along_axis(every, task[:, None, None], axis=1)[:, 0]


def check(params: Any, state: Any) -> None:
  """Raises Invalid for the parameters and the state of another network."""
  head = params.get("head") if isinstance(params, dict) else None
  good = "task" in state and isinstance(head, dict) and "kernel" in head and jnp.ndim(head["kernel"]) == 3
  require(good, "method.model", sorted(params), "give a network with a head a task: models.multihead")


@functools.lru_cache(maxsize=16)
def marked(model: Model) -> Model:
  """The model for pictures `[b, h, w, c + 1]` whose last channel says the task of each, see `mark`.

  The `task` of its state says nothing. Whoever changes pictures (adds noise to them, say) must not change this channel.

  Args:
    model: a network with tasks that takes one a picture, as `models.multihead`.
  """

  def init(key, inputs):
    return model.init(key, inputs[..., :-1])

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    said = inputs[:, 0, 0, -1]
    task = said if said.dtype == np.uint8 else jnp.round(said * MOST)
    out = model.apply(params, inputs[..., :-1], state=at_task(state, task), train=train, key=key, taps=taps)
    return out._replace(state=state)

  return Model(init, apply, model.convolutional)


def mark(image: np.ndarray, task: np.ndarray | int) -> np.ndarray:
  """Pictures uint8 `[n, h, w, c + 1]`: those given `[n, h, w, c]`, and the task of each as a channel.

  Args:
    image: uint8.
    task: int `[n]` or a scalar, at most 255.
  """
  channel = np.broadcast_to(np.asarray(task, np.uint8).reshape(-1, 1, 1, 1), (*image.shape[:-1], 1))
  return np.concatenate([image, channel], axis=-1)
