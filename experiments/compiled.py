"""One compilation for equal programs."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache


@contextlib.contextmanager
def once(folder: pathlib.Path) -> Iterator[None]:
  """Programs that are equal are compiled once while this lasts: eight trainings of one network share theirs.

  They are kept in `folder`, which is removed at the end, and at the start if a killed run left it: what another
  machine compiled is never used. A cache that the user has set is left alone.
  """
  if jax.config.jax_compilation_cache_dir:
    yield
    return
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  shutil.rmtree(folder, ignore_errors=True)
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
    compilation_cache.reset_cache()
    shutil.rmtree(folder, ignore_errors=True)
