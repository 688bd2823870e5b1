"""A person's own folder of pictures, of any size and format."""

from __future__ import annotations

import os
import pathlib
import struct
import warnings
import zlib
from typing import Any

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data
from ue_jax.data import caption_file, splits, words

ENDINGS = frozenset(
  ".png .jpg .jpeg .jfif .jpe .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .tga .avif .heic .heif .jxl".split()
)
MAX_PIXELS = 80_000_000  # 240 MB as colour bytes: a file of a few kilobytes may claim to be larger than memory


def data(
  path: str, size: int = 64, label: str = "folders", limit: int = 0, test: float = 0.0, seed: int = 0,
  captions: str = "", template: str = "", buckets: int = 4096,
) -> Data:  # fmt: skip
  """The pictures below `path` at one size, for crafting: centre square, resized to `size`, RGB.

  One full-size picture is in memory at a time. What cannot be read is listed in `info`, not fatal.

  Args:
    path: folder; sub-folders are searched, links to files are read, links to folders are not followed.
    size: side in pixels, 1 to 4096.
    label: `folders` makes the top sub-folders the classes of `label`, if any has pictures ("." for those
      beside them); `none` leaves labels out.
    limit: look at the first `limit` files only, in the order of their names; 0 for all.
    test: share of the pictures for a set `test`; 0.0 puts all into `train`.
    seed: names that split.
    captions: file with a caption for each picture (`caption_file.of_file`).
    template: or a text in which `{}` stands for the name of the top sub-folder, such as "a photo of a {}.".
    buckets: how many ids the words of captions are hashed to (`data.words`); as many as the surrogate knows.
  Returns:
    Data with `image` uint8 `[n, size, size, 3]`, perhaps `label`, perhaps `ids` and `caption` (int32 `[n]`, which of
    the texts in `info`), `index`; `info` holds `path`, `names`
    (relative, with `/`, one a row), `unreadable` (pairs of name and reason), `skipped` (other files).
  Raises:
    Invalid: if there is no such folder or nothing readable in it, or not one caption for each picture.
  """
  require(isinstance(size, int) and 1 <= size <= 4096, "data.size", size, "give a side of 1 to 4096 pixels")
  require(label in ("folders", "none"), "data.label", label, "choose 'folders' or 'none'")
  require(isinstance(limit, int) and limit >= 0, "data.limit", limit, "give a number of files, 0 for all")
  require(0 <= test < 1, "data.test", test, "choose a share from 0.0 to below 1")
  require(not (captions and template), "data.template", template, "leave it out: captions come from a file")
  everything, skipped = list_pictures(path)
  found = everything[: limit or None]
  told = caption_file.of_file(captions, path, found, everything) if captions else []
  told = caption_file.of_folders(template, found) if template else told
  image = np.empty((len(found), size, size, 3), np.uint8)
  names, unreadable = [], []
  for name in found:
    try:
      image[len(names)] = fit(read_picture(os.path.join(path, name))[0], size)
    except Invalid as error:
      unreadable.append([name, error.fix])
    else:
      names.append(name)
  require(bool(names), "data.path", path, f"none of its {len(found)} pictures can be read, e.g. {unreadable[:1]}")
  index = np.arange(len(names), dtype=np.int32)
  arrays = {"image": image[: len(names)], "index": index}
  info = {"source": "folder", "path": str(path), "names": names, "unreadable": unreadable, "skipped": skipped}
  arrays, info["labels"] = _labelled(arrays, names) if label == "folders" else (arrays, {})
  out = Data(arrays, {"train": index.copy()}, info)
  if told:
    by_name = dict(zip(found, told))
    texts, which = np.unique([by_name[name] for name in names], return_inverse=True)
    out = words.captioned(out, which.reshape(-1).astype(np.int32), texts.tolist(), buckets)
  held = round(test * len(names))
  sizes = {"train": len(names) - held, "test": held}
  return splits.split(out, sizes, seed, "label" if "label" in arrays else "") if held else out


def list_pictures(path: str) -> tuple[list[str], list[str]]:
  """Names of the pictures below `path`, relative with `/`, sorted; and of the other files.

  Hidden files and folders are passed over.

  Raises:
    Invalid: if there is no such folder or no picture in it.
  """
  require(os.path.isdir(path), "data.path", path, "give the path of an existing folder")
  pictures, others = [], []
  for folder, folders, files in os.walk(path):
    folders[:] = [name for name in folders if not name.startswith(".")]
    for name in files:
      if not name.startswith("."):
        relative = os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")
        (pictures if pathlib.Path(name).suffix.lower() in ENDINGS else others).append(relative)
  require(bool(pictures), "data.path", path, f"put pictures into it; endings that count: {' '.join(sorted(ENDINGS))}")
  return sorted(pictures), sorted(others)


def read_picture(path: str) -> tuple[np.ndarray, dict[str, Any]]:
  """One picture at full size, turned upright as its EXIF says.

  Palettes, CMYK and the like become RGB; 16 bits become 8 by rounding; of animations the first frame counts.

  Returns:
    picture uint8 `[height, width, 3]`, or `[height, width, 1]` if it is grey, and a dict with `alpha` (uint8
    `[height, width]`, or None if it is opaque), `format` and `mode` of the file.
  Raises:
    Invalid: if it is no regular file, empty, broken, of an unknown format or has more than `MAX_PIXELS` pixels.
  """
  from PIL import Image, ImageOps, UnidentifiedImageError

  path = os.fspath(path)
  require(os.path.isfile(path), "picture", path, "no such file, or not a regular one")
  require(os.path.getsize(path) > 0, "picture", path, "the file is empty")
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # Pillow warns of sizes that the limit below refuses, and of odd metadata
      with Image.open(path) as image:
        pixels = image.width * image.height
        require(pixels <= MAX_PIXELS, "picture", path, f"{pixels} pixels, the limit is {MAX_PIXELS}; scale it down")
        meta = {"format": image.format, "mode": image.mode}
        picture, meta["alpha"] = _bytes(path, ImageOps.exif_transpose(image))
  except Image.DecompressionBombError as error:
    raise Invalid("picture", path, f"more pixels than the limit of {MAX_PIXELS}; scale it down") from error
  except UnidentifiedImageError as error:
    raise Invalid("picture", path, "not a picture in a known format") from error
  except Invalid:
    raise
  except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, MemoryError, struct.error,
          zlib.error) as error:  # decoders raise all of these on broken bytes
    raise Invalid("picture", path, f"broken: {error}") from error
  return picture, meta


def _bytes(path: str, image) -> tuple[np.ndarray, np.ndarray | None]:
  """uint8 [h, w, 1 or 3] and alpha uint8 [h, w] or None of a Pillow image."""
  if image.mode == "I" or image.mode.startswith("I;"):
    wide = np.asarray(image).astype(np.int64)
    inside = wide.min() >= 0 and wide.max() <= 65535
    require(inside, "picture", path, "more than 16 bits a channel; convert it to 8 or 16")
    return ((wide + 128) // 257).astype(np.uint8)[..., None], None
  require(image.mode != "F", "picture", path, "it holds floats; convert it to 8 or 16 bits a channel")
  grey = image.mode in ("1", "L", "LA", "La")
  if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
    full = np.asarray(image.convert("RGBA"))
    return np.ascontiguousarray(full[..., :1] if grey else full[..., :3]), np.ascontiguousarray(full[..., 3])
  picture = np.array(image.convert("L" if grey else "RGB"))
  return (picture[..., None] if grey else picture), None


def fit(picture: np.ndarray, size: int, channels: int = 3) -> np.ndarray:
  """The centre square of uint8 `[h, w, 1 or 3]`, resized (bilinear, antialiased) to uint8 `[size, size, channels]`.

  One channel of three is their luma (ITU-R 601), three of one repeat it.
  """
  from PIL import Image

  h, w = picture.shape[:2]
  side = min(h, w)
  top, left = (h - side) // 2, (w - side) // 2
  square = picture[top : top + side, left : left + side]
  image = Image.fromarray(np.ascontiguousarray(square[..., 0] if picture.shape[-1] == 1 else square))
  fitted = image.resize((size, size), Image.Resampling.BILINEAR).convert("L" if channels == 1 else "RGB")
  return np.asarray(fitted).reshape(size, size, channels)


def write_png(path: str, picture: np.ndarray, alpha: np.ndarray | None = None) -> None:
  """Writes uint8 `[h, w, 1 or 3]` (and alpha uint8 `[h, w]`) as PNG; never overwrites, never leaves half a file.

  Raises:
    Invalid: if something is at `path` already, the arrays do not fit, or the place cannot be written.
  """
  from PIL import Image

  fits = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] in (1, 3)
  require(fits, "picture", (picture.dtype.name, picture.shape), "give uint8 [height, width, 1 or 3]")
  if alpha is not None:
    same = alpha.dtype == np.uint8 and alpha.shape == picture.shape[:2]
    require(same, "alpha", (alpha.dtype.name, alpha.shape), f"give uint8 {picture.shape[:2]}")
    picture = np.concatenate([picture, alpha[..., None]], axis=-1)
  image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture))
  final = pathlib.Path(path)
  taken = "something of that name is there already; move it away or choose another folder"
  require(not os.path.lexists(final), "picture", str(path), taken)
  part = final.with_name(f".{final.name}.part")
  try:
    final.parent.mkdir(parents=True, exist_ok=True)
    image.save(part, format="PNG")
    _rename_new(part, final)
  except FileExistsError as error:
    raise Invalid("picture", str(path), taken) from error
  except OSError as error:
    raise Invalid("picture", str(path), f"cannot be written: {error.strerror or error}") from error
  finally:
    part.unlink(missing_ok=True)


def _rename_new(part: pathlib.Path, final: pathlib.Path) -> None:
  """Renames `part`, or raises FileExistsError; a hard link is the one rename that cannot overwrite."""
  try:
    os.link(part, final)
  except FileExistsError:
    raise
  except OSError:  # a file system without hard links
    if os.path.lexists(final):
      raise FileExistsError(final) from None
    os.rename(part, final)


def png_names(names: list[str]) -> list[str]:
  """Distinct names to write as PNG: `a.jpg` gives `a.png`, or `a.jpg.png` where another picture claims that.

  Names count as equal if they differ in case only, as on some file systems.
  """
  plain = [str(pathlib.PurePosixPath(name).with_suffix(".png")) for name in names]
  counts: dict[str, int] = {}
  for one in plain:
    counts[one.lower()] = counts.get(one.lower(), 0) + 1
  out, used = [], {one.lower() for one in plain if counts[one.lower()] == 1}
  for name, one in zip(names, plain):
    if counts[one.lower()] > 1:
      one = f"{name}.png"
      while one.lower() in used:
        one = f"{one[:-4]}_.png"
      used.add(one.lower())
    out.append(one)
  return out


def _labelled(arrays: dict, names: list[str]) -> tuple[dict, dict[str, list[str]]]:
  """Adds `label`, the top folder of each name, if any picture lies in one."""
  tops = [name.split("/")[0] if "/" in name else "." for name in names]
  classes = sorted(set(tops))
  if classes == ["."]:
    return arrays, {}
  label = np.array([classes.index(top) for top in tops], np.int32)
  return {**arrays, "label": label}, {"label": classes}
