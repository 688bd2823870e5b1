"""What every command of this room shares: flags, one-line errors, the lock on a workdir, signals.

Nothing here imports jax: a typing error on the command line is answered at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import os
import pathlib
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ue_jax.core.errors import Invalid, require

ROOT = pathlib.Path(__file__).resolve().parent.parent
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FULL_TEXT = re.compile(r"No space left on device|File too large|Disk quota exceeded", re.IGNORECASE)
AGAIN = "run the same command again to go on"
MODES = ("auto", "one", "jit", "fsdp", "pmap", "shard_map")


class Stopped(Exception):
  """The run was asked to end by a signal, and everything needed to go on is saved."""


class Missed(Exception):
  """The command ran to its end, and its results are not where they had to be; the message says which."""


class Options(NamedTuple):
  """What the command line says: the config as nested dicts, and how to run it."""

  config: dict[str, Any]
  file: str
  workdir: pathlib.Path
  flags: Any
  argv: tuple[str, ...] = ()
  module: str = "experiments.run"

  def line(self) -> str:
    """The command that makes the same again, from the root of the repository, but for the workdir."""
    before = ("", *self.argv)
    words = [w for w, last in zip(self.argv, before) if "-workdir" not in w and last not in ("-workdir", "--workdir")]
    return shlex.join(["python", "-m", self.module, *map(_from_root, words)])


def _from_root(word: str) -> str:
  """The word with a path below the root of the repository made relative to it."""
  flag, equals, value = word.rpartition("=")
  return f"{flag}{equals}{value.removeprefix(f'{ROOT}{os.sep}')}"


def read(
  argv: Sequence[str], define: Callable[[Any], None] = lambda values: None, module: str = "experiments.run"
) -> Options:
  """Parses the flags.

  Args:
    argv: without the program's name.
    define: adds further flags to the given `FlagValues`.
    module: the command that is run.

  Raises:
    Invalid: for every mistake that can be made on a command line.
  """
  from absl import flags
  from ml_collections import config_flags

  values, argv = flags.FlagValues(), ["run", *argv]
  # which fields there are is known to the factories: `check.check` judges those that the file does not name
  config_flags.DEFINE_config_file(
    "config", lock_config=False, accept_new_attributes=True, flag_values=values, sys_argv=argv
  )
  flags.DEFINE_string("workdir", "", "where everything is written; default: runs/NAME-SIZE", flag_values=values)
  flags.DEFINE_string("mode", "auto", "how a step is spread over devices: " + ", ".join(MODES), flag_values=values)
  flags.DEFINE_integer("steps_per_call", 0, "steps inside one compiled call; 0 chooses", flag_values=values)
  flags.DEFINE_float("save_seconds", 5.0, "how much work a killed run may lose", flag_values=values)
  flags.DEFINE_bool("tensorboard", False, "write the curves for TensorBoard, too", flag_values=values)
  define(values)
  file = _file(argv)
  try:
    rest = values(argv)
    config = values.config.to_dict()
  except (flags.Error, config_flags.config_flags.FlagOrderError) as error:
    raise _flag_error(error) from None
  except (AttributeError, KeyError, TypeError) as error:
    if isinstance(error, TypeError) and "indices must be" not in str(error):  # not a field asked of a tuple
      raise
    raise _unknown_field(argv, error) from None
  except (ImportError, SyntaxError, NameError) as error:
    raise Invalid("config", Text(file), f"repair the file: {type(error).__name__}: {error}") from None
  require(len(rest) == 1, "argument", " ".join(rest[1:]), "write it as --config.FIELD=VALUE")
  require(values.mode in MODES, "mode", values.mode, f"choose one of {', '.join(MODES)}")
  there = not values.tensorboard or importlib.util.find_spec("tensorboardX") is not None
  require(there, "tensorboard", True, "it needs a package that is not installed: pip install tensorboardX")
  stem, _, size = file.partition(":")
  name = "-".join([pathlib.Path(stem).stem, *([size] if size else [])])
  workdir = pathlib.Path(values.workdir or f"runs/{name}").absolute()
  return Options(config, file, workdir, values, tuple(argv[1:]), module)


def _file(argv: Sequence[str]) -> str:
  """The value of --config, after seeing that the file is there."""
  for i, word in enumerate(argv):
    name, equals, value = word.partition("=")
    if name in ("--config", "-config"):
      value = value if equals else "".join(argv[i + 1 : i + 2])
      path = value.partition(":")[0]
      there = pathlib.Path(path).is_file()
      require(there, "config", path, "no such file; give one of configs/*/*.py, from the root of the repository")
      return value
  raise Invalid("config", "(missing)", "give --config FILE[:size], for example configs/protect/cuda.py:tiny")


def _flag_error(error: Exception) -> Invalid:
  last = str(error).strip().splitlines()[-1]
  known = re.match(r"(?:\w+: )?(.+?) = (.+?): (.+)", last)
  found = re.match(r"flag --([\w.]+)=(.*?): (.*)", str(error), re.DOTALL)
  if "Error whilst parsing config file" in str(error):
    return Invalid(known[1], Text(known[2]), known[3]) if known else Invalid("config", Text(last), "repair the file")
  if found:
    return Invalid(found[1], Text(found[2]), f"give a value of the field's type ({' '.join(found[3].split())})")
  return Invalid("command line", Text(last), "see --help")


def _unknown_field(argv: Sequence[str], error: Exception) -> Invalid:
  """Names the flag that asked for the field which the config does not have."""
  if "get_config" in str(error):
    return Invalid("config", Text(argv[1]), "the file has no function get_config")
  words, near = re.findall(r"\w+", str(error)), re.search(r'Did you mean "(\w+)"', str(error))
  asked = [a for a in argv if a.startswith("--config.")]
  named = [a for a in asked if words and words[0] in a.partition("=")[0].split(".")]
  flag = [*named, *asked, "config"][0]
  name, _, value = flag.lstrip("-").partition("=")
  hint = f"did you mean {near[1]}?" if near else "see the file"
  return Invalid(name, Text(value), f"no such field in the config; {hint}")


class Text(str):
  """A text that an error shows as it is, without quotes."""

  def __repr__(self) -> str:
    return str(self)


def guarded(main: Callable[[Sequence[str]], Any], argv: Sequence[str], about: str) -> int:
  """Runs a command and returns its exit code: 0; 1 for `Missed`; what a user can mend is one line on stderr and 2."""
  if any(word in ("-h", "--help", "-help", "--helpfull", "--helpshort") for word in argv):
    print(about.strip())
    return 0
  try:
    main(argv)
    return 0
  except Invalid as error:
    return _say(str(error))
  except Missed as missed:
    print(missed, file=sys.stderr)
    return 1
  except Stopped as stopped:
    print(f"stopped by {stopped.args[0].name}: {AGAIN}", file=sys.stderr)
    return 128 + stopped.args[0]
  except Exception as error:  # only what is known to come from the disk is answered here, the rest goes up
    line = disk_error(error)
    if line is None:
      raise
    return _say(line)


def _say(line: str) -> int:
  print(f"error: {' '.join(line.split())}", file=sys.stderr)
  return 2


def disk_error(error: BaseException | None) -> str | None:
  """One line for an error that comes from files, None for any other. Looks through causes, too."""
  seen: list[BaseException] = []
  while error is not None and error not in seen:
    seen.append(error)
    name = getattr(error, "filename", None)
    if getattr(error, "errno", None) in FULL or FULL_TEXT.search(str(error)):
      return f"workdir = {name or 'full'}: no space left; free some, then {AGAIN} (finished stages are kept)"
    if isinstance(error, OSError) and error.errno is not None:
      return f"{name or 'file'} = {os.strerror(error.errno)}: make it readable and writable, or choose another"
    error = error.__cause__ or error.__context__
  return None


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
  """Makes the workdir and holds it alone; the lock goes with the process, however it ends.

  Raises:
    Invalid: if it cannot be written, or another run holds it.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    handle = open(workdir / ".lock", "a+")
  except OSError as error:
    if error.errno in FULL:
      raise
    what = f"{os.strerror(error.errno)}; choose a folder that can be written"
    raise Invalid("workdir", Text(workdir), what) from None
  with handle:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      handle.seek(0)
      what = f"process {handle.read().strip()} is using it; wait or choose another"
      raise Invalid("workdir", Text(workdir), what) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    yield


class Signals:
  """Remembers that the process was asked to end; a second request ends it at once.

  Use: `with Signals() as asked: ... if asked(): raise asked.stopped()`.
  """

  def __init__(self) -> None:
    self.caught: signal.Signals | None = None

  def __call__(self) -> bool:
    return self.caught is not None

  def stopped(self) -> Stopped:
    """The exception that ends the run with the signal's exit code."""
    return Stopped(self.caught)

  def _catch(self, number: int, frame: Any) -> None:
    self.caught = signal.Signals(number)
    signal.signal(number, signal.SIG_DFL)

  def __enter__(self) -> Signals:
    self.before = {number: signal.signal(number, self._catch) for number in (signal.SIGTERM, signal.SIGINT)}
    return self

  def __exit__(self, *error: Any) -> None:
    for number, handler in self.before.items():
      signal.signal(number, handler)
