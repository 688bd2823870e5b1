"""How much of an accelerator's arithmetic a step of training a decoder uses.

    python -m benchmarks.throughput --peak 989 [--shape smollm2|1b] [--batch 64] [--length 512] [--remat] [--scan]

Random weights and moments in bfloat16, a step of AdamW, one device. `--peak` is what the device can do at most, in
10^12 operations a second (bfloat16, dense: 989 for an H100 or H200, 312 for an A100, 197 for a TPU v5e): the share of
it is printed. Operations are those of the model's products, a multiplication and an addition each, forward and twice
that backward; attention counts the half that is not masked, and what `--remat` computes anew is not counted. `--small`
takes 2 blocks, to see on a CPU that it runs. The aim is a share of .4 for both shapes.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks import language

SHAPES = {
  "smollm2": language.SIZES,
  "1b": dict(
    vocabulary=128256, width=2048, depth=16, heads=32, kv_heads=8, hidden=8192, tied=True, rope_base=5e5,
  ),
}  # fmt: skip


def operations(sizes: dict, batch: int, length: int) -> float:
  """Operations of a step on `batch` rows of `length` tokens: 6 a token for each weight in a product, and attention."""
  width, keys = sizes["width"], sizes["width"] * sizes["kv_heads"] // sizes["heads"]
  block = width * (2 * width + 2 * keys) + 3 * width * sizes["hidden"]
  weights = sizes["depth"] * block + sizes["vocabulary"] * width
  attention = sizes["depth"] * 2 * width * length / 2  # scores and mixture, of the half that is seen
  return 6.0 * batch * length * (weights + attention)


def measure(sizes: dict, batch: int, length: int, repeats: int, **how) -> tuple[float, float]:
  """Seconds of a step, the median after the first two, and the loss before the first."""
  import jax
  import jax.numpy as jnp

  from ue_jax.models import transformer

  ids = np.random.default_rng(0).integers(0, sizes["vocabulary"], (batch, length), dtype=np.int32)
  mask = np.broadcast_to(np.arange(length) > 0, (batch, length))
  step, state, inputs = language.asked_step(transformer.model(**sizes, **how), ids, mask, batch)
  state = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, state)
  inputs, taken, loss = jax.device_put(inputs), [], None
  for _ in range(repeats + 2):
    start = time.perf_counter()
    state, metrics = jax.block_until_ready(step(state, inputs))
    taken.append(time.perf_counter() - start)
    loss = float(metrics["loss"]) if loss is None else loss
  return float(np.median(taken[2:])), loss


def main() -> None:
  """Prints one line."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--shape", choices=tuple(SHAPES), default="smollm2")
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--length", type=int, default=512)
  parser.add_argument("--repeats", type=int, default=10)
  parser.add_argument("--peak", type=float, default=0.0, help="10^12 operations a second")
  for name in ("remat", "scan", "small"):
    parser.add_argument(f"--{name}", action="store_true")
  asked = parser.parse_args()
  sizes = {**SHAPES[asked.shape], **({"depth": 2} if asked.small else {})}
  seconds, loss = measure(sizes, asked.batch, asked.length, asked.repeats, remat=asked.remat, scan=asked.scan)
  rate = operations(sizes, asked.batch, asked.length) / seconds / 1e12
  share = f", {rate / asked.peak:.2f} of the peak" if asked.peak else ""
  tokens = asked.batch * asked.length / seconds
  print(f"{asked.shape}: {seconds:.4f} s a step, {tokens:.0f} tokens/s, {rate:.2f} TFLOP/s{share}; loss {loss:.3f}")


if __name__ == "__main__":
  main()
