"""Sixteen learning rates of a small perceptron: one program against sixteen runs. Also the start-up time.

    python -m benchmarks.sweep [--settings 16] [--steps 200] [--repeats 3]

Compared, on the same data, seeds and batches:

- one program: `parallel.sweep` in mode `vmap`;
- stepwise: a step jitted once with the rate as an argument, in a Python loop over steps and settings;
- sixteen fits: `train.loop.fit` for each setting, as somebody without a sweep driver would write it.

`cold` is the first call in this process, compilation included (with no persistent cache); `warm` compiles nothing for
the stepwise baseline, and is the least of the repeats for all. The ratios are what to read: times depend on the load.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.models import mlp
from ue_jax.parallel import sweep
from ue_jax.train import loop, supervised


def blobs(n: int = 2048, width: int = 8, classes: int = 10, seed: int = 0) -> Data:
  """Noisy class means as grey pictures of 8 x 8 = 64 pixels."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, classes, n).astype(np.int32)
  means = rng.uniform(60, 190, (classes, width, width, 1))
  image = np.clip(means[label] + rng.normal(0, 60, (n, width, width, 1)), 0, 255).astype(np.uint8)
  rows = np.arange(n, dtype=np.int32)
  info = {"labels": {"label": [str(c) for c in range(classes)]}}
  return Data({"image": image, "label": label, "index": rows}, {"train": rows}, info)


def contenders(settings: int, steps: int) -> dict[str, Callable[[], list[float]]]:
  """name -> function that runs all settings and returns their last losses."""
  data, model = blobs(), mlp.model(widths=(64,))
  rates = sweep.grid(rate=np.geomspace(1e-3, 0.3, settings))
  factory = lambda rate: supervised.train(model, steps=steps, batch_size=128, rate=rate, optimizer="sgd", probe_sets=())
  step = jax.jit(lambda rate, state, batch: factory(rate).step(state, batch))

  def stepwise():
    last = []
    for rate in jnp.asarray(rates["rate"]):
      procedure = factory(rate)
      state = procedure.init(jax.random.key(0), data)
      for t in range(steps):
        state, metrics = step(rate, state, procedure.batch(0, data, t))
      last.append(float(metrics["loss"]))
    return last

  def final(results):
    return [float(r.history["loss"][-1]) for r in results]

  return {
    "one program": lambda: final(sweep.sweep(factory, rates, data, mode="vmap")),
    "stepwise": stepwise,
    "sixteen fits": lambda: final([loop.fit(factory(float(rate)), data) for rate in rates["rate"]]),
  }


def measure(run: Callable[[], list[float]], repeats: int) -> tuple[float, float, list[float]]:
  """(cold seconds, warm seconds, result)."""
  seconds = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    result = run()
    seconds.append(time.perf_counter() - start)
  return seconds[0], min(seconds[1:]), result


def start_up() -> float:
  """Seconds that `import ue_jax` and its core, training and model rooms take beyond `import jax`; least of three."""
  rooms = "ue_jax.core.build, ue_jax.train.loop, ue_jax.train.supervised, ue_jax.parallel.sweep, ue_jax.models.mlp"
  code = f"import time, jax; t = time.perf_counter(); import {rooms}; print(time.perf_counter() - t)"
  run = lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  return min(float(run().stdout) for _ in range(3))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, value in (("settings", 16), ("steps", 200), ("repeats", 3)):
    parser.add_argument(f"--{name}", type=int, default=value)
  args = parser.parse_args()
  jax.config.update("jax_enable_compilation_cache", False)
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; {args.settings} settings x {args.steps} steps")
  found = {name: measure(run, args.repeats) for name, run in contenders(args.settings, args.steps).items()}
  cold, warm, losses = found["one program"]
  for name, (one_cold, one_warm, last) in found.items():
    apart = np.max(np.abs(np.asarray(last) - np.asarray(losses)))
    ratios = f"x{one_cold / cold:.1f} cold, x{one_warm / warm:.1f} warm"
    print(f"{name:14s} cold {one_cold:6.2f} s  warm {one_warm:6.2f} s  {ratios}  last losses within {apart:.1e}")
  print(f"start-up: importing the rooms takes {start_up():.2f} s beyond importing jax (aim < 2)")


if __name__ == "__main__":
  main()
