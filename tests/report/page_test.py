"""The page: one file that needs no other, escaped, readable without seeing the pictures."""

import base64
import html.parser
import os
import re

import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Score
from ue_jax.report import figures, page

EVIL = '<script>alert("x")</script>&'
VOID = {"meta", "img", "br"}


class Parsed(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.attrs, self.words = [], [], [], []
    self.feed(text)
    assert not self.open, f"never closed: {self.open}"

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attrs.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.words.append(data)


def sample():
  svg = figures.curves({EVIL: [0.1, 0.2], "b": [1.0, 2.0]})
  return [
    page.heading(EVIL, EVIL), page.text(EVIL + "\n\n`code`"),
    page.table([EVIL], [[EVIL]], EVIL, EVIL), page.scores({EVIL: Score(0.5, 3, "near", 0.5)}),
    page.figures(page.figure(svg, EVIL), page.figure(figures.curves({"a": [1.0, 2.0]}, form="png"), "png", alt=EVIL)),
    page.pairs({"protect": {"name": EVIL, "empty": {}}, "seeds": (0, 1)}, title=EVIL),
  ]


def test_everything_is_escaped_and_well_formed():
  parsed = Parsed(page.render(EVIL, sample(), EVIL))
  assert "script" not in parsed.tags
  assert "".join(parsed.words).count('alert("x")') >= 10, "texts are shown as they are"


def test_the_page_needs_nothing_from_outside():
  text = page.render("t", sample())
  assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text.replace('xlink:href="#', 'href="#'))
  assert "@import" not in text and "url(http" not in text and "<link" not in text


def test_every_picture_says_what_it_shows():
  parsed = Parsed(page.render("t", sample()))
  images = [attrs for tag, attrs in parsed.attrs if tag == "img"]
  outer = [attrs for tag, attrs in parsed.attrs if tag == "svg"]
  assert images and all(a["alt"] for a in images)
  assert outer and all(a["role"] == "img" and a["aria-label"] for a in outer)
  with pytest.raises(Invalid):
    page.figure(figures.curves({"a": [1.0, 2.0]}))


def test_png_bytes_come_back_from_the_page():
  png = figures.curves({"a": [1.0, 2.0]}, form="png")
  data = re.search(r"base64,([^\"]+)", page.figure(png, "c").markup)[1]
  assert base64.b64decode(data) == png


@pytest.mark.parametrize("data", [b"GIF89a", b"<svg><script>alert(1)</script></svg>", ""])
def test_other_data_is_refused(data):
  with pytest.raises(Invalid):
    page.figure(data, "c")


def test_nested_values_are_flattened_with_dots():
  markup = page.pairs({"protect": {"name": "cuda", "empty": {}}, "seed": 0}).markup
  assert "protect.name" in markup and "cuda" in markup and "empty" not in markup
  assert "<details" not in markup and "<details open" in page.pairs({"a": 1}, "T", open=True).markup


def test_the_page_follows_phone_and_colour_scheme():
  text = page.render("t", [])
  assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text and 'lang="en"' in text


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
  path = page.write(tmp_path / "deep" / "page.html", "first", [page.text("one")])
  assert "first" in path.read_text()
  monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(OSError("disk full")))
  with pytest.raises(OSError):
    page.write(path, "second", [])
  assert "first" in path.read_text() and [p.name for p in path.parent.iterdir()] == ["page.html"]
