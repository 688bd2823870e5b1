"""How hard a forget set is for HAMU: kappa and what is reached, against the share of the class that is swapped.

  python -m benchmarks.hamu [--seeds 3] [--first 0] [--steps 66] [--init he_throughout] [--record DIR]

An under-trained perceptron (64-64-32-10) on 1297 digits, digit 0 with a share rho swapped for random others, all
samples a step. Prints, for each seed: kappa at the first step and its correlation with rho; what both losses gained
(forget up, retain down) with the early stop, beside gradient difference over as many steps, and ascent and fine-tuning
at rate 5e-2 for 50; how straight the forget gain grows with q; and what happens without the stop. `--record` writes the
figures of every seed to `DIR/hamu.json`.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core import build
from ue_jax.core.nouns import Request
from ue_jax.data import embedded, swap
from ue_jax.models import mlp
from ue_jax.report import results
from ue_jax.train import loop, supervised

SHARES = (0.0, 0.25, 0.5, 0.75)
QUOTAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def bed(seed: int, steps: int, init: str, found: dict[str, float]) -> dict[float, Request]:
  """rho -> the request, on one and the same network that took so many steps of training; its accuracy into `found`."""
  data = embedded.data("digits", train=1297, test=500, seed=seed)
  network, looks = mlp.model(10, widths=(64, 32), init=init), ("train", "test")
  train = supervised.train(network, steps=steps, batch_size=64, rate=1e-3, probe_sets=looks)
  subject = loop.fit(train, data, seed=seed, mode="one")
  train, test = (subject.history[f"{name}_accuracy"][-1] for name in ("train", "test"))
  print(f"seed {seed}: accuracy {train:.3f} (train), {test:.3f} (test) before unlearning")
  found["accuracy/train"] = float(train)
  bare = Request(subject, data)
  return {share: Request(subject, swap.swapped(bare, (0,), share, seed=seed)) for share in SHARES}


def walk(name: str, requests: Sequence[Request], steps: int, numbers: dict, **options) -> dict[str, np.ndarray]:
  """The metrics of every step `[n, steps + 1]` for n requests of one network, as one program.

  Batches are whole sets, so one serves all steps. The last column is of the model at the end.

  Args:
    name: the method's module.
    requests: n of them.
    steps: to take.
    numbers: name of an argument -> its value in each of the n.
    options: other arguments of the method.
  """
  first = build.build("method", name, **options)
  batches = [first.batch(0, request, 0) for request in requests]
  batch = jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *batches)
  start = first.init(jax.random.key(0), requests[0])
  numbers = {key: jnp.asarray(values, jnp.float32) for key, values in numbers.items()}
  return jax.device_get(_walk(start, batch, numbers, name=name, options=tuple(options.items()), steps=steps))


@functools.partial(jax.jit, static_argnames=("name", "options", "steps"))
def _walk(start, batch, numbers, *, name, options, steps):
  def one(batch, numbers):
    method = build.build("method", name, **dict(options), **numbers)
    state, seen = jax.lax.scan(lambda s, _: method.step(s, batch), start, None, length=steps + 1)
    means = {n: m.total / m.weight if isinstance(m, tuple) else m for n, m in seen.items()}
    return means | {"moved": jnp.minimum(state.moved, steps)}  # the last look was one step further

  return jax.vmap(one)(batch, numbers)


def gains(seen: dict[str, np.ndarray], i: int, at: int) -> tuple[float, float]:
  """What the forget loss rose and the retain loss fell before step `at` of request i."""
  return float(seen["forget"][i, at] - seen["forget"][i, 0]), float(seen["retain"][i, 0] - seen["retain"][i, at])


def hardness(requests: dict[float, Request], found: dict[str, float]) -> None:
  """Kappa and steps against rho, and what each method reaches in as many steps; printed, and put into `found`."""
  asked, n = list(requests.values()), len(requests)
  slow, fast = dict(rate=[2e-2] * n), dict(rate=[5e-2] * n)
  ours = walk("forget.hamu", asked, 60, slow, q=0.5)
  rows = {"hamu_q": ours, "hamu_u": walk("forget.hamu", asked, 60, slow, q=0.5, variant="u")}
  for rule in ("difference", "retain", "gru", "pcgrad"):
    rows[rule] = walk("forget.compromise", asked, 60, slow, rule=rule)
  for rule in ("gru", "pcgrad"):
    rows[f"{rule}, released sign"] = walk("forget.compromise", asked, 60, slow, rule=rule, released_sign=True)
  long = {name: walk("forget.compromise", asked, 50, fast, rule=name) for name in ("ascent", "retain")}
  for i, share in enumerate(requests):
    at = int(ours["moved"][i])
    tight = (ours["forget_rise"][i, :at] / ours["quota"][i, :at]).min(initial=np.inf)
    rho = f"rho_{share}"
    found |= {f"{rho}/kappa": float(ours["kappa"][i, 0]), f"{rho}/steps": at}
    if at:
      found[f"{rho}/rise_over_quota"] = float(tight)
    print(f"  rho {share:.2f}: kappa {ours['kappa'][i, 0]:+.3f}, steps {at}, smallest rise / quota {tight:.4f}")
    for name, seen in rows.items():
      when = int(seen["moved"][i]) if name.startswith("hamu") else at
      found |= _gained(f"{rho}/{name}", gains(seen, i, when))
      print("    {:22s} forget {:+8.3f}  retain {:+8.3f}  after {} steps".format(name, *gains(seen, i, when), when))
    for name, seen in long.items():
      found |= _gained(f"{rho}/{name}_fast", gains(seen, i, 50))
      print("    {:22s} forget {:+8.3f}  retain {:+8.3f}  at rate 5e-2".format(name, *gains(seen, i, 50)))
    (forget, retain), (forget_d, retain_d) = gains(ours, i, at), gains(rows["difference"], i, at)
    tuned, whole = gains(rows["retain"], i, 60)[0], float(rows["retain"]["kappa"][i].mean())
    if at:
      print(f"    hamu_q / difference: forget {forget / forget_d:.2f}, retain {retain / retain_d:.2f} times")
    print(f"    retain for all 60 steps: forget {tuned:+.3f} (mean kappa {whole:+.3f})")
  found["correlation"] = float(np.corrcoef(SHARES, ours["kappa"][:, 0])[0, 1])
  print(f"  correlation of kappa with rho {found['correlation']:.4f}")


def _gained(name: str, gain: tuple[float, float]) -> dict[str, float]:
  return {f"{name}/forget": gain[0], f"{name}/retain": gain[1]}


def quotas(request: Request, found: dict[str, float]) -> None:
  """The gain after ten steps against q; printed, and how straight it is put into `found`."""
  n = len(QUOTAS)
  free = dict(stop=False, stop_on_infeasible=False)
  seen = walk("forget.hamu", [request] * n, 10, dict(rate=[2e-3] * n, q=QUOTAS), **free)
  rise = seen["forget"][:, -1] - seen["forget"][:, 0]
  r2 = np.corrcoef(QUOTAS, rise)[0, 1] ** 2
  found["r2_of_q"] = float(r2)
  beyond = [q for q, bad in zip(QUOTAS, seen["infeasible"][:, :10]) if bad.any()]
  gain = " ".join(f"{x:.4f}" for x in rise)
  print(f"  forget gain after 10 steps by q: {gain}, R^2 {r2:.4f}; infeasible at some step: {beyond}", flush=True)


def unstopped(request: Request, found: dict[str, float]) -> None:
  """What is kept, with and without the stop; printed, and put into `found`."""
  for stop in (True, False):
    seen = walk("forget.hamu", [request], 50, dict(rate=[5e-2]), q=0.5, stop=stop)
    found |= _gained("stop" if stop else "no_stop", gains(seen, 0, -1))
    print("  rate 5e-2, stop {}: forget {:+.3f}  retain {:+.3f}  after {} steps".format(
      stop, *gains(seen, 0, -1), int(seen["moved"][0])), flush=True)  # fmt: skip


def main() -> None:
  """Prints all of it."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--first", type=int, default=0, help="of the seeds")
  parser.add_argument("--steps", type=int, default=66, help="of training before unlearning")
  parser.add_argument("--init", default="he_throughout", choices=sorted(mlp.INITS), help="of the network")
  parser.add_argument("--record", default="", help="a folder for the figures as JSON")
  asked, begun = parser.parse_args(), time.monotonic()
  seeds, rows = range(asked.first, asked.first + asked.seeds), []
  for seed in seeds:
    found: dict[str, float] = {}
    requests = bed(seed, asked.steps, asked.init, found)
    hardness(requests, found)
    quotas(requests[0.5], found)
    unstopped(requests[0.5], found)
    rows.append(found)
  if asked.record:
    print(_recorded(asked, tuple(seeds), rows, time.monotonic() - begun))


def _recorded(asked: argparse.Namespace, seeds: tuple[int, ...], rows: Sequence[dict[str, float]], seconds: float):
  """The path of the record that is written."""
  names = [name for name in rows[0] if all(name in row for row in rows)]
  each = {name: [float(row[name]) for row in rows] for name in names}
  spread = lambda values: [float(np.mean(values)), float(np.std(values, ddof=1))] if len(values) > 1 else values[0]
  given = {"seeds": asked.seeds, "first": asked.first, "steps": asked.steps, "init": asked.init}
  command = " ".join(["python -m benchmarks.hamu", *(f"--{name} {value}" for name, value in given.items())])
  return results.write(asked.record, results.Result(
    name="hamu", paper="hamu", command=command, figures={name: spread(values) for name, values in each.items()},
    config=given, commit=results.commit(pathlib.Path(__file__).resolve().parent.parent), versions=results.versions(),
    hardware=results.hardware(), seeds=seeds, wall_s=seconds, date=results.today(), each=each if len(rows) > 1 else {},
    note="Gains in nats: forget up, retain down. rho: the share of the class that is swapped.",
  ))  # fmt: skip


if __name__ == "__main__":
  main()
