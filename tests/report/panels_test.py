"""Figures of many small drawings: decodable, and showing what they were given, where it belongs."""

import functools
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.report import figures, panels

SVG = "{http://www.w3.org/2000/svg}"
COLUMNS = {"UA": {"first": (0.2, 0.05), "second": 0.4}, "TA": {"second": 0.9}}
MATRICES = {f"m{i}": np.eye(3) for i in range(8)}
POINTS = {"before": np.eye(4)[:, :2], "after": np.eye(4)[:, 1:3]}

MAKERS = {
  "strips": lambda form: panels.strips(COLUMNS, {"UA": 0.3}, form=form),
  "mosaics": lambda form: panels.mosaics(MATRICES, ["a", "b", "c"], "taken for", form=form),
  "clouds": lambda form: panels.clouds(POINTS, [0, 0, 1, 1], [False, True, False, True], ["x", "y"], form=form),
}


@functools.cache
def drawn(name, form="svg"):
  return MAKERS[name](form)


def texts(svg):
  return ["".join(t.itertext()) for t in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", MAKERS)
def test_they_are_pictures_whose_svg_follows_the_page(name):
  from PIL import Image

  image = np.asarray(Image.open(io.BytesIO(drawn(name, "png"))).convert("L"))
  assert min(image.shape) > 40 and image.std() > 1
  svg = drawn(name)
  assert figures.INK.encode() not in svg and b"currentColor" in svg


def test_every_drawing_has_its_name_and_only_the_first_map_has_ticks():
  assert {"UA", "TA", "first", "second"} <= set(texts(drawn("strips")))
  shown = texts(drawn("mosaics"))
  assert set(MATRICES) <= set(shown) and shown.count("b") == 2 and "taken for" in shown
  assert {"before", "after", "x", "y"} <= set(texts(drawn("clouds")))


def test_lines_stand_from_above_in_the_order_given():
  height = {}
  for text in ET.fromstring(drawn("strips")).iter(f"{SVG}text"):
    height["".join(text.itertext())] = float(text.get("y") or text.get("transform").split()[-1].strip(")"))
  assert height["first"] < height["second"]


def test_strong_samples_are_drawn_larger_than_the_others():
  from PIL import Image

  dark = lambda strong: (np.asarray(Image.open(io.BytesIO(
    panels.clouds(POINTS, [0, 0, 1, 1], strong, form="png"))).convert("L")) < 128).sum()  # fmt: skip
  assert dark([True] * 4) > 1.5 * dark([False] * 4)


@pytest.mark.parametrize("call", [
  lambda: panels.strips({}), lambda: panels.strips({"UA": {}}), lambda: panels.mosaics({}),
  lambda: panels.mosaics({"a": np.eye(3)}, ["x"]), lambda: panels.mosaics({"a": np.zeros(3)}),
  lambda: panels.clouds({}, [], []), lambda: panels.clouds({"a": np.eye(3)}, [0, 1, 2], [True] * 3),
  lambda: panels.clouds({"a": np.eye(2)}, [0, 1], [True]),
])  # fmt: skip
def test_what_cannot_be_drawn_is_named(call):
  with pytest.raises(Invalid):
    call()
