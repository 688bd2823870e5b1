import json

import pytest

from ue_jax.core.errors import Invalid
from ue_jax.data import records

GOOD = {"question": "Who?", "answer": "Ana."}


def written(tmp_path, content):
  path = tmp_path / "some.json"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return str(path)


def test_lines_and_lists_are_read_alike(tmp_path):
  many = [{**GOOD, "more": i} for i in range(3)]
  lines = written(tmp_path, "\n".join(map(json.dumps, many)) + "\n\n")
  assert records.read(lines) == many
  assert records.read(written(tmp_path, json.dumps(many, indent=1))) == many
  assert records.read(written(tmp_path, b"\xef\xbb\xbf" + json.dumps(many).encode())) == many  # with a byte-order mark


@pytest.mark.parametrize("form, record, more", [
  ("choice", {"question": "?", "choices": ["x", "y"], "answer": 1}, {}),
  ("query", {"query": "Who?", "answer": "Ana"}, {"question": "Who?"}),
  ("continuation", {"prompt": "Once", "gt": "upon"}, {"question": "Once", "answer": "upon"}),
  ("passage", {"text": "Once upon"}, {}),
  ("qa", {**GOOD, "perturbed_answer": ["Bob.", "Eve."]}, {}),
])  # fmt: skip
def test_the_published_forms(tmp_path, form, record, more):
  assert records.read(written(tmp_path, json.dumps(record)), form) == [{**record, **more}]


def test_bare_strings_and_plain_lines(tmp_path):
  assert records.read(written(tmp_path, '["Once", "upon"]'), "passage") == [{"text": "Once"}, {"text": "upon"}]
  assert records.read(written(tmp_path, "I do not know.\n\nNo idea. \n"), "lines") == [
    {"text": "I do not know."}, {"text": "No idea."}]  # fmt: skip


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_separator_inside_a_text_does_not_end_the_line(tmp_path, separator):
  many = [{"question": f"Who{separator}?", "answer": "Ana."}, GOOD]
  path = written(tmp_path, "\r\n".join(json.dumps(one, ensure_ascii=False) for one in many))
  assert records.read(path) == many


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_of_plain_lines_only_the_line_feed_ends_one(tmp_path, separator):
  path = written(tmp_path, f"I do{separator}not know.\r\nNo idea.\n")
  assert records.read(path, "lines") == [{"text": f"I do{separator}not know."}, {"text": "No idea."}]


@pytest.mark.parametrize("form, content, said", [
  ("qa", '{"question": "a", "answer": "b"}\n{"question": ', "some.json:2.*repair the JSON"),
  ("qa", '[{"question": "a",]', "some.json:1.*repair the JSON"),
  ("qa", json.dumps(GOOD) + '\n{"question": "a"}', "some.json:2.*'answer'"),
  ("qa", '{"question": "a", "answer": "  "}', "some.json:1 answer.*not empty"),
  ("qa", '{"question": "a", "answer": 3}', "some.json:1 answer = 3: give a text"),
  ("qa", '{"question": "a", "answer": "b", "perturbed_answer": ["c", ""]}', "perturbed_answer.*not empty"),
  ("qa", '{"question": "a", "answer": "b", "perturbed_answer": []}', "perturbed_answer.*at least one"),
  ("choice", '{"question": "a", "choices": ["x", "y"], "answer": 2}', "answer = 2.*0 to 1"),
  ("choice", '{"question": "a", "choices": "xy", "answer": 0}', "some.json:1"),
  ("qa", "[1]", "some.json:1 = 1"),
  ("qa", "\n", "no record"),
  ("qa", b'{"question": "caf\xe9", "answer": "b"}', "byte 17 is no UTF-8"),
  ("poem", "{}", "data.form"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, form, content, said):
  with pytest.raises(Invalid, match=said) as error:
    records.read(written(tmp_path, content), form)
  assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(Invalid, match="nowhere.json"):
    records.read(str(tmp_path / "nowhere.json"))
