"""Speed and memory of Unlearnable Clusters: `python -m benchmarks.unlearnable_clusters [--pictures 50000]`.

Prints ratios of one run: a step of K clusters in one vmapped program against K steps of one cluster each, in direct
mode with a small network; and the peak memory of this process while 50 000 random 32x32 pictures are protected, which
has to fit in 4 GiB. Compilation is left out of the times and counted in the memory.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import jax
import numpy as np

from ue_jax.core.nouns import Data, Subject
from ue_jax.models import cnn
from ue_jax.protect import budget
from ue_jax.protect import unlearnable_clusters as uc

LIMIT = 4.0  # GiB


def random_data(n: int, size: int = 32, seed: int = 0) -> Data:
  """Random bytes as pictures; one in six is in `test`."""
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 256, (n, size, size, 3), np.uint8)
  cut = n * 5 // 6
  sets = {"train": np.arange(cut, dtype=np.int32), "test": np.arange(cut, n, dtype=np.int32)}
  return Data({"image": image, "index": np.arange(n, dtype=np.int32)}, sets)


def surrogate(size: int = 32) -> Subject:
  """A small untrained network: its speed does not depend on its weights."""
  model = cnn.model(widths=(32, 64))
  params, state = model.init(jax.random.key(0), np.zeros((1, size, size, 3), np.float32))
  return Subject(model, params, state)


def peak() -> float:
  """The largest resident memory of this process so far, GiB."""
  unit = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def seconds(fn, repeats: int) -> float:
  """The shortest of `repeats` calls after one that compiles."""
  jax.block_until_ready(fn())
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(fn())
    times.append(time.perf_counter() - start)
  return min(times)


def vmapped_against_loop(k: int, batch_size: int, repeats: int) -> tuple[float, float]:
  """Seconds of one step of k clusters: in one program, and one cluster after another."""
  data = random_data(1200)
  procedure = uc.protect(surrogate(), k=k, batch_size=batch_size)
  state = procedure.init(jax.random.key(0), data)
  batch = jax.device_put(procedure.batch(0, data, 0))
  step = jax.jit(procedure.step)
  sliced = ("which", "targets", "aims", "carry", "delta")
  cut = lambda i: state._replace(**{name: getattr(state, name)[i : i + 1] for name in sliced})
  singles = [jax.block_until_ready(cut(i)) for i in range(k)]
  together = seconds(lambda: step(state, batch)[0].delta, repeats)
  alone = seconds(lambda: [step(one, batch)[0].delta for one in singles], repeats)
  return together, alone


def protect_many(n: int, k: int, steps: int) -> tuple[float, float, int]:
  """Seconds and peak memory (GiB) of protecting n pictures, and the largest change in grey levels."""
  data = random_data(n)
  start = time.perf_counter()
  procedure = uc.protect(surrogate(), k=k, steps=steps)
  state = procedure.init(jax.random.key(0), data)
  step = jax.jit(procedure.step)
  for t in range(steps):
    state, _ = step(state, procedure.batch(0, data, t))
  out = procedure.finish(state, data)
  taken = time.perf_counter() - start
  train = data.sets["train"]
  found = budget.audit(data.arrays["image"][train], out.arrays["image"][train], most=100)
  return taken, peak(), round(float(found["linf"].max()) * 255)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--clusters", type=int, default=10)
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--pictures", type=int, default=50_000)
  parser.add_argument("--steps", type=int, default=5)
  args = parser.parse_args()
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind} x {jax.device_count()}, float32")
  taken, memory, change = protect_many(args.pictures, args.clusters, args.steps)
  what = f"{args.pictures} pictures 32x32, {args.clusters} clusters, {args.steps} steps"
  print(f"{what}: {taken:.1f} s, largest change {change}/255")
  print(f"peak memory {memory:.2f} GiB of {LIMIT:.0f}: {'fits' if memory < LIMIT else 'DOES NOT FIT'}")
  together, alone = vmapped_against_loop(args.clusters, args.batch, args.repeats)
  print(f"a step of {args.clusters} clusters, batch {args.batch}: vmapped {together * 1e3:.1f} ms, "
        f"one after another {alone * 1e3:.1f} ms, ratio {alone / together:.2f}")  # fmt: skip
  if memory >= LIMIT:
    raise SystemExit(1)


if __name__ == "__main__":
  main()
