"""A network that several tasks share, and room for one of its own for each: what is learned there leaves no trace here.

For continual learning with private unlearning (`forget.clpu`): a task that sits apart is deleted by putting the network
of its own back to where it began.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.build import build, remembered
from ue_jax.core.errors import require
from ue_jax.models.model import Model, Out, at_task


@remembered
def model(classes: int = 10, tasks: int = 5, network: str = "models.multihead", **options: Any) -> Model:
  """A classifier for each of several tasks.

  Parameters: `main`, of a network with tasks, and `own`, with a leading axis `[tasks]`, of one such network for each.
  The state: `task` int32 says which is asked (`model.at_task`), `apart` bool `[tasks]` which of them answer by a
  network of their own, and `inner` is the state of all these networks. There is room for all from the beginning, so
  parameters are `tasks + 1` times those of one network. Parameters without `own` are one network alone: it answers for
  every task, and then `task` may be one a picture, as the network allows.

  Args:
    classes: size of the logits, of every task.
    tasks: how many.
    network: the module of a network with tasks.
    options: its arguments.

  Sites for taps are those of the network.

  Raises:
    Invalid: for what the network refuses, or one without tasks.
  """
  inner = build("model", network, classes=classes, tasks=tasks, **options)

  def init(key, inputs):
    main_key, own_key = jax.random.split(key)
    main, state = inner.init(main_key, inputs)
    require("task" in state, "model.network", network, "give a network with tasks, as models.multihead")
    own = jax.vmap(lambda key: inner.init(key, inputs)[0])(jax.random.split(own_key, tasks))
    return {"main": main, "own": own}, {"task": state["task"], "apart": jnp.zeros(tasks, bool), "inner": state}

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    require("apart" in state, "state", sorted(state), "give the state that init or load returned")
    task, chosen = state["task"], params["main"]
    if "own" in params:
      pick = lambda own, main: jnp.where(state["apart"][task], own[task], main)
      chosen = jax.tree.map(pick, params["own"], params["main"])
    out = inner.apply(chosen, inputs, state=at_task(state["inner"], task), train=train, key=key, taps=taps)
    return out._replace(state=state)

  return Model(init, apply, inner.convolutional)
