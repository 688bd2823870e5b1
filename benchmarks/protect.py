"""Every protection: pictures a second, the scan of AR beside a Python loop, EM and TAP beside PyTorch (`learned`).

    nice -n -10 python -m benchmarks.protect [--repeats 3] [--small]

Random pictures of 32x32 with 3 channels, 10 classes; all of `init` and `finish` counts, so for `ar` the
search for its processes, too. The Python loop of `ar` takes the same steps, one value after another, in numpy. Of
`t2ue` the painting counts, by a generator that is there: of a whole set, and of pictures that come one by one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import learned
from ue_jax.core.nouns import Data, Subject
from ue_jax.data import words
from ue_jax.models import clip
from ue_jax.protect import ar, cuda, lsp, noise, ops, t2ue

HEADER = ("what", "ours", "peer", "ratio", "aim", "note")
SHAPE = (32, 32, 3)


def rows(small: bool = False, repeats: int = 3) -> list[tuple[str, ...]]:
  """Lines of a table under `HEADER`; `small` takes a tenth of the pictures, to see that it runs."""
  data = pictures(1000 if small else 10_000)
  methods = {"cuda": cuda.protect, "lsp": lsp.protect, "ar": ar.protect, "ops": ops.protect, "noise": noise.protect}
  lines = [crafted(name, make(), data, repeats) for name, make in methods.items()]
  lines += spoken(data, repeats)
  return [*lines, scan(256 if small else 1024, repeats), *learned.rows(data, repeats if small else 10 * repeats)]


def pictures(n: int) -> Data:
  """Random pictures and labels, all to be protected."""
  draw = np.random.default_rng(0)
  image, label = draw.integers(0, 256, (n, *SHAPE), np.uint8), draw.integers(0, 10, n).astype(np.int32)
  index = np.arange(n, dtype=np.int32)
  names = {"labels": {"label": [str(c) for c in range(10)]}}
  return Data({"image": image, "label": label, "index": index}, {"train": index}, names)


def crafted(name: str, procedure: Any, data: Data, repeats: int) -> tuple[str, ...]:
  """One protection from the beginning to its bytes."""
  run = lambda: procedure.finish(procedure.init(jax.random.key(0), data), data)
  cold = seconds(run)
  warm = min(seconds(run) for _ in range(repeats))
  return f"{name}, n {data.n}", f"{data.n / warm:.0f} pictures/s", "", "", "", f"cold {cold:.1f} s, warm {warm:.2f} s"


def spoken(data: Data, repeats: int) -> list[tuple[str, ...]]:
  """Painting by T2UE: all pictures by ten captions, and one by one, each with a caption of its own."""
  public = words.describe(Data(data.arrays, {**data.sets, "known": np.arange(64, dtype=np.int32)}, data.info),
                             buckets=4096)  # fmt: skip
  model = clip.model(image="cnn", text="mean", vocabulary=4096)
  surrogate = Subject(model, *model.init(jax.random.key(0), public.arrays["image"][:1]))
  procedure = t2ue.protect(surrogate, squash="tanh")
  state, few = procedure.init(jax.random.key(0), public), min(data.n, 1000)
  told = [f"picture number {row}" for row in range(few)]

  def one_by_one():
    paint = t2ue.text_painter(state, public, surrogate, told, told, squash="tanh")
    for row in range(few):
      paint(public.arrays["image"][row], row)

  lines = []
  for what, n, run in (("", data.n, lambda: procedure.finish(state, public)), (", one by one", few, one_by_one)):
    cold, warm = seconds(run), min(seconds(run) for _ in range(repeats))
    note = f"cold {cold:.1f} s, warm {warm:.2f} s"
    lines.append((f"t2ue, painting{what}, n {n}", f"{n / warm:.0f} pictures/s", "", "", "", note))
  return lines


def scan(n: int, repeats: int) -> tuple[str, ...]:
  """The signals of AR: a scan over positions of all pictures at once, beside a Python loop a picture."""
  weights = ar.search(jax.random.key(0), 10, SHAPE).processes[np.arange(n) % 10]
  eps, linf, index = jnp.float32(1), jnp.asarray(False), jnp.arange(n)
  ours = lambda: jax.block_until_ready(ar.patterns(jax.random.key(1), index, weights, eps, linf, SHAPE))
  cold, few = seconds(ours), np.asarray(weights[:4])
  mine = min(seconds(ours) for _ in range(repeats)) / n
  theirs = min(seconds(lambda: [looped(w) for w in few]) for _ in range(repeats)) / len(few)
  rate = lambda one: f"{1 / one:.0f} pictures/s"
  ratio = f"{theirs / mine:.0f}"
  return "signals of ar", rate(mine), f"Python loop {rate(theirs)}", ratio, ">= 20", f"cold {cold:.1f} s"


def looped(weights: np.ndarray) -> np.ndarray:
  """One signal by a Python loop over positions."""
  h, w = SHAPE[0] + ar.CROP, SHAPE[1] + ar.CROP
  x = np.random.default_rng(0).standard_normal((h, w, SHAPE[2])).astype(np.float32)
  for i in range(h - 2):
    for j in range(w - 2):
      x[i + 2, j + 2] = (weights * x[i : i + 3, j : j + 3]).sum((0, 1))
  x = x[ar.CROP :, ar.CROP :]
  return x / np.sqrt((x * x).sum())


def seconds(run: Callable[[], Any]) -> float:
  """Wall time of one call."""
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--small", action="store_true")
  options = parser.parse_args()
  from ue_jax.report import tables

  print(tables.text(list(HEADER), [list(line) for line in rows(options.small, options.repeats)]))


if __name__ == "__main__":
  main()
