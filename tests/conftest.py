"""Settings that must stand before JAX starts: four virtual CPU devices, strict dtype promotion, one store of programs.

Most of the time of the tests is spent compiling. So programs are compiled in a hurry (set
`JAX_DISABLE_MOST_OPTIMIZATIONS=0` to test them as users run them), equal ones once a session, whichever worker or
subprocess asks first, and a whole session is cut over two workers where pytest-xdist is installed.
"""

import atexit
import collections
import gc
import importlib.util
import mmap
import os
import pathlib
import shutil
import tempfile

LONG = (  # few tests, and much to do
  "audit/representation_test.py", "defend/d_vae_test.py", "experiments/llama_test.py",
  "experiments/reliability_test.py", "forget/baselines_test.py",
)  # fmt: skip


def known_to_xla(flag):
  """Whether the installed XLA has this flag: it ends the process at one that it does not know."""
  for path in pathlib.Path(importlib.util.find_spec("jaxlib").origin).parent.glob("libjax_common.*"):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
      return library.find(b"\0" + flag.encode() + b"\0") >= 0
  return False


def set_xla_flag(flag, value):
  """Adds a flag to XLA_FLAGS unless it is there; workers and subprocesses inherit it."""
  if flag not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + f" --{flag}={value}"


os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's and SciPy's threads wait for each other in busy loops
set_xla_flag("xla_force_host_platform_device_count", 4)
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
  # The older emitters compile in two thirds of the time, and a program in one piece is less work than in many.
  for flag, value in {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": 1}.items():
    if known_to_xla(flag):
      set_xla_flag(flag, value)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers and subprocesses find it set, and leave it to the first
  os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="ue_jax_compiled_")
  os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
  atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax  # noqa: E402 (after the settings)
import pytest  # noqa: E402


def share_contexts(programs=32):
  """Lets so many programs be lowered in one MLIR context: to load all dialects anew takes a fifth of a small program's
  time. A context goes with the last of its programs, so that nothing grows."""
  from jax._src.interpreters import mlir

  make, held, left = getattr(mlir, "make_ir_context", None), None, 0

  def context():
    nonlocal held, left
    if left == 0:
      held, left = make(), programs
    left -= 1
    return held

  if make is not None:  # no public name: without it the tests take longer
    mlir.make_ir_context = context


if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1":
  share_contexts()
jax.config.update("jax_numpy_dtype_promotion", "strict")
gc.set_threshold(50_000, 20, 20)  # tracing makes many objects and little garbage, and JAX clears caches at every search


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
  """All tests at once are cut over two workers, a file at a time; `-n` decides otherwise, as do single files."""
  options, whole = config.option, config.args_source is pytest.Config.ArgsSource.TESTPATHS
  if whole and not options.usepdb and not hasattr(config, "workerinput") and hasattr(options, "numprocesses"):
    if options.numprocesses is None and options.dist == "no":
      options.numprocesses, options.dist, options.loadscopereorder = 2, "loadfile", False


def pytest_collection_modifyitems(config, items):
  """On two workers, `LONG` files start first and then those of many tests: none is left to one worker at the end."""
  if hasattr(config, "workerinput"):
    tests = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: (not item.path.as_posix().endswith(LONG), -tests[item.path], item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """The files of `tests/contract`, which share what they build, go to one worker; others are dealt out one by one."""
  from xdist.scheduler import LoadFileScheduling

  class Shared(LoadFileScheduling):
    def _split_scope(self, nodeid):
      path = nodeid.split("::", 1)[0]
      return "tests/contract" if "tests/contract/" in path else path

  return Shared(config, log) if config.getvalue("dist") == "loadfile" else None


def mapped():
  """Pieces of memory that this process has mapped; 0 where that is not told."""
  try:
    with open("/proc/self/maps", "rb") as maps:
      return sum(1 for _ in maps)
  except OSError:
    return 0


def pytest_runtest_teardown(item, nextitem):
  """Every program stays mapped in some pieces, and at Linux's 65530 of a process the compiler ends it: long before that
  they are let go, between two files."""
  if nextitem is not None and nextitem.path != item.path and mapped() > 50_000:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def four_devices():
  """Parity tests are never skipped: the session stops if the virtual devices are missing."""
  assert jax.device_count() >= 4, "the tests need 4 virtual CPU devices; run them through pytest, alone"


@pytest.fixture
def key():
  return jax.random.key(0)


def _undrawn():
  """Pages of runs hold empty figures, for tests that read none: drawing takes longer than a small run."""
  from ue_jax.report import figures, panels

  with pytest.MonkeyPatch.context() as patch:
    for name in ("pictures", "protection", "curves", "bars", "heat", "scatter"):
      patch.setattr(figures, name, lambda *given, **how: b"<svg></svg>")
    for name in ("strips", "mosaics", "clouds"):
      patch.setattr(panels, name, lambda *given, **how: b"<svg></svg>")
    yield


undrawn, undrawn_module = pytest.fixture(_undrawn), pytest.fixture(_undrawn, scope="module")
