import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.defend import warp

RNG = np.random.default_rng(0)
X = RNG.random((7, 9, 3)).astype(np.float32)


def constant(down, right):
  return jnp.broadcast_to(jnp.asarray([down, right], jnp.float32), (7, 9, 2))


def test_no_offset_is_the_identity():
  np.testing.assert_array_equal(warp.warp(jnp.asarray(X), constant(0, 0)), X)


@pytest.mark.parametrize("down, right", [(1, 0), (0, -2), (3, 4), (20, -20)])
def test_whole_offsets_move_pixels_exactly(down, right):
  rows, columns = np.clip(np.arange(7) + down, 0, 6), np.clip(np.arange(9) + right, 0, 8)
  np.testing.assert_array_equal(warp.warp(jnp.asarray(X), constant(down, right)), X[rows][:, columns])


def test_offsets_between_pixels_interpolate_as_scipy_does():
  offsets = RNG.uniform(-2, 2, (7, 9, 2))
  found = warp.warp(jnp.asarray(X), jnp.asarray(offsets, jnp.float32))
  at = np.moveaxis(offsets, -1, 0) + np.indices((7, 9))
  for c in range(3):
    wanted = scipy.ndimage.map_coordinates(X[..., c].astype(np.float64), at, order=1, mode="nearest")
    np.testing.assert_allclose(found[..., c], wanted, atol=1e-5)


def run(defence, data, seed=0):
  return defence.finish(defence.init(jax.random.key(seed), data), data).arrays["image"]


def test_the_defence_moves_every_pixel_of_train_by_at_most_alpha():
  ramp = np.broadcast_to(np.arange(0, 240, 10, dtype=np.uint8)[None, None, :, None], (6, 24, 24, 1)).copy()
  rows = np.arange(6, dtype=np.int32)
  data = Data({"image": ramp, "index": rows}, {"train": rows[:4], "test": rows[4:]})
  found = run(warp.defend(alpha=2.0), data)
  moved = (found[:4].astype(float) - ramp[:4]) / 10
  assert 1.9 < np.abs(moved).max() <= 2.05
  inner = moved[:, :, 2:-2]
  assert abs(inner.mean()) < 0.1 and abs(inner.std() - 2 / np.sqrt(3)) < 0.1
  np.testing.assert_array_equal(found[4:], ramp[4:])
  np.testing.assert_array_equal(found, run(warp.defend(alpha=2.0), data))
  assert not np.array_equal(found, run(warp.defend(alpha=2.0), data, seed=1))
  np.testing.assert_array_equal(run(warp.defend(alpha=0, test=True), data), ramp)


@pytest.mark.parametrize("alpha", [-1, float("inf"), float("nan")])
def test_an_alpha_out_of_range_is_named(alpha):
  with pytest.raises(Invalid, match="defend.alpha"):
    warp.defend(alpha=alpha)
