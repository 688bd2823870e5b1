"""Mixtures and spectral clustering beside scikit-learn, partitive partitioning and few-shot tasks: times and growth.

    python -m benchmarks.mixtures [--small]

The EM step: full covariances, n = 50 000, d = 16, k = 32, float32 rows in C order, both from the same parameters and in
the same process. `per step` is the time of 11 steps less that of 1, over 10, the least of the repeats, so that neither
compilation nor the final assignment counts; `cold` is the first call with compilation. The likelihoods after the steps
are compared, too. scikit-learn computes in float64 inside, whatever the rows are.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.cluster import episodes, gmm, ppp, scores, spectral

HEADER = ("what", "ours", "peer", "ratio", "aim", "note")


def rows(small: bool = False) -> list[tuple[str, ...]]:
  """Lines of a table under `HEADER`; `small` takes a tenth of the samples, to see that it runs."""
  part = 10 if small else 1
  return [*em_step(50_000 // part), *growth(part), *partitions(part), *tasks(part), *spectra(part)]


def em_step(n: int, d: int = 16, k: int = 32, steps: int = 10) -> list[tuple[str, ...]]:
  """One step of EM with each covariance type against scikit-learn's."""
  x, begin = _cloud(n, d, k)
  out = []
  for covariance in gmm.COVARIANCES:
    peer, theirs = _scikit_learn(x, begin, k, covariance)
    run = _program(x, begin, k, covariance)
    cold, _ = _timed(lambda run=run: run(1))
    ours = _per_step(run, steps)
    note = f"log likelihood after 3 steps {float(run(3)):.5f}, theirs {theirs:.5f}; cold {cold:.1f} s"
    aim = "<= 0.5" if covariance == "full" else ""
    name = f"EM step, {covariance}, n {n}, d {d}, k {k}"
    out.append((name, f"{ours:.3f} s", f"scikit-learn {peer:.3f} s", f"{ours / peer:.2f}", aim, note))
  return out


def growth(part: int = 1) -> list[tuple[str, ...]]:
  """Slopes of the time of an EM step on log axes, against n and against k."""
  lines = []
  for name, cases in (("n", [(n // part, 16) for n in (12_500, 25_000, 50_000, 100_000)]),
                      ("k", [(25_000 // part, k) for k in (8, 16, 32, 64)])):
    seconds = [_per_step(_program(*_cloud(n, 16, k), k), 5) for n, k in cases]
    values = [case[0] if name == "n" else case[1] for case in cases]
    slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
    what = f"EM step against {name} = {values}"
    lines.append((what, f"{seconds[-1]:.3f} s", "", f"slope {slope:.2f}", "", "full, d 16"))
  return lines


def partitions(part: int = 1) -> list[tuple[str, ...]]:
  """Partitive partitioning of its table: blobs, a cloud, flat boxes and iris; then of many rows."""
  lines, total = [], 0.0
  for name, x, y in _table(part):
    k = len(np.unique(y))
    cold, _ = _timed(lambda x=x: ppp.fit(x))
    warm, (found, _) = _timed(lambda x=x: ppp.fit(x))
    total += warm
    note = f"{len(found.centers)} clusters of {k}, ARI {scores.ari(y, found.labels):.3f}; cold {cold:.1f} s"
    lines.append((f"ppp, {name}, n {len(x)}, d {x.shape[1]}", f"{warm:.3f} s", "", "", "", note))
  lines.append(("ppp, all of this table", f"{total:.3f} s", "", "", "< 2 s", "warm"))
  x, y = _blobs(100_000 // part, 16, 20, 1.5, 2)
  cold, _ = _timed(lambda: ppp.fit(x))
  warm, (found, _) = _timed(lambda: ppp.fit(x))
  note = f"{len(found.centers)} clusters of 20, ARI {scores.ari(y, found.labels):.3f}; cold {cold:.1f} s"
  return [*lines, (f"ppp, 20 blobs, n {len(x)}, d 16", f"{warm:.3f} s", "", "", "", note)]


def _table(part: int):
  """(name, rows, groups) of what partitive partitioning is tried on."""
  from sklearn.datasets import load_iris

  for n, d, k, spread, seed in ((1500, 5, 5, 1.0, 3), (2000, 10, 8, 1.5, 1), (4000, 16, 20, 1.5, 2)):
    yield f"{k} blobs", *_blobs(max(n // part, 500), d, k, spread, seed)
  draw = np.random.default_rng(0)
  yield "one Gaussian", draw.normal(size=(1000, 4)), np.zeros(1000)
  for n, d in ((1000, 2), (2000, 5)):
    yield "a flat box", draw.uniform(size=(n, d)), np.zeros(n)
  yield "iris", *load_iris(return_X_y=True)


def _blobs(n: int, d: int, k: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
  from sklearn.datasets import make_blobs

  return make_blobs(n, d, centers=k, cluster_std=spread, random_state=seed)


def tasks(part: int = 1) -> list[tuple[str, ...]]:
  """Few-shot episodes of digits, 5 ways and 15 queries a class, all at once: each method, with one shot and five."""
  from sklearn.datasets import load_digits

  x, y = load_digits(return_X_y=True)
  x, lines = x.astype(np.float32), []
  for shots in (1, 5):
    dealt = episodes.draw(y, 200 // part, shots=shots)
    for method in episodes.METHODS:
      run = lambda method=method, dealt=dealt: episodes.play(x, dealt, method)
      cold, _ = _timed(run)
      warm, reached = _timed(run)
      what = f"few-shot, {method}, {len(dealt.truth)} episodes, {shots} shot(s)"
      note = f"accuracy {float(jnp.mean(reached)):.3f}; cold {cold:.1f} s"
      lines.append((what, f"{warm:.3f} s", "", "", "< 3 s", note))
  return lines


def spectra(part: int = 1) -> list[tuple[str, ...]]:
  """Spectral clustering of digits by the dense and by the block method, beside scikit-learn's."""
  from sklearn.cluster import SpectralClustering
  from sklearn.datasets import load_digits

  x, y = load_digits(return_X_y=True)
  x, y = x[:: min(part, 3)], y[:: min(part, 3)]
  build = lambda: SpectralClustering(10, affinity="nearest_neighbors", n_neighbors=10, random_state=0).fit(x).labels_
  peer, theirs = _timed(build)
  lines = []
  for name, dense in (("dense", len(x)), ("block", 0)):
    run = lambda dense=dense: spectral.fit(x, 10, key=jax.random.key(0), m=10, dense=dense)[0].labels
    cold, _ = _timed(run)
    warm, labels = _timed(run)
    note = f"NMI {scores.nmi(y, labels):.3f}, theirs {scores.nmi(y, theirs):.3f}; cold {cold:.1f} s"
    what = f"spectral ({name}), digits, n {len(x)}"
    lines.append((what, f"{warm:.3f} s", f"scikit-learn {peer:.3f} s", f"{warm / peer:.2f}", "", note))
  return lines


def _program(x, begin, k: int, covariance: str = "full") -> Callable[[int], Any]:
  """steps -> the likelihood after so many steps from the labels `begin`."""
  rows, ones, none = jnp.asarray(x), jnp.ones(len(x)), jnp.full(len(x), -1, jnp.int32)
  start = gmm.from_labels(x, begin, k, covariance=covariance)
  return lambda steps: gmm.run(rows, start, ones, none, max_steps=steps, tol=0.0)[1].likelihood


def _per_step(run: Callable[[int], Any], steps: int = 10) -> float:
  run(1)
  least = lambda t: min(_timed(lambda: run(t))[0] for _ in range(3))
  return (least(steps + 1) - least(1)) / steps


def _cloud(n: int, d: int, k: int) -> tuple[np.ndarray, np.ndarray]:
  """Overlapping groups, and the labels to start from."""
  rng = np.random.default_rng(0)
  centers, label = rng.uniform(-10, 10, (k, d)), rng.integers(0, k, n)
  x = (centers[label] + 3 * rng.normal(size=(n, d))).astype(np.float32)
  return x, np.where(rng.random(n) < 0.3, rng.integers(0, k, n), label)


def _scikit_learn(x, begin, k: int, covariance: str) -> tuple[float, float]:
  """Seconds of one of scikit-learn's steps from the given labels, and the mean log likelihood after three."""
  from sklearn.mixture import GaussianMixture

  peer = GaussianMixture(k, covariance_type=covariance)
  peer._initialize(x, np.eye(k)[begin])  # the parameters of these labels: its constructor takes no labels
  seconds = [_timed(lambda: peer._m_step(x, peer._e_step(x)[1]))[0] for _ in range(3)]
  return min(seconds), peer.score(x)


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
  start = time.perf_counter()
  out = jax.block_until_ready(run())
  return time.perf_counter() - start, out


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--small", action="store_true", help="a tenth of the samples")
  args = parser.parse_args()
  warnings.simplefilter("ignore")  # scikit-learn's on graphs that are not connected
  jax.config.update("jax_enable_compilation_cache", False)
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, float32, C order")
  table = [HEADER, *rows(args.small)]
  widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
  for line in table:
    print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


if __name__ == "__main__":
  main()
