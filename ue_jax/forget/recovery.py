"""Is a forgotten task gone, or only its code? A new code is trained on the frozen hypernetwork, with the task's data.

Without the code of a task the network may say nothing of it and still have it: then a new one brings it back. What a
task that was never learned reaches this way is what the others teach. In a network with a head a task it is a new head
on the frozen trunk, which is far stronger: a linear layer on features of any sort.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ue_jax.core.nouns import Data
from ue_jax.models.model import Model, at_task
from ue_jax.train import batches, losses, optim, supervised


def accuracy(
  model: Model, params: Any, state: Any, data: Data, task: int, *, key: jax.Array, steps: int = 300, rate: float = 0.02,
  batch_size: int = 64, label: str = "label",
) -> np.float32:  # fmt: skip
  """The accuracy on `task_<task>_test`, in [0, 1], after training a new code, or head, on `task_<task>`.

  Args:
    model, params, state: a `models.hypernetwork`, `models.multihead` or `models.apart`; only what belongs to this task
      alone is replaced, see `placed`.
    data: of tasks.
    task: which.
    key: the new code is drawn with it; a head begins at zeros.
    steps, rate, batch_size: of the training, by Adam; the rate falls to 0 as a cosine.
    label: the labelling.
  """
  rows, test = (np.asarray(data.sets[name]) for name in (f"task_{task}", f"task_{task}_test"))
  at = np.stack([batches.shuffled(task, len(rows), batch_size, i) for i in range(steps)])
  asked = at_task(state, task)
  part = {"image": data.arrays["image"][rows[at]], "label": data.arrays[label][rows[at]]}
  fresh = drawn(jax.random.fold_in(key, task), params)
  found = new_code(model, steps, rate, params, asked, part, fresh)
  logits, _ = supervised.predict(model, found, asked, data.arrays["image"][test])
  return np.float32(np.mean(logits.argmax(-1) == data.arrays[label][test]))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def new_code(model: Model, steps: int, rate: float, params: Any, state: Any, part: Any, fresh: jax.Array) -> Any:
  """The parameters with a new code, or head, of the task that `state` asks for, trained from `fresh`.

  Args:
    model, steps, rate: static.
    params, state: of the network; all but this code keep their bits.
    part: `image` `[steps, b, h, w, c]` and `label` int32 `[steps, b]`.
    fresh: float32 `[code]`, or a head.
  """
  tx = optim.make("adam", rate, steps, schedule="cosine")
  replaced = lambda code: placed(params, state["task"], code)

  def loss(code, batch):
    logits = model.apply(replaced(code), batch["image"], state=state).logits
    return jnp.mean(losses.cross_entropy(logits, batch["label"]))

  def step(carry, batch):
    code, opt = carry
    updates, opt = tx.update(jax.grad(loss)(code, batch), opt, code)
    return (optax.apply_updates(code, updates), opt), None

  (code, _), _ = jax.lax.scan(step, (fresh, tx.init(fresh)), part)
  return replaced(code)


def drawn(key: jax.Array, params: Any) -> Any:
  """What a new code begins with, drawn as the network draws them; zeros for a head."""
  if "code" in params:
    return jax.random.normal(key, params["code"].shape[1:])
  return jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), params.get("main", params)["head"])


def placed(params: Any, task: jax.Array, own: Any) -> Any:
  """The parameters with `own` for what belongs to a task alone: the code of a hypernetwork, or a head.

  In `models.apart` the head of the task is replaced in the main network and in that of its own: one of them answers.
  """
  if "code" in params:
    return {**params, "code": params["code"].at[task].set(own)}
  put = lambda net, at: {**net, "head": jax.tree.map(lambda all, x: all.at[at].set(x), net["head"], own)}
  if "main" in params:
    return {**params, "main": put(params["main"], task), "own": put(params["own"], (task, task))}
  return put(params, task)
