"""Folders of pictures as ImageNet's and Tiny-ImageNet's: one for training and one for validation, with classes by name.

    train/n01443537/images/n01443537_0.JPEG     or without the folder `images`
    val/images/val_0.JPEG                       or val/n01443537/..., as ImageNet's are after the usual script
    val/val_annotations.txt                     val_0.JPEG <tab> n01443537 <tab> a box, which is not read
    words.txt                                   n01443537 <tab> goldfish, Carassius auratus

Source of the layout: Stanford CS231n, tiny-imagenet-200 (200 classes, 64x64, 500 pictures a class to train, 50 to
validate). Its folder `test` has no labels and is not read.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data
from ue_jax.data import folder, splits

TOLD = "val_annotations.txt"


def data(
  path: str, size: int = 64, train: int = 0, test: int = 0, seed: int = 0, classes: Sequence[str] = (),
  forget_share: float = 0.0, forget_classes: Sequence[int] = (), forget_unseen: int = 0, known: int = 0,
) -> Data:  # fmt: skip
  """The pictures below `path/train` and `path/val`: centre square, resized to `size`, RGB.

  Args:
    path: the folder that holds `train` and `val`.
    size: side in pixels, 1 to 4096.
    train, test: how many pictures of `train` and of `val`, balanced over the classes to within one; 0 for all.
    seed: names the choice.
    classes: names of the folders of `train` that are read, in the order of their labels; none for all, by name.
    forget_share, forget_classes, forget_unseen, known: as in `data.tfds`.
  Returns:
    Data with `image` uint8 `[n, size, size, 3]`, `label` int32 `[n]`, and `index`, the place among all pictures of
    `train` and then of `val`, by name. The set `test` is `val`. Classes are called by their first word in `words.txt`
    (with their folder where two have the same), or by their folder; `info["folders"]` has the folders,
    `info["unreadable"]` pairs of name and reason: such pictures are left out.
  Raises:
    Invalid: without one of the folders, for a class that is not there, a line of the annotations that cannot be read
      or names another class or picture than there are, a picture of `val` of which nobody says the class, or numbers
      out of range.
  """
  require(isinstance(size, int) and 1 <= size <= 4096, "data.size", size, "give a side of 1 to 4096 pixels")
  for name, count in (("train", train), ("test", test)):
    require(isinstance(count, int) and count >= 0, f"data.{name}", count, "give a whole number, 0 for all")
  root = pathlib.Path(path)
  trained = _by_folder(root / "train")
  there = sorted(set(trained.values()))
  for one in classes:
    require(one in there, "data.classes", one, f"{root / 'train'} has no such folder; it has {len(there)}: {there[:5]}")
  require(len(set(classes)) == len(classes), "data.classes", list(classes), "name each class once")
  asked, unreadable = list(classes) or there, []
  parts = []
  for name, place, found, count, start in (
    ("train", root / "train", trained, train, 0),
    ("test", root / "val", _validation(root / "val", there), test, len(trained)),
  ):
    names, label, index = _chosen(found, asked, count, seed, name)
    image, kept = _read(place, names, size, unreadable)
    parts.append({"image": image, "label": label[kept], "index": index[kept] + np.int32(start)})
  arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  rows, ends = np.arange(len(arrays["label"]), dtype=np.int32), len(parts[0]["label"])
  about = {"labels": {"label": _words(root / "words.txt", asked)}, "folders": asked, "unreadable": unreadable}
  made = Data(arrays, {"train": rows[:ends], "test": rows[ends:]}, {"source": "imagenet", "path": str(path), **about})
  return splits.forget(splits.known(made, known, seed), forget_share, forget_classes, seed, forget_unseen)


def _by_folder(root: pathlib.Path) -> dict[str, str]:
  """Name of a picture, relative to the root, sorted -> name of the folder at the top that it lies in."""
  names = folder.list_pictures(str(root))[0]
  loose = [name for name in names if "/" not in name]
  if loose:
    raise Invalid(str(root), loose[0], f"it lies in no folder of a class; {TOLD} may say the classes of val")
  return {name: name.split("/")[0] for name in names}


def _validation(root: pathlib.Path, classes: Sequence[str]) -> dict[str, str]:
  """The same for the pictures of `val`, whose classes a file or their folders tell."""
  told = root / TOLD
  if not told.is_file():
    found = _by_folder(root)
    other = sorted(set(found.values()) - set(classes))
    require(not other, str(root), other[:5], f"train has no such classes; put a file {TOLD} there, or move them")
    return found
  names = folder.list_pictures(str(root))[0]
  by_name = {os.path.basename(name): name for name in names}
  require(len(by_name) == len(names), str(root), len(names), f"{TOLD} needs pictures with different names")
  found = {}
  for at, line in _lines(told):
    require(len(line) >= 2, at, " ".join(line), "write the name of a picture, a tab and the folder of its class")
    require(line[0] in by_name, at, line[0], f"no such picture below {root}")
    require(line[1] in classes, at, line[1], f"no such class among the {len(classes)} folders of train")
    require(by_name[line[0]] not in found, at, line[0], "the picture has a class already: keep one of the two lines")
    found[by_name[line[0]]] = line[1]
  without = [name for name in names if name not in found]
  if without:
    raise Invalid(str(told), without[0], f"it has no line, as have {len(without)} of {len(names)}; add one")
  return {name: found[name] for name in names}


def _lines(path: pathlib.Path) -> list[tuple[str, list[str]]]:
  """Place for messages and the fields between tabs, of every line that is not blank."""
  try:
    text = path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise Invalid(str(path), "not readable", f"give a text file in UTF-8; {error}") from error
  fields = [[one.strip() for one in line.split("\t")] for line in text.split("\n")]
  return [(f"{path}, line {i}", one) for i, one in enumerate(fields, 1) if any(one)]


def _words(path: pathlib.Path, classes: Sequence[str]) -> list[str]:
  """What the classes are called."""
  if not path.is_file():
    return list(classes)
  said = {line[0]: line[1].split(",")[0].strip() for _, line in _lines(path) if len(line) >= 2}
  first = [said.get(one) or one for one in classes]
  return [word if first.count(word) == 1 else f"{word} ({one})" for word, one in zip(first, classes)]


def _chosen(
  found: dict[str, str], classes: Sequence[str], count: int, seed: int, name: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Names of the pictures that are asked for, in their order, with labels and places among all, int32 [m]."""
  number = {one: label for label, one in enumerate(classes)}
  names = [at for at, one in found.items() if one in number]
  label = np.array([number[found[at]] for at in names], np.int32)
  index = np.array([i for i, one in enumerate(found.values()) if one in number], np.int32)
  require(len(names) > 0, "data.classes", list(classes), f"none of them has a picture for '{name}'")
  require(count <= len(names), f"data.{name}", count, f"there are {len(names)} pictures")
  rows = np.sort(splits.balanced(label, seed)[:count]) if count else np.arange(len(names))
  return [names[i] for i in rows], label[rows], index[rows]


def _read(root: pathlib.Path, names: Sequence[str], size: int, unreadable: list) -> tuple[np.ndarray, list[int]]:
  """uint8 [m, size, size, 3] and which of the names were read; the others are added to `unreadable`."""
  image, kept = np.empty((len(names), size, size, 3), np.uint8), []
  for i, name in enumerate(names):
    try:
      image[len(kept)] = folder.fit(folder.read_picture(root / name)[0], size)
    except Invalid as error:
      unreadable.append([f"{root.name}/{name}", error.fix])
    else:
      kept.append(i)
  require(len(kept) > 0, str(root), f"{len(names)} pictures", f"none can be read, e.g. {unreadable[-1:]}")
  return image[: len(kept)], kept
