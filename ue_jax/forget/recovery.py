"""Is a forgotten task gone, or only its code? A new code is trained on the frozen hypernetwork, with the task's data.

Throwing the code of a task away makes its accuracy fall to chance, too. If a new one brings the task back, the network
still had it. What a task that was never learned reaches this way is what the others teach.
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
  """The accuracy on `task_<task>_test`, in [0, 1], after training a new code on `task_<task>`.

  Args:
    model, params, state: a `models.hypernetwork`; only its code of this task is replaced.
    data: of tasks.
    task: which.
    key: the new code is drawn with it.
    steps, rate, batch_size: of the training, by Adam; the rate falls to 0 as a cosine.
    label: the labelling.
  """
  rows, test = (np.asarray(data.sets[name]) for name in (f"task_{task}", f"task_{task}_test"))
  at = np.stack([batches.shuffled(task, len(rows), batch_size, i) for i in range(steps)])
  asked = at_task(state, task)
  part = {"image": data.arrays["image"][rows[at]], "label": data.arrays[label][rows[at]]}
  fresh = jax.random.normal(jax.random.fold_in(key, task), params["code"].shape[1:])
  found = new_code(model, steps, rate, params, asked, part, fresh)
  logits, _ = supervised.predict(model, found, asked, data.arrays["image"][test])
  return np.float32(np.mean(logits.argmax(-1) == data.arrays[label][test]))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def new_code(model: Model, steps: int, rate: float, params: Any, state: Any, part: Any, fresh: jax.Array) -> Any:
  """The parameters with a new code of the task that `state` asks for, trained from `fresh` `[code]`.

  Args:
    model, steps, rate: static.
    params, state: of the hypernetwork; all but this code keep their bits.
    part: `image` `[steps, b, h, w, c]` and `label` int32 `[steps, b]`.
    fresh: float32 `[code]`.
  """
  tx = optim.make("adam", rate, steps, schedule="cosine")
  replaced = lambda code: {**params, "code": params["code"].at[state["task"]].set(code)}

  def loss(code, batch):
    logits = model.apply(replaced(code), batch["image"], state=state).logits
    return jnp.mean(losses.cross_entropy(logits, batch["label"]))

  def step(carry, batch):
    code, opt = carry
    updates, opt = tx.update(jax.grad(loss)(code, batch), opt, code)
    return (optax.apply_updates(code, updates), opt), None

  (code, _), _ = jax.lax.scan(step, (fresh, tx.init(fresh)), part)
  return replaced(code)
