import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.protect import publish
from ue_jax.train import pgd


def pictures(n=20):
  image = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 1)).astype(np.uint8)
  sets = {"train": np.arange(0, n - 6, dtype=np.int32), "test": np.arange(n - 6, n, dtype=np.int32)}
  return Data({"image": image, "index": np.arange(n, dtype=np.int32), "extra": np.arange(n) * 2.0}, sets)


def test_blocks_of_any_size_give_the_same_and_see_the_right_rows():
  data = pictures()
  paint = lambda image, rows: np.broadcast_to((rows[:, None, None, None] * 3).astype(np.uint8), image.shape)
  for chunk in (1, 5, 6, 100):
    out = publish.publish(data, paint, quantise="none", chunk=chunk)
    np.testing.assert_array_equal(out.arrays["image"][:14, 0, 0, 0], np.arange(14) * 3)
    np.testing.assert_array_equal(out.arrays["image"][14:20], data.arrays["image"][14:])
    np.testing.assert_array_equal(out.arrays["image"][out.sets["test_protected"], 0, 0, 0], np.arange(14, 20) * 3)
    np.testing.assert_array_equal(out.arrays["extra"][out.sets["test_protected"]], np.arange(14, 20) * 2.0)


def test_the_clean_data_is_not_touched():
  data = pictures()
  before = data.arrays["image"].copy()
  publish.publish(data, lambda image, rows: 255 - image, quantise="none")
  publish.rewrite(data, lambda x: 1 - x, test=True)
  np.testing.assert_array_equal(data.arrays["image"], before)


def test_floats_are_rounded_or_truncated_and_never_taken_as_bytes():
  data = pictures()
  half = lambda image, rows: np.full(image.shape, 100.6 / 255, np.float32)
  assert publish.publish(data, half).arrays["image"][0, 0, 0, 0] == 101
  assert publish.publish(data, half, quantise="floor").arrays["image"][0, 0, 0, 0] == 100
  with pytest.raises(Invalid, match="protect.quantise"):
    publish.publish(data, half, quantise="none")
  with pytest.raises(Invalid, match="protect.quantise"):
    publish.publish(data, half, quantise="up")


def test_rewrite_reaches_the_test_rows_only_when_asked():
  data = pictures()
  for test in (False, True):
    out = publish.rewrite(data, lambda x: 1 - x, test=test, chunk=7).arrays["image"]
    np.testing.assert_array_equal(out[:14], 255 - data.arrays["image"][:14])
    np.testing.assert_array_equal(out[14:], 255 - data.arrays["image"][14:] if test else data.arrays["image"][14:])


@pytest.mark.parametrize("quantise", ["round", "floor"])
def test_whole_levels_never_leave_the_budget(quantise):
  delta = np.random.default_rng(1).uniform(-10.7 / 255, 10.7 / 255, (3, 9, 9, 3))
  whole = publish.levels(delta, 10.7 / 255, quantise=quantise)
  assert np.abs(whole).max() == 10
  inside = np.abs(delta * 255) < 9
  expected = np.round(delta * 255) if quantise == "round" else np.floor(delta * 255)
  np.testing.assert_array_equal(whole[inside], expected[inside])
  assert publish.most_levels(16 / 255) == 16 and publish.most_levels(np.float32(16 / 255)) == 16


def test_adding_levels_to_bytes_is_adding_floats_and_rounding():
  rng = np.random.default_rng(2)
  image = rng.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
  delta = rng.uniform(-0.06, 0.06, (6, 6, 3))
  floats = np.round(np.clip(image / 255 + delta, 0, 1) * 255).astype(np.uint8)
  np.testing.assert_array_equal(publish.add(image, publish.levels(delta, 0.1)), floats)


def test_patterns_go_to_the_rows_that_ask_for_them_and_the_last_place_is_none():
  image = np.full((5, 2, 2, 1), 250, np.uint8)
  data = Data({"image": image, "index": np.arange(5)}, {"train": np.array([0, 2, 3]), "test": np.array([1, 4])}, {})
  whole = np.stack([np.full((2, 2, 1), level, np.int16) for level in (-3, 9)])
  made = publish.add_patterns(data, (whole + 0.25) / 255, whole, np.array([0, 1, 2, 1, 0]))
  crafted = made.info["crafted"]  # of the rows of train: -2.75, none, 9.25, the last cut at 255
  np.testing.assert_allclose(np.multiply(crafted["linf"], 255), [2.75, 6.0, 9.25], rtol=1e-4)
  assert crafted["pictures"] == 3 and crafted["distinct"] == 3 and crafted["clipped"] == [0.0, 0.5, 1.0]
  assert made.arrays["image"][:, 0, 0, 0].tolist() == [247, 250, 250, 255, 250, 255, 247]


def test_stretching_repeats_pixels():
  delta = np.arange(12).reshape(2, 3, 2)
  np.testing.assert_array_equal(publish.stretch(delta, 4, 9), np.repeat(np.repeat(delta, 2, 0), 3, 1))
  np.testing.assert_array_equal(publish.stretch(delta, 2, 3), delta)
  assert publish.stretch(delta[None], 1, 1).shape == (1, 1, 1, 2)


def test_projection_is_the_nearest_point_of_the_ball():
  delta = jnp.asarray(np.random.default_rng(3).normal(size=(4, 5, 5, 3)), jnp.float32)
  np.testing.assert_array_equal(pgd.project(delta, 0.1), np.clip(delta, -0.1, 0.1))
  inside = pgd.project(delta, 2.0, "l2")
  np.testing.assert_allclose(np.sqrt((np.asarray(inside) ** 2).sum((1, 2, 3))), 2.0, rtol=1e-5)
  np.testing.assert_array_equal(pgd.project(delta * 1e-3, 2.0, "l2"), delta * 1e-3)
  assert float(jnp.abs(pgd.project(jnp.zeros_like(delta), 1.0, "l2")).max()) == 0
