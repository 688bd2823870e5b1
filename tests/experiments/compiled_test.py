"""Equal programs are compiled once, and nothing of it stays."""

import jax
import jax.numpy as jnp
import pytest

from experiments import compiled


@pytest.fixture
def unset():
  """No cache of the user's, whatever the environment says."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  yield
  jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_is_there_while_it_lasts_and_gone_after(unset, tmp_path):
  folder = tmp_path / "compiled"
  folder.mkdir()
  (folder / "left over").write_text("by a killed run")
  with compiled.once(folder):
    assert jax.config.jax_compilation_cache_dir == str(folder) and not (folder / "left over").exists()
    assert jax.jit(lambda x: x + 1)(jnp.ones(3)).tolist() == [2, 2, 2]
  assert jax.config.jax_compilation_cache_dir is None and not folder.exists()


def test_a_cache_that_the_user_has_set_is_left_alone(unset, tmp_path):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
  with compiled.once(tmp_path / "compiled"):
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
