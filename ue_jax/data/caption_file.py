"""Captions of a person's own pictures: a file that names them, or the names of their folders."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Iterator, Sequence

from ue_jax.core.errors import Invalid, require
from ue_jax.data import words

ENDINGS = (".csv", ".jsonl")
MOST = 64  # words of a caption: every text is read at this width, so that none depends on the others


def of_file(path: str, root: str, names: Sequence[str], others: Sequence[str] = ()) -> list[str]:
  """The captions of the pictures `names`, from a file with a line a picture.

  Args:
    path: a .csv with the columns `file` and `caption` in its first line, or a .jsonl with an object of these two a
      line; UTF-8. Further columns are passed over.
    root: the folder of the pictures, for messages.
    names: relative to it, with `/`.
    others: further names that the file may speak of.

  Raises:
    Invalid: naming the file and its line, for one that is missing or damaged, a picture that is not there, or is told
      twice, or a caption without words or with more than `MOST`; naming the first picture without a caption.
  """
  found, there = {}, {*names, *others}
  for line, name, caption in _lines(path):
    at = f"{path}, line {line}"
    name = pathlib.PurePosixPath(name).as_posix()
    require(name in there, at, name, f"no such picture below {root}; give names relative to it, with /")
    require(name not in found, at, name, "the picture has a caption already: keep one of the two lines")
    found[name] = checked(caption, at)
  without = [name for name in names if name not in found]
  if without:
    raise Invalid(path, without[0], f"it has no caption, as have {len(without)} of {len(names)}; add a line for it")
  return [found[name] for name in names]


def of_folders(template: str, names: Sequence[str]) -> list[str]:
  """The captions of pictures told by their top folder: a text whose `{}` is its name, underscores being spaces.

  Raises:
    Invalid: for a text without its one `{}`, too long a caption, or a picture that lies in no folder.
  """
  (template,) = words.templates_of((template,), "template")
  loose = [name for name in names if "/" not in name]
  if loose:
    raise Invalid("template", loose[0], "it lies in no folder of a class; put it into one, or give captions=FILE")
  return [checked(words.filled(template, name.split("/")[0]), "template") for name in names]


def checked(caption: str, field: str) -> str:
  """The caption without blanks around it, or Invalid if it has no word or more than `MOST`."""
  count = len(words.split(caption))
  require(count > 0, field, caption, "the caption is empty: give at least one word")
  require(count <= MOST, field, caption, f"the caption has {count} words: shorten it to {MOST}")
  return caption.strip()


def _lines(path: str) -> Iterator[tuple[int, str, str]]:
  """(line, file, caption) of all lines that are not blank."""
  require(pathlib.Path(path).is_file(), "captions", path, "no such file; give one with a line `file,caption` a picture")
  ending = pathlib.Path(path).suffix.lower()
  require(ending in ENDINGS, "captions", path, f"give a file that ends in {' or '.join(ENDINGS)}")
  try:
    with open(path, encoding="utf-8-sig", newline="") as file:
      for line, row in (_csv if ending == ".csv" else _json)(path, file):
        yield line, *_pair(row, f"{path}, line {line}")
  except UnicodeDecodeError as error:
    raise Invalid("captions", path, f"write it as UTF-8; {error.reason} at byte {error.start}") from error
  except csv.Error as error:
    raise Invalid("captions", path, f"repair the file: {error}") from error


def _csv(path: str, file) -> Iterator[tuple[int, dict]]:
  rows = csv.DictReader(file, strict=True)
  columns = rows.fieldnames or []
  require({"file", "caption"} <= set(columns), path, columns, "begin with a line of column names: file,caption")
  for row in rows:
    at = f"{path}, line {rows.line_num}"
    require(None not in row, at, row.get(None), "more fields than columns: put a caption with commas in quotes")
    yield rows.line_num, row


def _json(path: str, file) -> Iterator[tuple[int, dict]]:
  for line, text in enumerate(file, 1):
    if not text.strip():
      continue
    try:
      row = json.loads(text)
    except (ValueError, RecursionError) as error:
      raise Invalid(f"{path}, line {line}", text.strip(), f"it is no JSON: {error}") from error
    require(isinstance(row, dict), f"{path}, line {line}", row, 'give {"file": "...", "caption": "..."}')
    yield line, row


def _pair(row: dict, at: str) -> tuple[str, str]:
  for name in ("file", "caption"):
    require(isinstance(row.get(name), str), at, row.get(name), f"give a text as '{name}'")
  return row["file"], row["caption"]
