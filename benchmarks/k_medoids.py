"""k-medoids beside the Rust package `kmedoids`: times, costs, swaps, memory, and how time grows.

    nice -n -10 python -m benchmarks.k_medoids [--devices 2] [--n 10000] [--repeats 5] [--equal] [--memory]

Noisy digits: n rows drawn from scikit-learn's 8x8 digits, plus 2 times standard normal noise; Euclidean distances in
float32; random medoids to start from. The matrix lies where each side reads it without copying: `medoids.place` cuts it
over our devices before the clock starts. All sides run in turn in one process, and the ratio of the least times counts,
with that of the CPU times beside it: on cores that others use, wall times wait. `--devices 2` cuts the candidates over
two virtual CPU devices, so that both cores work; a user who sets nothing has one. The peer runs with n_cpu=1, its
fastest setting here. It reads the matrix by columns, so Fortran order is its fast case; we read rows.
"""

from __future__ import annotations

import argparse
import resource
import time

import jax
import numpy as np

from ue_jax.cluster import fasterpam, medoids

HEADER = ("what", "ours", "peer", "ratio", "aim", "note")


def rows(small: bool = False, n: int = 10_000, repeats: int = 5) -> list[tuple[str, ...]]:
  """Lines of a table under `HEADER`; `small` takes a tenth of the points, to see that it runs."""
  n = n // 10 if small else n
  d = matrix(n)
  lines = []
  for k in (10, 100):
    lines += against(d, k, repeats)
    lines += every_swap(d, k)
    lines += starts(d, k, 1 if k > 10 else 2)
  return [*lines, *growth(500 if small else 2000)]


def against(d, k: int, repeats: int) -> list[tuple[str, ...]]:
  """The swap phase from equal random medoids, against `fasterpam` on both orders of the matrix."""
  import kmedoids

  host, turned = np.asarray(d), np.asfortranarray(d)
  start = np.random.RandomState(1).choice(len(host), k, False)
  begin = start.astype(np.uint64)
  modes = ("pam", "multi", "eager") if len(jax.devices()) == 1 else ("pam", "multi")
  sides = {
    "C": lambda: kmedoids.fasterpam(host, begin, n_cpu=1),
    "Fortran": lambda: kmedoids.fasterpam(turned, begin, n_cpu=1),
    **{mode: lambda mode=mode: fasterpam.solve(distances=d, k=k, start=start, mode=mode, devices=jax.devices())
       for mode in modes},
  }
  cold = {name: _timed(side)[0] for name, side in sides.items()}
  taken = {name: [] for name in sides}
  for _ in range(repeats):
    for name, side in sides.items():
      wall, cpu, found = _timed(side)
      taken[name].append((wall, cpu, found))
  lines = []
  for mode in modes:
    found, trace = taken[mode][-1][2]
    for order, aim in (("C", "<= 0.5"), ("Fortran", "<= 0.9")):
      peer = taken[order][-1][2]
      note = (f"cost {float(found.cost):.2f}, theirs {peer.loss:.2f}; swaps {int(trace.swaps)}, theirs {peer.n_swap}; "
              f"cpu ratio {_least(taken[mode], 1) / _least(taken[order], 1):.2f}; cold {cold[mode]:.1f} s")
      name = f"k-medoids {mode}, n {len(host)}, k {k}, {len(jax.devices())} device(s), peer in {order} order"
      aim = aim if mode == "pam" else ""
      lines.append(_line(name, _least(taken[mode]), "kmedoids", _least(taken[order]), aim, note))
  return lines


def every_swap(d, k: int) -> list[tuple[str, ...]]:
  """`pam` beside `fastpam1`, which goes the same way: the best of all swaps each time. Fortran order, its fast case."""
  import kmedoids

  turned, start = np.asfortranarray(d), np.random.RandomState(1).choice(len(d), k, False)
  ours = lambda: fasterpam.solve(distances=d, k=k, start=start, mode="pam", devices=jax.devices())
  cold = _timed(ours)[0]
  mine = [_timed(ours) for _ in range(3)]
  theirs = [_timed(lambda: kmedoids.fastpam1(turned, start.astype(np.uint64), max_iter=100_000))]
  (found, trace), peer = mine[-1][2], theirs[-1][2]
  same = sorted(found.medoids.tolist()) == sorted(int(m) for m in peer.medoids)
  note = (f"cost {float(found.cost):.2f}, theirs {peer.loss:.2f}; swaps {int(trace.swaps)}, theirs {peer.n_swap}; "
          f"same medoids: {same}; cpu ratio {_least(mine, 1) / _least(theirs, 1):.2f}; cold {cold:.1f} s")
  name = f"k-medoids pam, n {len(turned)}, k {k}, {len(jax.devices())} device(s), peer in Fortran order"
  return [_line(name, _least(mine), "kmedoids fastpam1", _least(theirs), "<= 0.2", note)]


def starts(d, k: int, repeats: int) -> list[tuple[str, ...]]:
  """BUILD against `pam_build` on a matrix in Fortran order."""
  import kmedoids

  turned = np.asfortranarray(d)
  ours = lambda: fasterpam.solve(distances=d, k=k, max_steps=0, devices=jax.devices())
  cold = _timed(ours)[0]
  taken = [(_timed(ours), _timed(lambda: kmedoids.pam_build(turned, k))) for _ in range(repeats)]
  mine, theirs = zip(*taken)
  found, peer = mine[-1][2][0], theirs[-1][2]
  same = sorted(found.medoids.tolist()) == sorted(int(m) for m in peer.medoids)
  note = (f"cost {float(found.cost):.2f}, theirs {peer.loss:.2f}; same medoids: {same}; "
          f"cpu ratio {_least(mine, 1) / _least(theirs, 1):.2f}; cold {cold:.1f} s")
  name = f"BUILD, n {len(turned)}, k {k}, {len(jax.devices())} device(s), Fortran order"
  return [_line(name, _least(mine), "kmedoids", _least(theirs), "<= 0.25", note)]


def growth(n: int) -> list[tuple[str, ...]]:
  """Slopes of the time of `pam` on log axes, against n and against k."""
  lines = []
  for name, cases in (("n", [(n, 20), (2 * n, 20), (4 * n, 20)]), ("k", [(2 * n, 10), (2 * n, 40), (2 * n, 160)])):
    seconds = []
    for m, k in cases:
      d, start = matrix(m), np.random.RandomState(1).choice(m, k, False)
      run = lambda d=d, k=k, start=start: fasterpam.solve(distances=d, k=k, start=start, devices=jax.devices())
      _timed(run)
      seconds.append(_least([_timed(run) for _ in range(5)], 1))
    values = [case[0] if name == "n" else case[1] for case in cases]
    slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
    lines.append((f"k-medoids pam against {name} = {values}", f"{seconds[-1]:.3f} s", "", f"slope {slope:.2f}", "",
                  "cpu seconds"))
  return lines


def equal(n: int = 2000) -> list[tuple[str, ...]]:
  """Whether medoids and swaps are those of the peer: `pam` and `fastpam1`, `eager` and `fasterpam`."""
  import kmedoids

  d = matrix(n)
  lines = []
  for k in (10, 100):
    start = np.random.RandomState(1).choice(n, k, False)
    begin = start.astype(np.uint64)
    pairs = {
      "pam": kmedoids.fastpam1(np.asarray(d), begin, max_iter=100_000),
      "eager": kmedoids.fasterpam(np.asarray(d), begin, n_cpu=1),
    }
    for mode, peer in pairs.items():
      found, trace = fasterpam.solve(distances=d, k=k, start=start, mode=mode)
      same = sorted(found.medoids.tolist()) == sorted(int(m) for m in peer.medoids)
      note = (f"cost {float(found.cost):.2f}, theirs {peer.loss:.2f}; swaps {int(trace.swaps)}, theirs {peer.n_swap}; "
              f"passes {int(trace.passes)}, theirs {peer.n_iter}")
      lines.append((f"{mode}, n {n}, k {k}: same medoids", str(same), "", "", "True", note))
  return lines


def memory(n: int = 30_000, k: int = 100) -> list[tuple[str, ...]]:
  """The most memory of this process after a fit of n points, matrix and all; run it alone."""
  wall, _, found = _timed(lambda: fasterpam.fit(digits(n), k, start="random", key=jax.random.key(0), stored=True))
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  note = f"cost {float(found.cost):.1f}, {int(found.steps)} swaps, {wall:.0f} s with the matrix and compilation"
  return [(f"k-medoids pam, n {n}, k {k}: peak memory", f"{most:.2f} GiB", "", "", "<= 8 GiB", note)]


def digits(n: int) -> np.ndarray:
  """The rows, float32 `[n, 64]`."""
  from sklearn.datasets import load_digits

  x, draw = load_digits().data, np.random.RandomState(0)
  chosen = draw.randint(0, len(x), n)
  return (x[chosen] + 2 * draw.randn(n, 64)).astype(np.float32)


def matrix(n: int) -> jax.Array:
  """Their distances, float32 `[n, n]`, cut over the devices."""
  x = digits(n)
  square = (x**2).sum(1)
  d = np.sqrt(np.maximum(square[:, None] + square - 2 * x @ x.T, 0))
  np.fill_diagonal(d, 0)
  return jax.block_until_ready(medoids.place(d))


def _timed(run):
  wall, cpu = time.perf_counter(), time.process_time()
  found = jax.block_until_ready(run())
  return time.perf_counter() - wall, time.process_time() - cpu, found


def _least(taken, which: int = 0) -> float:
  return min(one[which] for one in taken)


def _line(name, ours, peer, theirs, aim, note) -> tuple[str, ...]:
  return name, f"{ours:.3f} s", f"{peer} {theirs:.3f} s", f"{ours / theirs:.2f}", aim, note


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--devices", type=int, default=2)
  parser.add_argument("--n", type=int, default=10_000)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--equal", action="store_true", help="only compare medoids and swaps, n = 2000")
  parser.add_argument("--memory", action="store_true", help="only the peak memory at n = 30 000")
  args = parser.parse_args()
  jax.config.update("jax_num_cpu_devices", args.devices)
  lines = equal() if args.equal else memory() if args.memory else rows(args.small, args.n, args.repeats)
  for line in (HEADER, *lines):
    print(" | ".join(line))


if __name__ == "__main__":
  main()
