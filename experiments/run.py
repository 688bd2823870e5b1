"""Runs one experiment: what the config describes, each stage once, then a table and one HTML page.

  python -m experiments.run --config FILE[:size] [--workdir DIR] [--config.FIELD=VALUE ...]

  --config FILE[:size]       a file of configs/, with its size: tiny, small or full
  --config.FIELD=VALUE       changes a field of the config, for example --config.protect.eps=0.1
  --workdir DIR              where everything is written (runs/NAME-SIZE)
  --mode MODE                how a step is spread over devices: auto, one, jit, fsdp, pmap, shard_map
  --steps_per_call N         steps inside one compiled call; 0 chooses
  --save_seconds S           how much work a killed run may lose (5)
  --key_file FILE            the secret of the protections; made if there is none; the same file, the same pictures;
                             the workdir holds it, too, and is made private (0700)
  --verify                   with data.folder, or pictures to `paint`: compare the files written with the originals, and
                             prove the budget; code 1 if one is beyond it, left out or unchanged
  --export DIR               write the language models that the run made, each as a folder that transformers loads:
                             weights, configuration, tokenizer
  --tensorboard              write the curves for TensorBoard, too; needs the package tensorboardX

Killed, stopped or failed: the same command goes on from where it was. The workdir then holds
  summary.html               the page: pictures, tables, curves, config, versions
  result.json scores.jsonl   the figures, with config, versions, commit, seeds, time and hardware
  config.json env.json       what was run, and on what
  logs/                      the curves of every stage, while it runs
  tensorboard/               the same for TensorBoard, a folder a stage; with --tensorboard
  artefacts/                 what every stage made; delete a folder to have it made again
  protected/                 with data.folder, or `paint`: the protected pictures at full resolution
"""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from experiments import command
from ue_jax.core.errors import require


def main(argv: Sequence[str]) -> Any:
  """Runs the experiment of a command line and returns its `report.results.Result`."""
  options = command.read(argv, define)
  from experiments import folder, plan, secret

  plan.unknown_fields(options.config)
  folder.check(options.config, options.workdir)
  fits = folder.wanted(options.config) or not options.flags.verify
  require(fits, "verify", True, "leave it out: it judges the pictures of a folder only")
  if options.flags.key_file:
    secret.private(options.workdir)
  with command.locked(options.workdir), command.Signals() as asked:
    return run(options, asked, options.flags.verify, options.flags.key_file, options.flags.export)


def define(values: Any) -> None:
  """The flags that only this command has."""
  from absl import flags

  flags.DEFINE_string("key_file", "", "the secret of the protections; made if there is none", flag_values=values)
  flags.DEFINE_string("export", "", "where the language models that the run made are written", flag_values=values)
  flags.DEFINE_bool("verify", False, "compare the files written with the originals", flag_values=values)


def run(
  options: command.Options, asked: command.Signals, verify: bool = False, key_file: str = "", out: str = ""
) -> Any:
  """Makes every stage, then the summary, inside a locked workdir.

  Args:
    options: the command line.
    asked: whether the run is to end.
    verify: judge a painted folder at the end.
    key_file: the secret of the protections.
    out: where models are exported to at the end; empty: none are.
  """
  from experiments import compiled, early, export, folder, pipeline, plan, progress, secret, summary

  start = time.monotonic()
  todo = plan.plan(secret.applied(options.config, key_file), folder.source)
  place = pathlib.Path(out).absolute()
  models = export.check(options.config, todo, place) if out else {}
  early.factories(todo)
  with progress.shown() as bars, compiled.once(options.workdir / "compiled"):
    settings = pipeline.settings(options.flags, bars, asked)
    results = pipeline.Results(todo, options.workdir, settings)
    try:
      results.all()
      painted = folder.paint(options.config, todo, results) if folder.wanted(options.config) else None
    except pipeline.Interrupted:
      raise asked.stopped() from None
  done = summary.write(options, todo, results, painted, time.monotonic() - start)
  print(done.text)
  for name, cell in models.items():
    if asked():
      raise asked.stopped()
    print(f"exported: {export.write(options.config, results, place, name, cell)}")
  if verify:
    folder.verify(todo, results, painted)
  return done.result


if __name__ == "__main__":
  sys.exit(command.guarded(main, sys.argv[1:], __doc__))
