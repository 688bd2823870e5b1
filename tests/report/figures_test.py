"""Figures: decodable, without global state, and showing what they were given."""

import io
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.report import figures

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
  return ["".join(t.itertext()) for t in ET.fromstring(svg).iter(f"{SVG}text")]


def pictures(n=3, channels=3, size=8, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


MAKERS = {
  "pictures": lambda form: figures.pictures({"clean": pictures()}, form=form),
  "protection": lambda form: figures.protection(pictures(), pictures(seed=1), form=form),
  "curves": lambda form: figures.curves({"a": [0.1, 0.5], "b": ([0, 5], [1, 2])}, ylabel="accuracy", form=form),
  "bars": lambda form: figures.bars({"digit": {"clean": 0.9, "cuda": (0.2, 0.1)}}, chance={"digit": 0.1}, form=form),
  "heat": lambda form: figures.heat([[0.1, np.nan], [0.4, 0.9]], ["r1", "r2"], ["c1", "c2"], form=form),
  "plane": lambda form: figures.plane({"npo": ([1, 0.4], [1, 0.8])}, {"original": (1, 1)}, "gone", "kept", form=form),
  "scatter": lambda form: figures.scatter(np.eye(4)[:, :2], [0, 1, 2, -1], ["x", "y", "z"], form=form),
}


@pytest.mark.parametrize("name", MAKERS)
def test_png_can_be_decoded_and_is_not_empty(name):
  from PIL import Image

  image = np.asarray(Image.open(io.BytesIO(MAKERS[name]("png"))).convert("L"))
  assert min(image.shape) > 40 and image.std() > 1


@pytest.mark.parametrize("name", MAKERS)
def test_svg_is_xml_with_texts_that_follow_the_page(name):
  svg = MAKERS[name]("svg")
  assert ET.fromstring(svg).tag == f"{SVG}svg"
  assert texts(svg), "texts are text, not outlines"
  assert figures.INK.encode() not in svg and b"currentColor" in svg


def test_a_way_through_a_plane_ends_in_a_large_dot_and_needs_two_equal_parts():
  ways = {"npo": ([1, 0.4, 0.1], [1, 0.8, 0.7]), "ga": ([1, 0], [1, 0])}
  svg = figures.plane(ways, {"original": (1, 1), "reference": (0.05, 1)}, "forgotten", "kept")
  assert {"npo", "ga", "original", "reference", "forgotten", "kept"} <= set(texts(svg))
  assert svg.count(b"<use ") >= 3 + 2 + 2 + 2  # a dot a look, an end a way, a mark a place
  for wrong in (([1, 2], [1]), ([], [])):
    with pytest.raises(Invalid, match="figure.lines"):
      figures.plane({"npo": wrong}, {})


def test_more_ways_than_colours_are_all_named_and_no_two_look_alike():
  names = [f"way {i}" for i in range(17)]
  svg = figures.plane({name: ([1, 0.1 * i % 1], [1, 0.5]) for i, name in enumerate(names)}, {"original": (1, 1)})
  assert {*names, "original"} <= set(texts(svg))
  assert svg.count(b"stroke-dasharray") >= 2 * (17 - len(figures.PALETTE))  # the way, and its line in the legend


def test_no_global_state_is_touched():
  import matplotlib

  before = dict(matplotlib.rcParams)
  for make in MAKERS.values():
    make("svg")
  pyplot = sys.modules.get("matplotlib.pyplot")
  assert pyplot is None or pyplot.get_fignums() == []
  assert dict(matplotlib.rcParams) == before


def test_captions_names_and_values_are_shown():
  grid = figures.pictures({"clean": pictures(), "noise x1": pictures()}, ["3", "4"])
  assert {"clean", "3", "noise x1"} <= set(texts(grid))
  assert {"digit", "0.90", "0.20", "chance", "cuda"} <= set(texts(MAKERS["bars"]("svg")))
  assert {"r1", "c2", "0.40", "0.90"} <= set(texts(MAKERS["heat"]("svg")))
  assert {"x", "y", "z", "-1"} <= set(texts(MAKERS["scatter"]("svg")))
  assert {"a", "b", "accuracy", "step"} <= set(texts(MAKERS["curves"]("svg")))


def test_noise_is_magnified_by_a_whole_factor_around_grey():
  clean = np.full((1, 4, 4, 1), 100, np.uint8)
  protected = clean.copy()
  protected[0, 0, 0, 0], protected[0, 1, 1, 0] = 116, 84
  noise, factor = figures.magnified(clean, protected)
  assert factor == int(0.5 / (16 / 255))
  np.testing.assert_allclose(noise[0, 0, 0, 0], 0.5 + factor * 16 / 255, atol=1e-6)
  np.testing.assert_allclose(noise[0, 1, 1, 0], 0.5 - factor * 16 / 255, atol=1e-6)
  assert (np.delete(noise.ravel(), [0, 5]) == 0.5).all()
  assert figures.magnified(clean, clean)[0].std() == 0


def test_grey_pictures_and_fewer_columns_are_fine():
  svg = figures.pictures({"grey": pictures(2, 1), "colour": pictures(5)}, limit=4)
  assert len(list(ET.fromstring(svg).iter(f"{SVG}image"))) == 2 + 4


@pytest.mark.parametrize("call", [
  lambda: figures.pictures({}), lambda: figures.pictures({"a": np.zeros((2, 8, 8))}),
  lambda: figures.heat(np.zeros((2, 2)), ["r"], ["c"]), lambda: figures.scatter(np.zeros((3, 3)), [0, 1, 2]),
  lambda: figures.scatter(np.zeros((3, 2)), [0]), lambda: figures.curves({"a": [1.0]}, form="gif"),
])
def test_what_cannot_be_drawn_is_named(call):
  with pytest.raises(Invalid):
    call()
