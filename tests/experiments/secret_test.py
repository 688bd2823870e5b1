"""The key file: made once, private, the same bytes again, and in no figure of the run."""

import stat

import numpy as np
import pytest
from PIL import Image

from experiments import run, secret
from ue_jax.core.errors import Invalid

CONFIG = """
import ml_collections
def get_config(arg=""):
  return ml_collections.ConfigDict({{
    "data": {{"name": "data.folder", "path": {path!r}, "size": 8}},
    "protect": {{"name": "protect.noise", "kind": "sample", "eps": 8 / 255}},
  }})
"""


def test_a_new_file_is_private_and_stands_for_one_seed(tmp_path):
  path = tmp_path / "below" / "mine.key"
  seed = secret.key(path)
  assert stat.S_IMODE(path.stat().st_mode) == 0o600 and 0 <= seed < 2**62
  assert secret.key(path) == seed != secret.key(tmp_path / "other.key")
  assert len(bytes.fromhex(path.read_text().strip())) == 32
  path.write_text("00" * 32)
  assert secret.key(path) == 0x66687AADF862BD77 >> 2  # SHA-256 of 32 zeros begins with these bytes


@pytest.mark.parametrize("text", ["", "0123", "not a number", "g" * 64, "0" * 66])
def test_what_is_no_key_is_named_and_left_as_it_is(tmp_path, text):
  path = tmp_path / "mine.key"
  path.write_text(text)
  with pytest.raises(Invalid, match="key_file"):
    secret.key(path)
  assert path.read_text() == text


def test_a_key_file_needs_a_protection_and_no_other_keys(tmp_path):
  path = str(tmp_path / "mine.key")
  assert secret.applied({"data": 1}, "") == {"data": 1}
  for config in ({"data": 1}, {"protect": {}, "keys": (1,)}):
    with pytest.raises(Invalid):
      secret.applied(config, path)


@pytest.mark.parametrize("stage, why", [
  (dict(name="protect.cuda", compat="numpy"), "compat_seed"), (dict(name="protect.ops"), "draws nothing"),
  (dict(name="protect.bayes_error", space="raw"), "space='raw'"), (dict(name="protect.tap", start="zeros"), "uniform"),
])  # fmt: skip
def test_what_does_not_depend_on_the_key_is_refused_and_no_key_is_made(tmp_path, stage, why):
  path = tmp_path / "mine.key"
  for protect in (stage, {"mine": stage, "other": {"name": "protect.cuda"}}):
    with pytest.raises(Invalid, match=f"key_file.*{stage['name']}.*{why}"):
      secret.applied({"protect": protect}, str(path))
  assert not path.exists()
  name = "protect.lsp" if stage["name"] == "protect.ops" else stage["name"]
  assert secret.applied({"protect": {"name": name}}, str(path))["keys"] == (secret.key(path),)


def test_the_same_file_paints_the_same_pictures_and_no_page_or_figure_tells_the_seed(tmp_path):
  root = tmp_path / "mine"
  root.mkdir()
  Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(root / "one.png")
  (tmp_path / "config.py").write_text(CONFIG.format(path=str(root)))

  (tmp_path / "b").mkdir(mode=0o755)  # one that is there already, and one that is not

  def go(name, key):
    run.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/{name}", f"--key_file={tmp_path}/{key}"])
    return (tmp_path / name / "protected" / "one.png").read_bytes()

  first, other = go("a", "a.key"), go("b", "b.key")
  assert go("c", "a.key") == first != other
  seed = str(secret.key(tmp_path / "a.key")).encode()
  told = [p.relative_to(tmp_path) for p in (tmp_path / "a").rglob("*") if p.is_file() and seed in p.read_bytes()]
  assert not [p for p in told if "artefacts" not in p.parts]
  assert any("artefacts" in p.parts for p in told), "if the seed is not in the workdir, it need not be private"
  for name in "ab":
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_the_workdir_is_private_before_anything_is_written(tmp_path, monkeypatch):
  (tmp_path / "config.py").write_text(CONFIG.format(path=str(tmp_path / "mine")))
  modes = []

  def locked(workdir):
    modes.append(stat.S_IMODE(workdir.stat().st_mode))
    raise InterruptedError

  monkeypatch.setattr(run.command, "locked", locked)
  with pytest.raises(InterruptedError):
    run.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/out",
              f"--key_file={tmp_path}/mine.key"])  # fmt: skip
  assert modes == [0o700]
