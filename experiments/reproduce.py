"""Runs the configs of a paper, of all papers, or of a testbed, and prints what each claims beside what came out.

  python -m experiments.reproduce NAME|all [--size tiny|small|full] [--workdir DIR] [--config.FIELD=VALUE ...]

  NAME             the word that names a paper, such as cuda; `all` runs every paper that is implemented; or a testbed
                   (kgtiny, audit_tiny), whose reference figures are printed one by one beside the results
  --size SIZE      of the configs (small)
  --workdir DIR    each run gets a folder of its own in it (runs)
  --config.FIELD=VALUE, --mode=MODE and other flags of `experiments.run` are passed on to every run

The exit status is 0 if every range that was stated for a figure holds (for papers none is: only their claim is shown);
1 if one is missed or was not measured: the last lines, on stderr, say which; 2 if a run failed or the command line is
wrong. Ranges of our own around a figure are judged in the table alone. All are for the size `small`: smaller worlds
may miss some.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from experiments import command
from ue_jax.core.errors import Invalid, require

SIZES = ("tiny", "small", "full")
PASSED = re.compile(r"--?((config\..+|mode|steps_per_call|save_seconds)=|(no)?tensorboard\b)")


def main(argv: Sequence[str]) -> None:
  """Reproduces what the command line names.

  Raises:
    Invalid: for an unknown name or size; or, after all other runs, if one failed.
    command.Missed: after all runs, if a result is not in the range that was stated for it.
  """
  more = [word for word in argv if PASSED.match(word)]
  name, size, workdir = read([word for word in argv if word not in more])
  failed, missed = [], []
  for about, config in chosen(name):
    year = f" ({about.year})" if hasattr(about, "year") else ""
    print(f"\n== {about.id}{year}: {config}:{size}\nclaim: {about.claim}", flush=True)
    try:
      missed += shown(_run(config, size, workdir, more), getattr(about, "figures", ()))
    except Invalid as error:
      failed.append(config)
      print(f"failed: {error}", file=sys.stderr)
  for line in missed:
    print(f"missed: {line}", file=sys.stderr)
  require(not failed, "reproduce", failed, "see the lines that begin with `failed` above")
  if missed:
    raise command.Missed(f"stated ranges that do not hold: {len(missed)}, named above")


def read(argv: Sequence[str]) -> tuple[str, str, pathlib.Path]:
  """(name, size, workdir) of a command line."""
  from absl import flags

  values = flags.FlagValues()
  flags.DEFINE_string("size", "small", "of the configs: " + ", ".join(SIZES), flag_values=values)
  flags.DEFINE_string("workdir", "runs", "where the runs are written", flag_values=values)
  try:
    rest = values(["reproduce", *argv])[1:]
  except flags.Error as error:
    raise Invalid("command line", command.Text(str(error)), "see --help") from None
  require(len(rest) == 1, "NAME", command.Text(" ".join(rest) or "(missing)"), "give one name of a paper, or all")
  require(values.size in SIZES, "size", values.size, f"choose one of {', '.join(SIZES)}")
  return rest[0], values.size, pathlib.Path(values.workdir)


def chosen(name: str) -> list[tuple[Any, str]]:
  """Pairs of a paper, or a testbed, and one of its configs, of those which are there."""
  from ue_jax.report import testbeds
  from ue_jax.report.papers import PAPERS

  if bed := testbeds.testbed(name):
    return [(bed, bed.config)]

  there = [(p, c) for p in PAPERS if p.status != "planned" for c in p.configs if (command.ROOT / c).is_file()]
  mine = [(p, c) for p, c in there if name in (p.id, "all")]
  names = sorted({p.id for p, _ in there})
  planned = name in {p.id for p in PAPERS}
  fix = "it is not implemented yet; choose" if planned else "choose"
  beds = ", ".join(bed.id for bed in testbeds.TESTBEDS)
  require(bool(mine), "NAME", name, f"{fix} one of {', '.join(names)}, all, or a testbed: {beds}")
  return mine


def _run(config: str, size: str, workdir: pathlib.Path, more: Sequence[str] = ()) -> Any:
  from experiments import run

  target = workdir / f"{pathlib.Path(config).stem}-{size}"
  return run.main([f"--config={command.ROOT / config}:{size}", f"--workdir={target}", *more])


def shown(result: Any, claims: Sequence[Any] = ()) -> list[str]:
  """Prints figure by figure what was claimed, and the time and the place; the tables were printed by the run.

  Returns a line for every stated range that does not hold, or whose result was not measured.
  """
  from ue_jax.report import tables, testbeds

  missed = []
  if claims:
    found, missing = testbeds.compare(claims, result.figures)
    judged = [x for x in found if x.holds is not None]
    stated, ours = ([x.holds for x in judged if x.claim.ours is own] for own in (False, True))
    print(tables.text(*testbeds.table(found), title="\nClaim beside result"))
    more = f", {sum(ours)} of {len(ours)} in one that we put around a value" if ours else ""
    print(f"{sum(stated)} of {len(stated)} results lie in the range that was stated for them{more}")
    if missing:
      print(f"not measured: {', '.join(f'{one.row}/{one.what}' for one in missing)}")
    missed = [f"{x.claim.row}/{x.claim.what} is {x.value:.4g}, stated was {testbeds.limits(x.claim)}"
              for x in judged if not x.holds and not x.claim.ours]  # fmt: skip
    missed += [f"{one.row}/{one.what} was not measured, stated was {testbeds.limits(one)}"
               for one in missing if testbeds.limits(one) and not one.ours]  # fmt: skip
  print(f"\n{len(result.figures)} figures in {result.wall_s:.0f} s on {result.hardware}, seeds {list(result.seeds)}")
  return missed


if __name__ == "__main__":
  sys.exit(command.guarded(main, sys.argv[1:], __doc__))
