"""Two folders of pictures: what was measured on the files, which are missing, and the exit code of a budget."""

import numpy as np
import pytest
from PIL import Image

from experiments import command, compare
from ue_jax.core.errors import Invalid


@pytest.fixture
def folders(tmp_path):
  """Three pictures of two sizes, moved by +-4 of one pattern, the last by 9 in one value; one not protected."""
  draw, size = np.random.default_rng(0), {"a": (16, 16), "b": (32, 48), "c": (16, 16), "d": (16, 16)}
  pattern = draw.choice([-4, 4], (16, 16, 3))
  for side in ("clean", "protected"):
    (tmp_path / side / "x").mkdir(parents=True)
  for name, (h, w) in size.items():
    before = draw.integers(40, 200, (h, w, 3)).astype(np.uint8)
    after = before + pattern[np.arange(h) * 16 // h][:, np.arange(w) * 16 // w]
    if name == "c":
      after[3, 4, 1] = before[3, 4, 1] + 9
    Image.fromarray(before).save(tmp_path / "clean" / "x" / f"{name}.webp", lossless=True)
    if name != "d":
      Image.fromarray(after.astype(np.uint8)).save(tmp_path / "protected" / "x" / f"{name}.png")
  return tmp_path / "clean", tmp_path / "protected"


def test_every_pair_is_measured_on_its_files_and_what_is_missing_is_listed(folders):
  found = compare.compare(*folders)
  assert found.names == ("x/a.webp", "x/b.webp", "x/c.webp")
  assert found.values["linf"].tolist() == [4, 4, 9]
  np.testing.assert_allclose(found.values["l2"][:2], [4 / 255 * np.sqrt(16 * 16 * 3), 4 / 255 * np.sqrt(32 * 48 * 3)])
  np.testing.assert_allclose(found.values["psnr"][:2], -20 * np.log10(4 / 255))
  assert (found.values["ssim"] < 1).all() and (found.values["clipped"] == 0).all()
  sizes = [(folders[1] / "x/b.png").stat().st_size, (folders[0] / "x/b.webp").stat().st_size]
  assert found.values["ratio"][1] == sizes[0] / sizes[1]
  assert found.distinct == 2  # sizes differ: the pattern is one, but for the value that was spoilt
  assert found.left == (("x/d.webp", "there is no protected one"),)


def test_the_exit_code_tells_whether_the_budget_holds(folders, capsys):
  paths = [str(p) for p in folders]
  assert command.guarded(compare.main, [*paths, "--eps=9/255"], compare.__doc__) == 0
  assert "within the budget: no value of 3 pictures" in capsys.readouterr().out
  with pytest.raises(SystemExit) as ended:
    command.guarded(compare.main, [*paths, "--eps", "8/255"], compare.__doc__)
  assert str(ended.value) == (
    "over budget: 1 of 3 pictures change by more than 8 levels; the worst is x/c.webp with 9"
  )  # a text as the code: Python prints it and ends with 1
  assert "x/b.webp" in capsys.readouterr().out


def test_pictures_of_another_size_are_left_out_and_named(folders):
  Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(folders[1] / "x" / "a.png")
  assert compare.compare(*folders).left[0] == ("x/a.webp", "give pictures of equal shapes")


def test_a_picture_that_did_not_change_is_named_and_leaves_the_mean_finite(folders):
  Image.open(folders[0] / "x" / "a.webp").save(folders[1] / "x" / "a.png")
  found = compare.compare(*folders)
  rows = {row[0]: row[1:] for row in found.summary().rows}
  assert np.isinf(found.values["psnr"][0]) and "unchanged: x/a.webp" in rows
  np.testing.assert_allclose(rows["mean"][2], found.values["psnr"][1:].mean())


@pytest.mark.parametrize("bad", ["one", "a b --eps=2", "a b --eps=1/0", "a b", "a b --p=1"])
def test_a_wrong_command_line_is_named(bad):
  with pytest.raises(Invalid):
    compare.main(bad.split())


def record(folder, figures, **config):
  from ue_jax.report import results

  about = dict(command="x", commit="x", versions={"x": "1"}, hardware="x", seeds=(0,), wall_s=1.0, date="2000-01-01")
  results.write(folder, results.Result(name="result", paper="x", figures=figures, config={"x": 1, **config}, **about))


def test_what_the_record_of_a_run_says_of_the_noise_as_crafted_stands_beside_the_files(folders):
  shown = lambda: {row[0]: row[1:] for row in compare.compare(*folders).summary().rows}
  assert not any("as crafted" in name for name in shown())
  figures = {"tap/levels": 9.0, "tap/crafted/levels": 9.4, "tap/crafted/l2": 0.5, "tap/crafted/perturbations": 3}
  record(folders[1].parent, {**figures, "sample/crafted/levels": 8.0}, controls={"sample": {}})
  rows = shown()
  assert rows["as crafted"] == [9.4, 0.5, None, None, None, None] and rows["distinct, as crafted"][0] == 3
  record(folders[1].parent, {**figures, "lsp/crafted/levels": 8.0})  # whose pictures these are cannot be said
  assert "as crafted" not in shown()
