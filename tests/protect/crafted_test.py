"""The noise before it is rounded: what bytes cannot hold is seen there, and what they can hold is the same."""

import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.nouns import Data
from ue_jax.protect import budget, crafted, publish


def pictures(n=12, side=8, low=60, high=190):
  image = np.random.default_rng(0).integers(low, high, (n, side, side, 3)).astype(np.uint8)
  index = np.arange(n, dtype=np.int32)
  return Data({"image": image, "index": index}, {"train": index[: n - 2], "test": index[n - 2 :]}, {"source": "x"})


def test_noise_below_half_a_level_is_there_as_crafted_and_gone_in_bytes():
  data = pictures()
  signs = np.random.default_rng(1).choice([-1, 1], data.arrays["image"].shape)
  delta = (0.4 / 255 * signs).astype(np.float32)
  out = publish.add_patterns(data, delta, publish.levels(delta, 8 / 255), np.arange(12))
  found, clean, after = out.info["crafted"], data.arrays["image"][:10], out.arrays["image"][:10]
  np.testing.assert_allclose(np.multiply(found["linf"], 255), 0.4, rtol=1e-3)
  np.testing.assert_allclose(found["l2"], 0.4 / 255 * np.sqrt(8 * 8 * 3), rtol=1e-3)
  np.testing.assert_allclose(found["psnr"], -20 * np.log10(0.4 / 255), rtol=1e-3)
  assert found["pictures"] == found["distinct"] == 10 and found["changed"] == 1 and found["clipped"] == [0, 0, 0]
  assert (found["height"], found["width"]) == (8, 8) and 0.99 < found["ssim"][0] < 1
  audited = budget.audit(clean, after)
  assert audited["linf"].max() == 0 and audited["distinct"] == 1
  assert out.info["source"] == "x" and "crafted" not in data.info


def test_what_bytes_can_hold_measures_the_same_before_and_after():
  data = pictures(low=0, high=256)
  whole = np.random.default_rng(2).integers(-16, 17, (3, 8, 8, 3)).astype(np.int16)
  image = data.arrays["image"][:10]
  out = publish.add_patterns(data, np.float32(whole / 255), whole, np.arange(12) % 3)
  moved = pictures(low=20, high=230)
  inside = publish.add_patterns(moved, np.float32(whole / 255), whole, np.arange(12) % 3).info["crafted"]
  after = publish.add(moved.arrays["image"][:10], whole[np.arange(10) % 3])
  for name, values in budget.audit(moved.arrays["image"][:10], after).items():
    expected = values if name == "distinct" else [values.min(), values.mean(), values.max()]
    np.testing.assert_allclose(inside[name], expected, rtol=1e-4, atol=1e-6)
  found, before = out.info["crafted"], image.astype(int) + whole[np.arange(10) % 3]
  beyond = ((before <= 0) | (before >= 255)) & (before != image)
  np.testing.assert_allclose(found["clipped"][1], beyond.mean(), atol=1e-3)
  assert found["distinct"] == budget.audit(image, out.arrays["image"][:10])["distinct"] == 3
  np.testing.assert_allclose(found["linf"][2] * 255, 16, rtol=1e-4)  # what is cut counts as it was crafted


def test_blocks_do_not_change_what_is_measured(monkeypatch):
  data = pictures(40)
  paint = lambda image, rows: image / np.float32(255) + np.float32(0.01) * np.sin(rows)[:, None, None, None]
  ours = publish.publish(data, lambda x, rows: np.clip(paint(x, rows), 0, 1)).info["crafted"]
  monkeypatch.setattr(crafted, "BLOCK", 3)
  other = publish.publish(data, lambda x, rows: np.clip(paint(x, rows), 0, 1), chunk=7).info["crafted"]
  assert ours.keys() == other.keys()
  for name in ours:
    np.testing.assert_allclose(ours[name], other[name], rtol=1e-6)


def test_unchanged_pictures_count_in_the_share_alone():
  data, delta = pictures(), np.zeros((12, 8, 8, 3), np.float32)
  delta[:5] = 2 / 255
  place = np.arange(12)
  found = publish.add_patterns(data, delta, publish.levels(delta, 1.0), place).info["crafted"]
  assert found["changed"] == 0.5 and found["distinct"] == 2
  np.testing.assert_allclose(np.multiply(found["linf"], 255), 2, rtol=1e-3)
  none = publish.add_patterns(data, 0 * delta, publish.levels(0 * delta, 1.0), place).info["crafted"]
  assert none["changed"] == 0 and none["linf"] is None and none["psnr"] is None and none["distinct"] == 1


def test_a_paint_that_knows_bytes_only_has_no_such_figures_and_old_ones_are_not_kept():
  data = pictures()
  noisy = publish.publish(data, lambda image, rows: jnp.asarray(image) / 255)
  assert "crafted" in noisy.info
  assert "crafted" not in publish.publish(noisy, lambda image, rows: image, quantise="none").info


@pytest.mark.parametrize("side", [7, 120])
def test_perturbations_of_large_pictures_are_counted_at_some_of_their_values(side):
  data = pictures(5, side)
  patterns = np.random.default_rng(3).uniform(-0.1, 0.1, (2, side, side, 3)).astype(np.float32)
  seen = crafted.look(data.arrays["image"], data.arrays["image"] / np.float32(255) + patterns[[0, 1, 0, 1, 1]])
  assert seen.clean.shape == (5, min(side * side * 3, crafted.KEPT))
  assert crafted.summary([seen], (side, side))["distinct"] == 2
