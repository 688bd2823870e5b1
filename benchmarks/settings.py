"""Sixteen settings of NPO on invented persons: one program against sixteen runs.

    python -m benchmarks.settings [--steps 60] [--repeats 2] [--fits]

Four beta and four rates, on `kgtiny` (459 words, 24 + 48 sequences a step) and the decoder of
`configs/forget/npo.py:tiny`, untrained: what a step costs does not depend on the weights. Compared, on the same data,
key and batches:

- one program: `parallel.sweep` in mode `vmap`;
- one step: `parallel.sweep` in mode `loop`, one setting after another through one compiled step;
- with --fits, sixteen fits: `train.loop.fit` for each setting, which compiles for each, every time.

`cold` is the first call in this process, compilation included (with no persistent cache); `warm` is the least of the
repeats.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.sweep import measure
from ue_jax.core.nouns import Request, Subject
from ue_jax.data import facts
from ue_jax.forget import npo
from ue_jax.models import transformer
from ue_jax.parallel import sweep
from ue_jax.train import loop


def request() -> Request:
  """The persons, and a decoder that was not trained."""
  data = facts.data("kgtiny")
  model = transformer.model(len(data.info["vocabulary"]), width=96, depth=2, heads=4, hidden=192)
  return Request(Subject(model, *model.init(jax.random.key(0), data.arrays["ids"][:1])), data)


def contenders(steps: int, fits: bool) -> dict[str, Callable[[], list[float]]]:
  """name -> function that runs all settings and returns their last losses."""
  asked = request()
  grid = sweep.grid(beta=np.geomspace(0.03, 1.0, 4), rate=np.geomspace(1e-4, 1e-3, 4))
  factory = lambda beta, rate: npo.method(beta=beta, rate=rate, steps=steps, keep=("retain", "world", "math"))
  settings = [dict(beta=float(b), rate=float(r)) for b, r in zip(grid["beta"], grid["rate"])]
  final = lambda subjects: [float(s.history["loss"][-1]) for s in subjects]
  swept = lambda mode: lambda: final(sweep.sweep(factory, grid, asked, mode=mode))
  out = {"one program": swept("vmap"), "one step": swept("loop")}
  if fits:
    out["sixteen fits"] = lambda: final([loop.fit(factory(**setting), asked) for setting in settings])
  return out


def main() -> None:
  """Prints a line a contender."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, value in (("steps", 60), ("repeats", 2)):
    parser.add_argument(f"--{name}", type=int, default=value)
  parser.add_argument("--fits", action="store_true")
  args = parser.parse_args()
  jax.config.update("jax_enable_compilation_cache", False)
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; 16 settings x {args.steps} steps", flush=True)
  base = None
  for name, run in contenders(args.steps, args.fits).items():
    cold, warm, losses = measure(run, args.repeats)
    base = base or (cold, warm, losses)
    apart = np.max(np.abs(np.asarray(losses) / np.asarray(base[2]) - 1))
    ratios = f"x{cold / base[0]:.2f} cold, x{warm / base[1]:.2f} warm"
    print(f"{name:14s} cold {cold:6.2f} s  warm {warm:6.2f} s  {ratios}  last losses within {apart:.1e}", flush=True)


if __name__ == "__main__":
  main()
