"""Captions as rows of word ids, beside the pictures they describe.

In a row 0 is padding; a word's id is its place in `info["vocabulary"]`. Where that is a number, ids are hashes of words
below it: any word can be read then, and what was never taught keeps the embedding it began with.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data

# the prompts of T2UE's code: photos of nine kinds, with either article; the first is "a photo of a {}."
TEMPLATES = tuple(
  f"a {kind}photo of {article} {size}{{}}."
  for article in ("a", "the")
  for kind, size in (
    ("", ""), ("blurry ", ""), ("black and white ", ""), ("low contrast ", ""), ("high contrast ", ""), ("bad ", ""),
    ("good ", ""), ("", "small "), ("", "big "),
  )
)  # fmt: skip
PADDING = "<pad>"


def describe(data: Data, label: str = "label", templates: int | Sequence[str] = 1, buckets: int = 0) -> Data:
  """Labelled Data with captions: row i is described by template i, counted in turn, around its class name.

  Adds `ids`, `caption` (class times the number of templates, plus template), and to `info` the captions and the
  vocabulary.

  Args:
    data: with the names of its classes in `info`.
    label: the labelling.
    templates: how many of `TEMPLATES`; or texts with one `{}` each, where the name of the class goes.
    buckets: how many ids words are hashed to; 0: the words of the captions are the vocabulary.

  Raises:
    Invalid: without that labelling and its class names, or for templates that are none.
  """
  names = data.info.get("labels", {}).get(label)
  require(names is not None and label in data.arrays, "data.label", label, "name a labelling that has class names")
  chosen = templates_of(templates, "data.templates")
  texts = [filled(template, name) for name in names for template in chosen]
  caption = (np.asarray(data.arrays[label]) * len(chosen) + np.arange(data.n) % len(chosen)).astype(np.int32)
  return captioned(data, caption, texts, buckets)


def templates_of(templates: int | Sequence[str], field: str) -> tuple[str, ...]:
  """The templates that a setting names: the first of `TEMPLATES`, or its own.

  Raises:
    Invalid: for a number out of range, or a text without its one `{}`.
  """
  if isinstance(templates, int):
    require(1 <= templates <= len(TEMPLATES), field, templates, f"choose 1 to {len(TEMPLATES)}")
    return TEMPLATES[:templates]
  texts = not isinstance(templates, str) and len(templates) > 0 and all(isinstance(t, str) for t in templates)
  good = texts and all(t.count("{}") == 1 for t in templates)
  require(good, field, templates, "give a number, or texts with one {} each, as ('a photo of a {}.',)")
  return tuple(templates)


def filled(template: str, name: str) -> str:
  """A template with the name of a class, whose underscores are spaces."""
  return template.replace("{}", str(name).replace("_", " "))


def captioned(data: Data, caption: np.ndarray, texts: Sequence[str], words: Sequence[str] | int = ()) -> Data:
  """Data with the text `texts[caption[i]]` beside picture i.

  Args:
    data: pictures.
    caption: int32 `[n]`.
    texts: the captions.
    words: the vocabulary, or how many ids words are hashed to; default: the words of `texts`.
  """
  words = words if isinstance(words, int) and words else list(words or vocabulary(texts))
  ids = encode(texts, words)[caption]
  labels = {**data.info.get("labels", {}), "caption": list(texts)}
  return Data({**data.arrays, "ids": ids, "caption": np.asarray(caption, np.int32)}, data.sets,
              {**data.info, "labels": labels, "vocabulary": words})  # fmt: skip


def split(text: str) -> list[str]:
  """The words of a text: lower case, hyphens kept, other marks left out."""
  return re.findall(r"[\w]+(?:-[\w]+)*", text.lower())


def vocabulary(texts: Sequence[str]) -> list[str]:
  """Padding, and the words of all texts in alphabetical order."""
  return [PADDING, *sorted({word for text in texts for word in split(text)})]


def hashed(word: str, buckets: int) -> int:
  """The id of a word where ids are hashes: 1 to `buckets` - 1, the same on every machine."""
  return 1 + zlib.crc32(word.encode()) % (buckets - 1)


def encode(texts: Sequence[str], words: Sequence[str] | int, length: int = 0) -> np.ndarray:
  """Texts as word ids, int32 `[m, length]`, 0 behind the end.

  Args:
    texts: captions.
    words: the vocabulary, padding first; or how many ids words are hashed to.
    length: words a text may have; 0: those of the longest.

  Raises:
    Invalid: for a text without words, with one that the vocabulary lacks, or longer than `length`.
  """
  free = isinstance(words, int)
  require(not free or words >= 2, "data.buckets", words, "give 2 or more, such as 4096")
  known = {} if free else {word: i for i, word in enumerate(words)}
  found = [split(text) for text in texts]
  longest = length or max(map(len, found), default=0)
  ids = np.zeros((len(found), longest), np.int32)
  for i, (text, parts) in enumerate(zip(texts, found)):
    require(len(parts) > 0, "caption", text, "give a text with at least one word")
    require(len(parts) <= longest, "caption", text, f"shorten it to {longest} words")
    for j, word in enumerate(parts):
      if not free and word not in known:
        raise Invalid("caption", word, f"use the words of the vocabulary, such as {list(words)[1:6]}")
      ids[i, j] = hashed(word, words) if free else known[word]
  return ids
