import os
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import folder

H, W = 30, 40
Y, X = np.mgrid[:H, :W]
RGB = np.stack([6 * X, 8 * Y, np.full((H, W), 90)], -1).astype(np.uint8)
GREY = RGB[..., 0].copy()
ALPHA = (RGB[..., 1] // 2).astype(np.uint8)


def put(path, array=RGB, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(array).save(path, **options)
  return path


def test_colour_png_comes_back_exactly(tmp_path):
  picture, meta = folder.read_picture(put(tmp_path / "a.png"))
  assert np.array_equal(picture, RGB) and picture.dtype == np.uint8
  assert meta["alpha"] is None and meta["format"] == "PNG"


def test_grey_keeps_one_channel(tmp_path):
  picture, _ = folder.read_picture(put(tmp_path / "a.png", GREY))
  assert np.array_equal(picture, GREY[..., None])


def test_one_bit_pictures_become_black_and_white(tmp_path):
  picture, _ = folder.read_picture(put(tmp_path / "a.png", GREY > 100))
  assert np.array_equal(picture[..., 0], np.where(GREY > 100, 255, 0))


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
  wide = (np.arange(H * W, dtype=np.uint32) * 54).reshape(H, W).astype(np.uint16)
  picture, _ = folder.read_picture(put(tmp_path / "a.png", wide))
  assert np.array_equal(picture[..., 0], np.round(wide / 257).astype(np.uint8))
  assert picture[..., 0].max() > 240


@pytest.mark.parametrize("base", [RGB, GREY[..., None]], ids=["colour", "grey"])
def test_alpha_is_kept_apart_and_the_colours_under_it_stay(tmp_path, base):
  stored = np.concatenate([base, ALPHA[..., None]], -1)
  picture, meta = folder.read_picture(put(tmp_path / "a.png", stored))
  assert np.array_equal(picture, base) and np.array_equal(meta["alpha"], ALPHA)


def test_palettes_become_colours_and_their_transparency_alpha(tmp_path):
  image = Image.fromarray(RGB).quantize(16)
  image.save(tmp_path / "a.png")
  picture, meta = folder.read_picture(tmp_path / "a.png")
  assert np.array_equal(picture, np.asarray(image.convert("RGB"))) and meta["alpha"] is None
  image.save(tmp_path / "b.png", transparency=3)
  picture, meta = folder.read_picture(tmp_path / "b.png")
  assert np.array_equal(meta["alpha"] == 0, np.asarray(image) == 3) and np.array_equal(picture.shape, (H, W, 3))


def test_cmyk_jpeg_and_webp_and_gif_are_read(tmp_path):
  Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
  Image.fromarray(RGB).save(tmp_path / "b.webp", lossless=True)
  Image.fromarray(RGB).save(tmp_path / "c.gif", save_all=True, append_images=[Image.fromarray(255 - RGB)])
  for name, close in (("a.jpg", 12), ("b.webp", 0), ("c.gif", 40)):
    picture, _ = folder.read_picture(tmp_path / name)
    assert picture.shape == RGB.shape and np.abs(picture.astype(int) - RGB).mean() <= close


@pytest.mark.parametrize("orientation,turn", [
  (3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, lambda x: np.rot90(x)), (2, lambda x: x[:, ::-1]),
])
def test_exif_rotation_is_applied(tmp_path, orientation, turn):
  exif = Image.Exif()
  exif[274] = orientation
  picture, _ = folder.read_picture(put(tmp_path / "a.png", exif=exif))
  assert np.array_equal(picture, turn(RGB))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (24, 24), (300, 2)])
def test_any_shape_is_fitted_and_read(tmp_path, shape):
  picture, _ = folder.read_picture(put(tmp_path / "a.png", np.full((*shape, 3), 77, np.uint8)))
  assert picture.shape == (*shape, 3) and np.array_equal(folder.fit(picture, 64), np.full((64, 64, 3), 77))


def test_fit_cuts_the_centre_square():
  wide = np.zeros((10, 30, 1), np.uint8)
  wide[:, 10:20] = 200
  assert np.array_equal(folder.fit(wide, 10), np.full((10, 10, 3), 200))


def test_pictures_of_4000_pixels_are_read_one_at_a_time(tmp_path):
  for name in "abc":
    put(tmp_path / f"{name}.png", np.zeros((4000, 4000, 3), np.uint8), compress_level=1)
  tracemalloc.start()
  data = folder.data(str(tmp_path), size=32)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert data.arrays["image"].shape == (3, 32, 32, 3)
  assert peak < 2.5 * 48_000_000  # numpy's part: never three pictures of 48 MB


def png_header(width, height):
  def chunk(kind, body):
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

  size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x02\0\0\0") + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(
    b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 40_000])
def test_decompression_bombs_are_refused_before_decoding(tmp_path, side):
  (tmp_path / "bomb.png").write_bytes(png_header(side, side))
  with pytest.raises(Invalid, match="limit is 80000000|limit of 80000000"):
    folder.read_picture(tmp_path / "bomb.png")


@pytest.fixture
def zoo(tmp_path):
  """A folder as people have them."""
  root = tmp_path / "pictures"
  put(root / "a.png")
  put(root / "a.jpg", GREY)
  put(root / "cats" / "B.JPEG")
  put(root / "cats" / "deep" / "c.webp")
  put(root / "dogs" / "d.PNG", np.concatenate([RGB, ALPHA[..., None]], -1))
  put(root / ".hidden" / "x.png")
  (root / "notes.txt").write_text("hello")
  (root / "empty.png").touch()
  (root / "noise.jpg").write_bytes(b"no picture at all")
  whole = (root / "a.jpg").read_bytes()
  (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
  (root / "link.png").symlink_to(root / "a.png")
  (root / "dangling.png").symlink_to(root / "gone.png")
  (root / "loop").symlink_to(root)
  os.mkfifo(root / "pipe.png")
  return root


def test_a_messy_folder_gives_all_readable_pictures_and_lists_the_others(zoo):
  data = check_data(folder.data(str(zoo), size=16))
  assert data.info["names"] == ["a.jpg", "a.png", "cats/B.JPEG", "cats/deep/c.webp", "dogs/d.PNG", "link.png"]
  assert [name for name, _ in data.info["unreadable"]] == [
    "cut.jpg", "dangling.png", "empty.png", "noise.jpg", "pipe.png"]
  reasons = dict(data.info["unreadable"])
  assert "empty" in reasons["empty.png"] and "format" in reasons["noise.jpg"] and "broken" in reasons["cut.jpg"]
  assert data.info["skipped"] == ["notes.txt"]
  assert data.arrays["image"].shape == (6, 16, 16, 3)
  assert np.array_equal(data.arrays["image"][1], folder.fit(RGB, 16))
  assert np.array_equal(data.arrays["image"][1], data.arrays["image"][5])


def test_sub_folders_are_the_classes_or_not(zoo):
  data = folder.data(str(zoo), size=16)
  assert data.info["labels"]["label"] == [".", "cats", "dogs"]
  assert data.arrays["label"].tolist() == [0, 0, 1, 1, 2, 0]
  assert "label" not in folder.data(str(zoo), size=16, label="none").arrays
  assert "label" not in folder.data(str(zoo / "dogs"), size=16).arrays


def test_limit_and_test_share(zoo):
  assert folder.data(str(zoo), size=16, limit=2).info["names"] == ["a.jpg", "a.png"]
  data = folder.data(str(zoo), size=16, test=0.5)
  assert len(data.sets["train"]) == 3 and sorted([*data.sets["train"], *data.sets["test"]]) == list(range(6))


def test_folders_without_readable_pictures_are_refused(tmp_path):
  with pytest.raises(Invalid, match="existing folder"):
    folder.data(str(tmp_path / "none"))
  with pytest.raises(Invalid, match="put pictures"):
    folder.data(str(tmp_path))
  (tmp_path / "a.png").touch()
  with pytest.raises(Invalid, match="can be read"):
    folder.data(str(tmp_path))


@pytest.mark.parametrize("arguments", [{"size": 0}, {"size": 5000}, {"label": "x"}, {"limit": -1}, {"test": 1.0}])
def test_wrong_arguments_are_refused(tmp_path, arguments):
  put(tmp_path / "a.png")
  with pytest.raises(Invalid):
    folder.data(str(tmp_path), **arguments)


@pytest.mark.parametrize("picture", [RGB, GREY[..., None]], ids=["colour", "grey"])
@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "alpha"])
def test_written_pictures_come_back_exactly(tmp_path, picture, alpha):
  path = tmp_path / "new" / "a.png"
  folder.write_png(path, picture, alpha)
  back, meta = folder.read_picture(path)
  assert np.array_equal(back, picture)
  assert meta["alpha"] is None if alpha is None else np.array_equal(meta["alpha"], alpha)
  assert os.listdir(path.parent) == ["a.png"]


def test_nothing_is_ever_overwritten(tmp_path):
  path = put(tmp_path / "a.png", GREY)
  before = path.read_bytes()
  (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
  for name in ("a.png", "link.png"):
    with pytest.raises(Invalid, match="there already"):
      folder.write_png(tmp_path / name, RGB)
  assert path.read_bytes() == before and not (tmp_path / "gone.png").exists()


def test_a_file_that_appears_while_writing_is_not_overwritten(tmp_path, monkeypatch):
  path = tmp_path / "a.png"
  save = Image.Image.save

  def late(self, *args, **kwargs):
    save(self, *args, **kwargs)
    path.write_bytes(b"mine")

  monkeypatch.setattr(Image.Image, "save", late)
  with pytest.raises(Invalid, match="there already"):
    folder.write_png(path, RGB)
  assert path.read_bytes() == b"mine" and os.listdir(tmp_path) == ["a.png"]


def test_a_failed_write_leaves_nothing_and_says_why(tmp_path, monkeypatch):
  def full(self, path, **kwargs):
    path.write_bytes(b"half")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(Image.Image, "save", full)
  with pytest.raises(Invalid, match="No space left"):
    folder.write_png(tmp_path / "a.png", RGB)
  assert os.listdir(tmp_path) == []


def test_without_hard_links_it_still_writes_and_still_refuses(tmp_path, monkeypatch):
  def no_links(*args):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr(os, "link", no_links)
  folder.write_png(tmp_path / "a.png", RGB)
  assert np.array_equal(folder.read_picture(tmp_path / "a.png")[0], RGB)
  with pytest.raises(Invalid):
    folder.write_png(tmp_path / "a.png", RGB)
  assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("picture,alpha", [
  (RGB / 255.0, None), (GREY, None), (RGB, ALPHA[:5]), (RGB, ALPHA / 255.0), (RGB[..., :2], None)])
def test_arrays_that_are_no_pictures_are_refused(tmp_path, picture, alpha):
  with pytest.raises(Invalid):
    folder.write_png(tmp_path / "a.png", picture, alpha)
  assert os.listdir(tmp_path) == []


def test_png_names_keep_the_name_unless_two_would_meet():
  names = ["a.jpg", "b.png", "b.JPG", "s/b.webp", "C.gif", "c.png", "d.e.png"]
  assert folder.png_names(names) == [
    "a.png", "b.png.png", "b.JPG.png", "s/b.png", "C.gif.png", "c.png.png", "d.e.png"]
  tricky = ["a.jpg", "a.png", "a.jpg.png", "A.JPG.gif"]
  assert len({name.lower() for name in folder.png_names(tricky)}) == 4


def test_captions_come_from_a_file_or_from_the_names_of_folders_and_follow_the_pictures(tmp_path):
  root = tmp_path / "mine"
  for name in ("cat/one.png", "polar_bear/three.png", "polar_bear/two.png"):
    put(root / name)
  (root / "cat" / "broken.png").write_bytes(b"nothing")
  file = tmp_path / "told.csv"
  file.write_text("file,caption\npolar_bear/two.png,red disc\ncat/one.png,blue disc\npolar_bear/three.png,red disc\n"
                  "cat/broken.png,none\n")  # fmt: skip
  told = lambda data: [data.info["labels"]["caption"][c] for c in data.arrays["caption"]]
  data = check_data(folder.data(str(root), size=8, captions=str(file), buckets=50))
  assert data.info["names"] == ["cat/one.png", "polar_bear/three.png", "polar_bear/two.png"]
  assert told(data) == ["blue disc", "red disc", "red disc"] and data.info["vocabulary"] == 50
  ids = data.arrays["ids"]
  assert np.array_equal(ids[1], ids[2]) and ids[0, 1] == ids[1, 1] and ids.max() < 50
  data = folder.data(str(root), size=8, template="a photo of a {}.")
  assert told(data) == ["a photo of a cat.", "a photo of a polar bear.", "a photo of a polar bear."]
  assert "caption" not in folder.data(str(root), size=8).arrays
  assert told(folder.data(str(root), size=8, captions=str(file), limit=2)) == ["blue disc"]
  with pytest.raises(Invalid, match="data.template"):
    folder.data(str(root), size=8, captions=str(file), template="a {}.")
  put(root / "new.png")
  with pytest.raises(Invalid, match="told.csv.*new.png.*has no caption"):
    folder.data(str(root), size=8, captions=str(file))
