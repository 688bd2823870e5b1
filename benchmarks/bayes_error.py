"""The gradient of the estimated Bayes error of 50 000 rows of 512 features: peak memory and time by size of block.

    nice -n -10 python -m benchmarks.bayes_error [--rows 50000] [--anchors 0] [--chunks 64,256,1024] [--repeats 1]

Every line is a process of its own, so that its peak (of the whole process, JAX and the rows included) is that of one
block size. The arithmetic is 6 n m d operations (m rows vote): 7.7e12 if all 50 000 do, minutes on a CPU, and a sixth
of it with the 8192 that `protect.bayes_error` takes by default. All differences at once would be 5 TB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

HEADER = ("what", "time", "peak memory", "aim", "note")


def rows(
  small: bool = False, n: int = 50_000, anchors: tuple[int, ...] = (8192, 0), chunks: tuple[int, ...] = (64, 256, 1024),
  repeats: int = 1,
) -> list[tuple[str, ...]]:
  """Lines of a table under `HEADER`; `small` takes a tenth of the rows and 32 features, to see that it runs."""
  n, d = (n // 10, 32) if small else (n, 512)
  return [line(n, d, min(m, n), chunk, repeats) for m in anchors for chunk in (chunks if m else chunks[-1:])]


def line(n: int, d: int, anchors: int, chunk: int, repeats: int) -> tuple[str, ...]:
  """One size of block, in a process of its own."""
  asked = json.dumps(dict(n=n, d=d, anchors=anchors, chunk=chunk, repeats=repeats))
  command = [sys.executable, "-m", "benchmarks.bayes_error", "--one", asked]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    raise RuntimeError(done.stderr)
  seen = json.loads(done.stdout.splitlines()[-1])
  work = 6 * n * (anchors or n) * d / seen["seconds"] / 1e9
  note = f"{work:.0f} GFLOP/s; cold {seen['cold']:.1f} s; {seen['start']:.2f} GiB before; error {seen['error']:.4f}"
  what = f"gradient, n {n}, d {d}, {anchors or n} vote, {chunk} rows a block"
  return what, f"{seen['seconds']:.2f} s", f"{seen['peak']:.2f} GiB", "< 2 GiB", note


def one(n: int, d: int, anchors: int, chunk: int, repeats: int) -> dict[str, float]:
  """Value and gradient: least seconds, those of the first call, peak GiB, and that before it."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from ue_jax.protect import bayes_estimate

  labels = jnp.arange(n, dtype=jnp.int32) % 10
  u = jax.random.normal(jax.random.key(0), (n, d)) + jax.random.normal(jax.random.key(1), (10, d))[labels]
  voters = jnp.asarray(np.random.RandomState(0).choice(n, anchors, False), jnp.int32) if anchors else None
  fn = jax.jit(jax.value_and_grad(lambda u: bayes_estimate.error(u, labels, 10, 10.0, anchors=voters, chunk=chunk)))
  jax.block_until_ready(u)
  start, taken = _peak(), []
  for _ in range(repeats + 1):
    before = time.perf_counter()
    error, _ = jax.block_until_ready(fn(u))
    taken.append(time.perf_counter() - before)
  return dict(seconds=min(taken), cold=taken[0], peak=_peak(), start=start, error=float(error))


def _peak() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rows", type=int, default=50_000)
  parser.add_argument("--anchors", default="8192,0", help="how many vote, several after commas; 0: all")
  parser.add_argument("--chunks", default="64,256,1024", help="where all vote, only the last is taken")
  parser.add_argument("--repeats", type=int, default=1, help="calls after the first, which compiles")
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--one", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.one:
    print(json.dumps(one(**json.loads(options.one))))
    return
  from ue_jax.report import tables

  numbers = lambda text: tuple(int(part) for part in text.split(","))
  found = rows(options.small, options.rows, numbers(options.anchors), numbers(options.chunks), options.repeats)
  print(tables.text(list(HEADER), [list(each) for each in found]))


if __name__ == "__main__":
  main()
