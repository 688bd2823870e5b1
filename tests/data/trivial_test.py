"""Each operation beside Pillow's, and the draw."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from ue_jax.data import augment, trivial

SHAPE = (20, 24, 3)
PICTURE = (np.random.default_rng(0).beta(2, 3, SHAPE) * np.linspace(120, 255, 24)[:, None]).astype(np.uint8)
LEVEL = 0.4
AFFINE, NEAREST = Image.Transform.AFFINE, Image.Resampling.NEAREST
warp = lambda *numbers: lambda picture: picture.transform(picture.size, AFFINE, numbers, NEAREST)
enhance = lambda kind: lambda picture: kind(picture).enhance(1 + 0.99 * LEVEL)
PILLOW = {
  "identity": lambda picture: picture,
  "shear_x": warp(1, 0.99 * LEVEL, 0, 0, 1, 0), "shear_y": warp(1, 0, 0, 0.99 * LEVEL, 1, 0),
  "translate_x": warp(1, 0, int(24 * LEVEL), 0, 1, 0), "translate_y": warp(1, 0, 0, 0, 1, int(20 * LEVEL)),
  "rotate": lambda picture: picture.rotate(135 * LEVEL), "brightness": enhance(ImageEnhance.Brightness),
  "color": enhance(ImageEnhance.Color), "contrast": enhance(ImageEnhance.Contrast),
  "sharpness": enhance(ImageEnhance.Sharpness), "posterize": lambda picture: ImageOps.posterize(picture, 6),
  "solarize": lambda picture: ImageOps.solarize(picture, round(255 * (1 - LEVEL))),
  "autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize,
}  # fmt: skip


@pytest.fixture(scope="module")
def made():
  """Every operation on one picture, with both signs, as one program: float32 [2, operations, h, w, c]."""
  many = jax.vmap(trivial.operate, (0, None, None, None))
  run = jax.jit(lambda signs: jax.vmap(lambda s: many(np.arange(len(trivial.OPERATIONS)), PICTURE / np.float32(255),
                                                      np.float32(LEVEL), s))(signs))
  return np.asarray(run(np.array([1, -1], np.float32)))


@pytest.mark.parametrize("name", trivial.OPERATIONS)
def test_an_operation_does_what_that_of_pillow_does(name, made):
  ours = 255 * made[0, list(trivial.OPERATIONS).index(name)]
  theirs = np.asarray(PILLOW[name](Image.fromarray(PICTURE))).astype(float)
  same = np.abs(ours - theirs) <= (1.01 if name in ("equalize", "autocontrast") else 2)
  assert same.mean() > 0.99, f"{same.mean()} of the values"
  assert name == "identity" or (np.round(ours) != PICTURE).mean() > 0.05, "it does something"


def test_the_other_sign_goes_the_other_way_where_there_are_two(made):
  two = {"shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness"}
  assert {name for i, name in enumerate(trivial.OPERATIONS) if (made[0, i] != made[1, i]).any()} == two


def test_each_picture_draws_one_operation_and_equal_keys_draw_alike(key):
  images, targets = np.repeat(PICTURE[None, :8, :8] / np.float32(255), 64, 0), np.eye(64, dtype=np.float32)
  every, some = (jax.jit(augment.build([name])) for name in ("trivial", "trivial:0.5"))
  (first, kept), (again, _) = every(key, images, targets), every(key, images, targets)
  np.testing.assert_array_equal(first, again)
  np.testing.assert_array_equal(kept, targets)
  assert len(np.unique(np.asarray(first).reshape(64, -1), axis=0)) > 25 and first.min() >= 0 and first.max() <= 1
  half, whole = ((np.asarray(x) != images).any((1, 2, 3)).mean() for x in (some(key, images, targets)[0], first))
  assert 0.25 < half < whole - 0.15 and whole > 0.75
