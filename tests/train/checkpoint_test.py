"""Trees on disk: bits come back, everything else is refused by name."""

import json
import os
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.tree import fingerprint
from ue_jax.train import checkpoint


class State(NamedTuple):
  params: dict
  key: jax.Array
  step: jax.Array


def tree(seed=0):
  rng = np.random.default_rng(seed)
  params = {
    "w": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
    "empty": jnp.zeros((0, 2)), "host": rng.normal(size=3), "odd": jnp.float32([np.nan, -0.0, np.inf]),
  }  # fmt: skip
  return State(params, jax.random.split(jax.random.key(seed), 2), jnp.int32(7))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
  path = tmp_path_factory.mktemp("stored") / "one"
  checkpoint.save(path, tree(), {"curve": np.arange(3, dtype=np.float32), "seed": np.asarray(4)})
  return path


def copy(stored, tmp_path):
  return shutil.copytree(stored, tmp_path / "copy")


def test_every_bit_comes_back_with_structure_types_and_keys(stored):
  out = checkpoint.load(stored, tree(1))
  assert fingerprint(out) == fingerprint(tree()) != fingerprint(tree(1))
  assert isinstance(out, State) and isinstance(out.params["host"], np.ndarray) and isinstance(out.step, jax.Array)
  np.testing.assert_array_equal(jax.random.uniform(out.key[1]), jax.random.uniform(tree().key[1]))


def test_an_abstract_tree_is_enough(stored):
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree())
  out = checkpoint.load(stored, shapes._replace(params={**shapes.params, "host": tree().params["host"]}))
  assert fingerprint(out) == fingerprint(tree())


def test_extra_arrays_come_back(stored):
  extra = checkpoint.load_extra(stored)
  assert extra["curve"].tolist() == [0, 1, 2] and extra["curve"].dtype == np.float32 and int(extra["seed"]) == 4


def changed(**params):
  return tree()._replace(params={k: v for k, v in {**tree().params, **params}.items() if v is not None})


@pytest.mark.parametrize("like, words", [
  (changed(w=jnp.zeros((3, 4))), r"params/w\].shape"),
  (changed(w=jnp.zeros((4, 3), jnp.bfloat16)), r"params/w\].dtype"),
  (changed(more=jnp.zeros(2)), r"params/more\] = 'missing'"),
  (changed(odd=None), r"params/odd\] = 'not expected'"),
  (tree()._replace(key=jnp.zeros((2, 2), jnp.uint32)), r"\[key\].shape"),
])  # fmt: skip
def test_another_tree_is_refused_and_the_first_difference_named(stored, like, words):
  with pytest.raises(Invalid, match=words):
    checkpoint.load(stored, like)


def files(folder):
  return sorted(p for p in folder.rglob("*") if p.is_file())


def test_every_file_that_is_truncated_edited_or_gone_is_detected_and_named(stored, tmp_path):
  folder = copy(stored, tmp_path)
  for file in files(folder):
    good = file.read_bytes()
    flipped = good[:-1] + bytes([good[-1] ^ 1]) if good else b"x"
    for bad in (good[: len(good) // 2] if good else None, flipped, None):
      file.unlink() if bad is None else file.write_bytes(bad)
      if bad == good:
        continue
      with pytest.raises(Invalid, match=file.name.replace(".", r"\.")) as caught:
        checkpoint.load(folder, tree())
      assert "delete this folder" in str(caught.value)
      file.write_bytes(good)
  assert fingerprint(checkpoint.load(folder, tree())) == fingerprint(tree())


def test_an_edited_manifest_is_detected(stored, tmp_path):
  folder = copy(stored, tmp_path)
  manifest = json.loads((folder / "manifest.json").read_text())
  manifest["leaves"][0]["shape"] = [9]
  (folder / "manifest.json").write_text(json.dumps(manifest))
  with pytest.raises(Invalid, match="manifest"):
    checkpoint.load(folder, tree())


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path):
  for seed in (0, 1):
    checkpoint.save(tmp_path / "a", tree(seed))
  assert fingerprint(checkpoint.load(tmp_path / "a", tree())) == fingerprint(tree(1))
  assert os.listdir(tmp_path) == ["a"]


def test_a_death_between_the_two_renames_loses_nothing(stored, tmp_path):
  copy(stored, tmp_path).rename(tmp_path / ".copy.old")
  assert fingerprint(checkpoint.load(tmp_path / "copy", tree())) == fingerprint(tree())


def test_a_failed_save_keeps_the_old_one_and_says_why(tmp_path, monkeypatch):
  checkpoint.save(tmp_path / "a", {"x": jnp.zeros(2)})

  def full(*args, **kwargs):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(checkpoint.np, "savez", full)
  with pytest.raises(Invalid, match="No space left.*free space"):
    checkpoint.save(tmp_path / "a", {"x": jnp.ones(2)})
  assert checkpoint.load(tmp_path / "a", {"x": jnp.zeros(2)})["x"].tolist() == [0, 0]
  assert os.listdir(tmp_path) == ["a"]


def test_a_missing_checkpoint_is_named(tmp_path):
  with pytest.raises(Invalid, match="nothing.*missing"):
    checkpoint.load(tmp_path / "nothing", {})


def test_the_keeper_keeps_the_newest_and_skips_what_is_incomplete(tmp_path):
  keeper = checkpoint.Keeper(tmp_path / "run", keep=2)
  assert keeper.latest({"x": jnp.zeros(())}) is None
  for step in (5, 10, 15):
    keeper.save(step, {"x": jnp.float32(step)}, {"n": np.asarray(step)})
  (keeper.path(20) / "arrays").mkdir(parents=True)
  assert keeper.steps() == [10, 15]
  step, found = keeper.latest({"x": jnp.zeros(())})
  assert (step, float(found["x"]), int(keeper.extra(step)["n"])) == (15, 15.0, 15)
