"""Artefacts: whole or absent, the same after reading, refused when changed."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import store
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Clustering, Data, Request, Score, Subject
from ue_jax.core.tree import fingerprint

DATA = Data(
  {"image": np.arange(2 * 4, dtype=np.uint8).reshape(2, 2, 2, 1), "index": np.array([7, 3], np.int32)},
  {"train": np.array([1], np.int32)}, {"labels": {"label": ["a", "b"]}, "missing": float("nan")},
)
SUBJECT = Subject(
  None, {"head": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3, jnp.bfloat16)}, "layers": [jnp.arange(2)]},
  {"mean": jnp.float32(2)}, {"loss": np.array([1.0, np.nan], np.float32), "step": np.array([1, 2], np.int32)},
)
SCORES = {"auc": Score(float("nan"), 3, "near", 0.5), "cost": Score(1.5, 2, "low", 0.0, 0.0, float("inf"))}
CLUSTERING = Clustering(np.array([0, 1], np.int32), np.eye(2, dtype=np.float32), cost=np.float32(1), steps=np.int32(2))


@pytest.mark.parametrize("noun", [DATA, SUBJECT, SCORES, CLUSTERING, Request(None, DATA, schedule=("a", "b"))])
def test_a_noun_comes_back_with_the_same_bits(noun, tmp_path):
  store.save(tmp_path / "a", noun, {"seconds": 1.0})
  back = store.load(tmp_path / "a")
  if isinstance(noun, dict):
    assert list(back) == list(noun)
    assert np.array_equal([s.value for s in back.values()], [s.value for s in noun.values()], equal_nan=True)
    assert back["cost"] == noun["cost"] and back["auc"]._replace(value=0) == noun["auc"]._replace(value=0)
  elif isinstance(noun, Request):
    assert back.schedule == noun.schedule and fingerprint(back.data.arrays) == fingerprint(noun.data.arrays)
  else:
    arrays = lambda x: [x.params, x.state, dict(x.history)] if isinstance(x, Subject) else x[:2]
    assert type(back) is type(noun) and fingerprint(arrays(back)) == fingerprint(arrays(noun))
  if isinstance(noun, Data):
    assert list(back.arrays) == list(noun.arrays) and back.info["labels"] == noun.info["labels"]


def test_every_json_file_is_valid_json(tmp_path):
  def refuse(word):
    raise AssertionError(f"bare {word}")

  for name, noun in {"data": DATA, "scores": SCORES, "subject": SUBJECT}.items():
    store.save(tmp_path / name, noun, {"seconds": float("inf")})
  lines = [line for p in tmp_path.rglob("*.json*") if "tree" not in p.parts for line in [p.read_text()]]
  parts = [part for text in lines for part in (text.splitlines() if "\n{" in text else [text])]
  read = [json.loads(part, parse_constant=refuse) for part in parts]
  assert len(lines) >= 3 and all(isinstance(one, (dict, list)) for one in read)


def truncate(path):
  path.write_bytes(path.read_bytes()[:-3])


def edit(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.mark.parametrize("noun", [DATA, SUBJECT, SCORES, CLUSTERING])
@pytest.mark.parametrize("damage", [truncate, edit, lambda path: path.unlink()])
def test_a_damaged_file_is_named_and_never_used(noun, damage, tmp_path):
  store.save(tmp_path / "a", noun, {"seconds": 1.0})
  files = sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file() and p.stat().st_size > 3)
  for file in files:
    kept = file.read_bytes()
    damage(file)
    if file.name == store.MANIFEST and damage is edit:  # the manifest has no seal of its own: its text must still parse
      file.write_bytes(kept)
      continue
    with pytest.raises(Invalid, match="delete the folder") as error:
      store.load(tmp_path / "a")
    assert error.value.field == str(file)
    file.write_bytes(kept)
  store.load(tmp_path / "a")


def test_a_foreign_file_is_refused(tmp_path):
  store.save(tmp_path / "a", DATA, {"seconds": 1.0})
  (tmp_path / "a" / "more.npz").write_bytes(b"1")
  with pytest.raises(Invalid, match="not part of it"):
    store.load(tmp_path / "a")


def test_a_write_that_fails_leaves_nothing_under_the_final_name(tmp_path, monkeypatch):
  def full(*args):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(store, "_write_arrays", full)
  with pytest.raises(OSError):
    store.save(tmp_path / "a", DATA, {"seconds": 1.0})
  assert not (tmp_path / "a").exists()
  monkeypatch.undo()
  store.save(tmp_path / "a", DATA, {"seconds": 1.0})
  assert fingerprint(store.load(tmp_path / "a").arrays) == fingerprint(DATA.arrays)


def test_the_digest_does_not_depend_on_order_or_container():
  assert store.digest({"a": (1, 2), "b": 0.1}) == store.digest({"b": 0.1, "a": [1, 2]})
  assert store.digest({"a": 1}) != store.digest({"a": 2}) and store.digest({"a": 1}) != store.digest({"a": True})
