"""k-means beside scikit-learn and faiss: steps of Lloyd, seeding, a stream out of core, and how time grows.

    nice -n -10 python -m benchmarks.k_means [--devices 2] [--repeats 5] [--stream]

float32 rows in C order. All sides start from the same centres, take 20 steps and run in turn in one process, each with
all cores; the ratio of the least times counts, with that of the CPU times beside it: on cores that others use, wall
times wait. `--devices 2` cuts the rows over two virtual CPU devices; a user who sets nothing has one. Data: noisy
digits (scikit-learn's 8x8 digits plus 2 times standard normal noise), 256 separated groups, and a single Gaussian
cloud, in which no bound helps. Then a million rows by ourselves alone, and our iteration with bounds beside our plain
one: on 64 groups, where most rows can be left out, and on uniform rows of 128 features, where hardly any can.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import k_means, mini_batch, seeding
from ue_jax.core.nouns import Data
from ue_jax.train import loop

HEADER = ("what", "ours", "peer", "ratio", "aim", "note")
STEPS = 20


def rows(small: bool = False, repeats: int = 5) -> list[tuple[str, ...]]:
  """Lines of a table under `HEADER`; `small` takes a tenth of the rows, to see that it runs."""
  n = 10_000 if small else 100_000
  lines = []
  for kind in ("digits", "groups", "cloud"):
    lines += lloyd(kind, n, repeats)
  return [*lines, *million(10 * n), *bounds(n, repeats), *seeds(n, 64 if small else 256), *growth(n)]


def data(kind: str, n: int, d: int = 64, k: int = 256) -> np.ndarray:
  """Rows float32 `[n, d]`."""
  draw = np.random.RandomState(0)
  if kind == "digits":
    from sklearn.datasets import load_digits

    return (load_digits().data[draw.randint(0, 1797, n)] + 2 * draw.randn(n, 64)).astype(np.float32)
  if kind == "uniform":
    return draw.uniform(size=(n, d)).astype(np.float32)
  means = 2 * draw.randn(k, d) * (kind == "groups")
  return (means[draw.randint(0, k, n)] + draw.randn(n, d)).astype(np.float32)


def lloyd(kind: str, n: int, repeats: int, k: int = 256) -> list[tuple[str, ...]]:
  """Twenty steps from one start, against scikit-learn's `lloyd` and against faiss."""
  x = data(kind, n)
  start = x[np.random.RandomState(1).choice(n, k, False)]
  sides = {"ours": ours(x, start), "scikit-learn": peer(x, start), **faiss(x, start)}
  cold = {name: _timed(side)[0] for name, side in sides.items()}
  taken = {name: [] for name in sides}
  for _ in range(repeats):
    for name, side in sides.items():
      taken[name].append(_timed(side))
  lines = []
  for name in list(sides)[1:]:
    mine, theirs = taken["ours"], taken[name]
    note = (f"cost {mine[0][2]:.6g}, theirs {theirs[0][2]:.6g}; cpu ratio {_least(mine, 1) / _least(theirs, 1):.2f}; "
            f"cold {cold['ours']:.1f} s")
    what = f"k-means, {kind}, n {n}, k {k}, {STEPS} steps, {jax.device_count()} device(s)"
    lines.append(_line(what, _least(mine), name, _least(theirs), "<= 0.8", note))
  return lines


def million(n: int, d: int = 32, k: int = 64) -> list[tuple[str, ...]]:
  """Twenty steps on n rows in k groups, nobody beside us."""
  x = data("groups", n, d, k)
  run = ours(x, x[np.random.RandomState(1).choice(n, k, False)])
  cold, _, cost = _timed(run)
  warm = min(_timed(run)[0] for _ in range(2))
  what = f"k-means, groups, n {n}, d {d}, k {k}, {STEPS} steps, {jax.device_count()} device(s)"
  return [(what, f"{warm:.2f} s", "", "", "< 25 s", f"cost {cost:.6g}; cold {cold:.1f} s")]


def bounds(n: int, repeats: int, k: int = 64) -> list[tuple[str, ...]]:
  """Twenty steps with bounds, beside the plain iteration from the same start."""
  lines = []
  for kind, rows, d, aim in (("groups", 2 * n, 16, "<= 0.6"), ("uniform", n, 128, "<= 1.15")):
    x = data(kind, rows, d, k)
    start = x[np.random.RandomState(1).choice(rows, k, False)]
    sides = {engine: ours(x, start, engine=engine) for engine in ("pruned", "plain")}
    cold = {name: _timed(side)[0] for name, side in sides.items()}
    taken = {name: [] for name in sides}
    for _ in range(repeats):
      for name, side in sides.items():
        taken[name].append(_timed(side))
    mine, plain = taken["pruned"], taken["plain"]
    note = (f"cost {mine[0][2]:.6g}, plain {plain[0][2]:.6g}; cpu ratio {_least(mine, 1) / _least(plain, 1):.2f}; "
            f"cold {cold['pruned']:.1f} s")
    what = f"bounds, {kind}, n {rows}, d {d}, k {k}, {STEPS} steps, {jax.device_count()} device(s)"
    lines.append(_line(what, _least(mine), "our plain steps", _least(plain), aim, note))
  return lines


def ours(x: np.ndarray, start: np.ndarray, steps: int = STEPS, engine: str = "auto") -> Callable[[], float]:
  """A fit from `start`, with the rows where it reads them."""
  devices = jax.devices() if jax.device_count() > 1 else None
  rows, key = jnp.asarray(x), jax.random.key(0)

  def run() -> float:
    how = dict(max_steps=steps, tol=0.0, engine=engine, devices=devices)
    return float(k_means.fit(rows, len(start), key=key, start=start, **how).cost)

  return run


def peer(x: np.ndarray, start: np.ndarray, steps: int = STEPS) -> Callable[[], float]:
  """scikit-learn's fit from the same start."""
  from sklearn.cluster import KMeans

  return lambda: KMeans(len(start), init=start, n_init=1, max_iter=steps, tol=0, algorithm="lloyd").fit(x).inertia_


def faiss(x: np.ndarray, start: np.ndarray, steps: int = STEPS) -> dict[str, Callable[[], float]]:
  """faiss's fit from the same start; nothing where it is not installed."""
  try:
    import faiss
  except ImportError:
    return {}

  def run() -> float:
    settings = dict(niter=steps, nredo=1, min_points_per_centroid=1, max_points_per_centroid=len(x), seed=0)
    model = faiss.Kmeans(x.shape[1], len(start), **settings)
    model.train(x, init_centroids=start)
    return float(model.index.search(x, 1)[0].sum())

  return {"faiss": run}


def seeds(n: int, k: int) -> list[tuple[str, ...]]:
  """Greedy k-means++ against scikit-learn's."""
  from sklearn.cluster import kmeans_plusplus

  x = data("digits", n)
  centred = jnp.asarray(x - x.mean(0))
  ones = jnp.ones(n)
  draw = jax.jit(lambda key, x: seeding.plus_plus(key, x, k, ones))
  mine = lambda: np.asarray(draw(jax.random.key(0), centred))
  theirs = lambda: kmeans_plusplus(x, k, random_state=0)[1]
  cold = _timed(mine)[0]
  taken = [(_timed(mine), _timed(theirs)) for _ in range(2)]
  a, b = zip(*taken)
  cost = lambda picks: float(np.asarray(k_means.assign(centred, centred[picks])[1]).sum())
  note = f"cost {cost(a[0][2]):.5g}, theirs {cost(b[0][2]):.5g}; cold {cold:.1f} s"
  return [_line(f"greedy k-means++, n {n}, k {k}", _least(a), "scikit-learn", _least(b), "<= 1", note)]


def growth(n: int) -> list[tuple[str, ...]]:
  """The slope of time against n and against k on log axes, from 20 steps each."""
  x, draw, lines = data("digits", n), np.random.RandomState(1), []
  cases = {"n": [(n // 4, 64), (n // 2, 64), (n, 64)], "k": [(n // 2, 32), (n // 2, 64), (n // 2, 128)]}
  for name, sizes in cases.items():
    times = []
    for rows, k in sizes:
      run = ours(x[:rows], x[draw.choice(rows, k, False)])
      run()
      times.append(min(_timed(run)[0] for _ in range(3)))
    sweep = [size[0] if name == "n" else size[1] for size in sizes]
    slope = np.polyfit(np.log(sweep), np.log(times), 1)[0]
    note = ", ".join(f"{at}: {seconds:.2f} s" for at, seconds in zip(sweep, times))
    lines.append((f"k-means, growth with {name}", "", "", f"slope {slope:.2f}", "", note))
  return lines


def stream(n: int = 2_000_000, d: int = 64, k: int = 256) -> list[tuple[str, ...]]:
  """Mini-batches of a memory map of `n` rows: the peak memory of this process."""
  import pathlib
  import tempfile

  with tempfile.TemporaryDirectory() as place:
    path = pathlib.Path(place) / "rows.npy"
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    draw = np.random.RandomState(0)
    means = 2 * draw.randn(k, d).astype(np.float32)
    for at in range(0, n, 2**16):
      some = slice(at, min(at + 2**16, n))
      x[some] = means[draw.randint(0, k, len(x[some]))] + draw.randn(len(x[some]), d)
    x.flush()
    del x
    index = np.arange(n, dtype=np.int32)
    whole = Data({"x": np.load(path, mmap_mode="r"), "index": index}, {"train": index})
    seconds, _, found = _timed(lambda: loop.fit(mini_batch.cluster(k, "x", batch_size=8192, steps=300), whole))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  cost = f"mean square {float(found.cost) / n:.1f}, of the noise {d}"
  note = f"{seconds:.0f} s for {int(found.steps)} batches and all labels; {cost}"
  return [(f"mini-batches, n {n}, d {d}, k {k}", f"{peak:.2f} GiB", "", "", "< 2 GiB", note)]


def _timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
  wall, cpu = time.perf_counter(), time.process_time()
  out = run()
  return time.perf_counter() - wall, time.process_time() - cpu, out


def _least(taken, at: int = 0) -> float:
  return min(one[at] for one in taken)


def _line(what: str, mine: float, name: str, theirs: float, aim: str, note: str) -> tuple[str, ...]:
  return what, f"{mine:.2f} s", f"{name} {theirs:.2f} s", f"{mine / theirs:.2f}", aim, note


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--devices", type=int, default=1)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--stream", action="store_true", help="the stream alone: its peak memory is that of the process")
  options = parser.parse_args()
  if options.devices > 1:
    jax.config.update("jax_num_cpu_devices", options.devices)
  from ue_jax.report import tables

  lines = stream(200_000 if options.small else 2_000_000) if options.stream else rows(options.small, options.repeats)
  print(tables.text(list(HEADER), [list(line) for line in lines]))


if __name__ == "__main__":
  main()
