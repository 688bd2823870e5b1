"""Memory of unlearning with adapters on a 7B decoder: what a step needs, found without a single array of that size.

    python -m benchmarks.adapters [--rank 8] [--rows 4] [--tokens 512] [--build 32]

Gradient difference (`forget.graddiff`, half of the rows forget, half retain) on adapters of Llama-2-7B's shape,
weights in bfloat16. `state` is what goes in and out of a step: weights, adapters, moments of Adam. `backward` is what
the forward pass leaves for the gradient, from the types of its residuals: the same on every backend, an upper bound
where a compiler computes some of them again; with and without `remat`, and `scan`, where the weights laid on top of
each other are among it. Adapters work beside the weights; `merged` says what it would be if they were merged into
second weights at every step. --build traces and compiles a step of so many blocks, scanned and one by one, and says
what that cost, and the temporary memory that this backend's compiler plans: a CPU takes products of bfloat16 through
float32 copies.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Data, Request, Subject
from ue_jax.core.procedure import Procedure
from ue_jax.forget import graddiff
from ue_jax.models import transformer
from ue_jax.models.model import Model
from ue_jax.parallel import spread

SHAPE = dict(vocabulary=32000, width=4096, heads=32, hidden=11008)
DEPTH = 32
WAYS = {  # what is said of a way of building the network -> remat, scan, adapters beside the weights
  "everything kept": (False, False, True), "blocks computed anew (remat)": (True, False, True),
  "remat, scanned": (True, True, True), "remat, merged": (True, False, False),
  "everything kept, merged": (False, False, False),
}  # fmt: skip


def request(model: Model, params: Any, rows: int, tokens: int) -> Request:
  """`rows` texts to forget and as many to keep."""
  index = np.arange(2 * rows, dtype=np.int32)
  arrays = {"ids": np.zeros((2 * rows, tokens), np.int32), "mask": np.ones((2 * rows, tokens), np.float32)}
  data = Data({**arrays, "index": index}, {"forget": index[:rows], "retain": index[rows:]})
  return Request(subject=Subject(model, params, {}), data=data)


def weights(model: Model) -> Any:
  """The shapes of the parameters, in bfloat16."""
  made = jax.eval_shape(lambda key: model.init(key, np.zeros((1, 2), np.int32))[0], jax.random.key(0))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), made)


def shapes(asked: Any, depth: int, remat: bool, scan: bool = False, beside: bool = True) -> tuple[Procedure, Any, Any]:
  """The procedure, the shapes of its state, and a batch."""
  model = transformer.model(**SHAPE, depth=depth, remat=remat, scan=scan)._replace(adapts=beside)
  rows = asked.rows // 2
  procedure = graddiff.method(forget_batch=rows, retain_batch=rows, lora=dict(rank=asked.rank))
  begin = lambda key, params: procedure.init(key, request(model, params, rows, asked.tokens))
  state = jax.eval_shape(begin, jax.random.key(0), weights(model))
  return procedure, state, procedure.batch(0, request(model, None, rows, asked.tokens), 0)


def size(tree: Any) -> int:
  """Bytes of arrays, or of their shapes."""
  return sum(math.prod(x.shape) * (4 if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x.dtype.itemsize)
             for x in jax.tree.leaves(tree))  # fmt: skip


def backward(state: Any, batch: Any) -> int:
  """Bytes that the forward passes of both halves leave for the gradient of the adapters."""

  def left(params, frozen, batch):
    out = lambda p: sum(jnp.sum(frozen["apply"](p, part["ids"], state={}).logits) for part in batch.values())
    return jax.vjp(out, params)[1]

  kept = jax.eval_shape(left, state.params, state.frozen, batch)
  return size(kept) - size(state.params) - size(state.frozen)


def build(asked: Any, depth: int, scan: bool) -> tuple[float, float, int]:
  """Seconds of CPU time to trace and to compile a step of so many blocks, and the bytes it needs beside its state."""
  jax.config.update("jax_enable_compilation_cache", False)  # what an earlier run compiled would be read
  procedure, state, batch = shapes(asked, depth, remat=True, scan=scan)

  def step(moving, still, batch):  # as `parallel.spread` gives it to the compiler
    state, metrics = procedure.step(spread.joined(moving, still), batch)
    return spread.parted(state)[0], metrics

  marks = [time.process_time()]
  lowered = jax.jit(step, donate_argnums=0).lower(*spread.parted(state), batch)
  marks.append(time.process_time())
  memory = lowered.compile().memory_analysis()
  return marks[1] - marks[0], time.process_time() - marks[1], memory.temp_size_in_bytes


def main() -> None:
  """Prints a line a figure, GiB."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, value in (("rank", 8), ("rows", 4), ("tokens", 512)):
    parser.add_argument(f"--{name}", type=int, default=value)
  parser.add_argument("--build", type=int, default=0)
  asked = parser.parse_args()
  tell = lambda what, value: print(f"{what:55s} {value / 2**30:6.2f} GiB", flush=True)
  for i, (way, how) in enumerate(WAYS.items()):
    _, state, batch = shapes(asked, DEPTH, *how)
    if i == 0:
      tell("state: weights, adapters, moments", size(state))
    tell(f"backward, {way}", backward(state, batch))
  for scan in (True, False) if asked.build else ():
    traced, compiled, more = build(asked, asked.build, scan)
    what = f"{asked.build} blocks {'scanned' if scan else 'one by one'}"
    print(f"{what}: traced in {traced:.1f} s, compiled in {compiled:.1f} s of CPU time", flush=True)
    tell("  temporary", more)


if __name__ == "__main__":
  main()
