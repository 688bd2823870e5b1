"""A network that makes the weights of another: the code of a task goes in, all parameters of a target come out.

Source: von Oswald et al., "Continual learning with hypernetworks", ICLR 2020 (chunks); sizes and codes as in "An
Unlearning Framework for Continual Learning (UnCLe)", 2025. The weights come in `chunks` equal slices, each from the
code of the task and a fixed code of the slice, through one perceptron. The released network cuts every layer into as
many slices as the largest, which makes six times more values than are used; here the target's parameters are one
vector, and fewer than `chunks` values are left over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ue_jax.core.build import build
from ue_jax.core.errors import require
from ue_jax.models import layers
from ue_jax.models.model import Model, Out, tap


def model(
  classes: int = 10, tasks: int = 5, chunks: int = 16, code: int = 16, hidden: Sequence[int] = (64, 128),
  target: str = "models.mlp", **options: Any,
) -> Model:  # fmt: skip
  """A classifier for each of several tasks. Parameters: `code` float32 `[tasks, code]`, `body_i`, `head`.

  The state says which task is asked: `task` int32, see `model.at_task`; it also holds the codes of the slices, `chunks`
  float32 `[chunks, code]`, which nothing trains. Batch statistics of the target are those of the batch in every mode,
  so that none leak from task to task: predictions then depend on the other pictures of the batch.

  Args:
    classes: size of the logits.
    tasks: how many.
    chunks: slices that the target's parameters are made in.
    code: width of the codes, of a task and of a slice.
    hidden: widths of the layers before the last.
    target: the module of the target network.
    options: its arguments, such as `widths`.

  Sites for taps: `weights` (float32 `[p]`, all parameters of the target), and those of the target.

  Raises:
    Invalid: for sizes that are not positive whole numbers, or what the target refuses.
  """
  layers.check_positive(tasks=tasks, chunks=chunks, code=code, hidden=tuple(hidden))
  inner = build("model", target, classes=classes, **options)

  def init(key, inputs):
    body_key, head_key, task_key, chunk_key, inner_key = jax.random.split(key, 5)
    shapes, state = inner.init(inner_key, inputs)
    leaves = jax.tree.leaves(shapes)
    slice_ = -(-sum(x.size for x in leaves) // chunks)
    fan = min(math.prod(x.shape[:-1]) for x in leaves if x.ndim > 1)
    params = {"code": jax.random.normal(task_key, (tasks, code))} | _body(body_key, (2 * code, *hidden))
    bound = math.sqrt(3 / (hidden[-1] * fan))  # what comes out has the variance 1 / fan
    kernel = jax.random.uniform(head_key, (hidden[-1], slice_), minval=-bound, maxval=bound)
    params["head"] = {"kernel": kernel, "bias": jnp.zeros(slice_)}
    own = {"chunks": jax.random.normal(chunk_key, (chunks, code)), "task": jnp.zeros((), jnp.int32)}
    return params, own | ({"target": state} if state else {})

  def apply(params, inputs, *, state={}, train=False, key=None, taps={}) -> Out:
    require("chunks" in state, "state", sorted(state), "give the state that init or load returned")
    shapes, _ = jax.eval_shape(inner.init, jax.random.key(0), inputs)
    leaves, form = jax.tree.flatten(shapes)
    size = sum(math.prod(x.shape) for x in leaves)
    flat = tap(taps, "weights", generate(params, state, state["task"])[:size])
    rest = {site: fn for site, fn in taps.items() if site != "weights"}
    ends = [0]
    for x in leaves:
      ends.append(ends[-1] + math.prod(x.shape))
    made = jax.tree.unflatten(form, [flat[a:b].reshape(x.shape) for a, b, x in zip(ends, ends[1:], leaves)])
    batch = state.get("target", {})
    out = inner.apply(made, inputs, state=batch, train=train or bool(batch), key=key, taps=rest)
    return Out(out.logits, out.features, state)

  return Model(init, apply, inner.convolutional)


def generate(params: Any, state: Any, task: jax.Array) -> jax.Array:
  """The weights for a task, float32 `[chunks * slice]`: the target's `p` parameters and fewer than `chunks` unused.

  Args:
    params, state: of the hypernetwork.
    task: int32 scalar, may be traced; `jax.vmap(generate, (None, None, 0))` makes those of several.
  """
  chunks = state["chunks"]
  mine = jnp.broadcast_to(params["code"][task], (len(chunks), params["code"].shape[1]))
  x = jnp.concatenate([mine, chunks], axis=1)
  for name in sorted((n for n in params if n.startswith("body_")), key=lambda n: int(n.removeprefix("body_"))):
    x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
  return (x @ params["head"]["kernel"] + params["head"]["bias"]).reshape(-1)


def _body(key: jax.Array, widths: Sequence[int]) -> dict[str, dict[str, jax.Array]]:
  """Linear layers in He's initialisation."""
  keys = jax.random.split(key, len(widths) - 1)
  made = lambda key, a, b: {"kernel": jax.random.normal(key, (a, b)) * math.sqrt(2 / a), "bias": jnp.zeros(b)}
  return {f"body_{i}": made(key, a, b) for i, (key, a, b) in enumerate(zip(keys, widths, widths[1:]))}
