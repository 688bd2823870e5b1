"""Captions from a file or from the names of folders: read as they stand, and every fault named with its line."""

import json

import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import caption_file

NAMES = ["a/one.jpg", "two.png"]


@pytest.fixture(autouse=True)
def short_paths(tmp_path, monkeypatch):
  """Messages shorten long values, so the paths in them are short ones."""
  monkeypatch.chdir(tmp_path)


def read(tmp_path, text, ending="csv", names=NAMES, others=()):
  path = f"mine.{ending}"
  (tmp_path / path).write_bytes(text if isinstance(text, bytes) else text.encode())
  return caption_file.of_file(path, "DIR", names, others)


def test_both_kinds_of_file_give_the_captions_in_the_order_of_the_pictures(tmp_path):
  csv = '\ufefffile,place,caption\ntwo.png,x," a red, red disc "\n./a/one.jpg,y,"a ""blue""\nsquare"\n'
  assert read(tmp_path, csv) == ['a "blue"\nsquare', "a red, red disc"]
  rows = [{"file": "two.png", "caption": "zwei Größen"}, {"file": "a/one.jpg", "caption": "one", "more": 1}]
  text = "\n\n".join(json.dumps(row) for row in rows)
  assert read(tmp_path, text, "jsonl") == ["one", "zwei Größen"]


def test_pictures_that_are_not_asked_for_may_be_told_of(tmp_path):
  text = "file,caption\na/one.jpg,one\ntwo.png,two\n"
  assert read(tmp_path, text, names=NAMES[:1], others=NAMES) == ["one"]


@pytest.mark.parametrize("text, said", [
  ("a/one.jpg,one\ntwo.png,two\n", "column names: file,caption"),
  ("", "column names: file,caption"),
  ("file,caption\na/one.jpg,one\n", "two.png.*it has no caption, as have 1 of 2"),
  ("file,caption\na/one.jpg,one\ntwo.png,two\nthree.png,x\n", "line 4 = 'three.png': no such picture below DIR"),
  ("file,caption\na/one.jpg,one\n../two.png,two\n", r"line 3 = '\.\./two.png': no such picture"),
  ("file,caption\na/one.jpg,one\na/one.jpg,one\ntwo.png,two\n", "line 3 = 'a/one.jpg': .*a caption already"),
  ("file,caption\na/one.jpg,one\ntwo.png, \n", "line 3 .*the caption is empty"),
  ("file,caption\na/one.jpg,one\ntwo.png,...\n", "line 3 .*the caption is empty"),
  ("file,caption\na/one.jpg,one\ntwo.png," + 65 * "w " + "\n", "line 3 .*has 65 words: shorten it to 64"),
  ("file,caption\na/one.jpg,one, two\ntwo.png,two\n", "line 2 .*commas in quotes"),
  ("file,caption\na/one.jpg\ntwo.png,two\n", "line 2 = None: give a text as 'caption'"),
  ('file,caption\na/one.jpg,"one"x\ntwo.png,two\n', "repair the file"),
  (b"file,caption\na/one.jpg,\xff\n", "write it as UTF-8"),
])  # fmt: skip
def test_what_is_wrong_with_a_csv_is_named(tmp_path, text, said):
  with pytest.raises(Invalid, match=f"mine.csv.*{said}"):
    read(tmp_path, text)


@pytest.mark.parametrize("text, said", [
  ('{"file": "two.png"', "line 1 .*no JSON"), ("[1]", "line 1 .*give {"), ("[" * 100_000, "line 1 .*no JSON"),
  ('\n{"file": "two.png", "caption": 3}', "line 2 = 3: give a text as 'caption'"),
])  # fmt: skip
def test_what_is_wrong_with_a_jsonl_is_named(tmp_path, text, said):
  with pytest.raises(Invalid, match=f"mine.jsonl, {said}"):
    read(tmp_path, text, "jsonl")


def test_a_file_that_is_not_there_or_ends_otherwise_is_named(tmp_path):
  with pytest.raises(Invalid, match="captions = '.*none.csv': no such file"):
    caption_file.of_file("none.csv", "DIR", NAMES)
  with pytest.raises(Invalid, match="ends in .csv or .jsonl"):
    read(tmp_path, "file,caption\n", "txt")


def test_64_words_are_not_too_many(tmp_path):
  long = " ".join(["w"] * caption_file.MOST)
  assert read(tmp_path, f"file,caption\na/one.jpg,{long}\ntwo.png,two\n")[0] == long


def test_folders_tell_captions_by_a_template():
  got = caption_file.of_folders("a photo of a {}.", ["polar_bear/b/one.jpg", "cat/two.jpg"])
  assert got == ["a photo of a polar bear.", "a photo of a cat."]
  with pytest.raises(Invalid, match="template = 'two.png': it lies in no folder"):
    caption_file.of_folders("a {}.", ["cat/one.jpg", "two.png"])
  for wrong in ("a photo", "{} {}"):
    with pytest.raises(Invalid, match="one {} each"):
      caption_file.of_folders(wrong, ["cat/one.jpg"])
