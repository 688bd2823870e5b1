import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.data import ueraser

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(0.1, 0.9, (6, 8, 7, 3)), jnp.float32)
NONE = jnp.zeros((6, 1))


def slow_refine(grid, noise):
  """Diamonds and squares of one grid, point by point."""
  side = 2 * len(grid) - 1
  out = np.zeros((side, side))
  out[::2, ::2] = grid
  for i in range(1, side, 2):
    for j in range(1, side, 2):
      out[i, j] = np.mean([out[i + a, j + b] for a in (-1, 1) for b in (-1, 1)]) + noise[i, j]
  for i in range(side):
    for j in range((i + 1) % 2, side, 2):
      near = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
      out[i, j] = np.mean([out[a, b] for a, b in near if 0 <= a < side and 0 <= b < side]) + noise[i, j]
  return out


def test_a_step_is_diamonds_and_squares_point_by_point():
  grid, noise = RNG.normal(size=(2, 3, 3)), RNG.normal(size=(2, 5, 5))
  found = jax.jit(ueraser.refine)(jnp.asarray(grid, jnp.float32), jnp.asarray(noise, jnp.float32))
  np.testing.assert_allclose(found, [slow_refine(g, n) for g, n in zip(grid, noise)], atol=1e-5)


def test_plasma_spans_zero_to_one_and_is_smoother_the_lower_its_roughness(key):
  roughness = jnp.asarray([0.0] * 20 + [0.3] * 20 + [0.9] * 20, jnp.float32)
  found = np.asarray(jax.jit(lambda r: ueraser.plasma(key, r, 17, 12))(roughness))
  assert found.shape == (60, 17, 12)
  np.testing.assert_allclose(found.min((1, 2)), 0, atol=1e-6)
  np.testing.assert_allclose(found.max((1, 2)), 1, atol=1e-5)
  steps = np.abs(np.diff(found, axis=1)).mean((1, 2)).reshape(3, 20).mean(1)
  assert steps[0] < 0.7 * steps[1] < 0.5 * steps[2]
  assert len(np.unique(found[:, 3, 4])) == 60, "each picture has its own"


def test_brightness_adds_one_map_to_all_channels_within_the_strength(key):
  mid = jnp.full_like(IMAGES, 0.5)
  added = np.asarray(jax.jit(ueraser.plasma_brightness(1.0, intensity=(0.4, 0.4)))(key, mid, NONE)[0] - mid)
  np.testing.assert_allclose(added, np.broadcast_to(added[..., :1], added.shape), atol=1e-6)
  np.testing.assert_allclose(added.min((1, 2, 3)), -0.4, atol=1e-5)
  np.testing.assert_allclose(added.max((1, 2, 3)), 0.4, atol=1e-5)


def test_contrast_keeps_mid_grey_and_stretches_all_distances_to_it_alike(key):
  near = 0.5 + (IMAGES - 0.5) / 8
  found = np.asarray(jax.jit(ueraser.plasma_contrast(1.0))(key, near, NONE)[0])
  factor = (found - 0.5) / np.asarray(near - 0.5)
  sure = (np.abs(np.asarray(near) - 0.5) > 0.005).all(-1)
  assert (np.ptp(factor, axis=-1)[sure] < 0.01).all()
  assert factor[sure].min() >= -0.01 and 3 < factor[sure].max() <= 4.01


def test_shuffled_channels_are_the_same_channels_in_every_order_alike(key):
  many = jnp.tile(jnp.asarray([0.1, 0.5, 0.9], jnp.float32), (1200, 1, 1, 1))
  found = np.asarray(jax.jit(ueraser.channel_shuffle(1.0))(key, many, NONE)[0])[:, 0, 0]
  np.testing.assert_array_equal(np.sort(found), np.asarray(many)[:, 0, 0])
  _, counts = np.unique(found, axis=0, return_counts=True)
  assert len(counts) == 6 and counts.min() > 150


def test_a_share_of_the_pictures_is_changed_and_the_others_keep_their_bits(key):
  many = jnp.tile(IMAGES, (50, 1, 1, 1))
  changed = np.asarray((jax.jit(ueraser.plasma_brightness(0.5))(key, many, NONE)[0] != many).any((1, 2, 3)))
  assert 115 < changed.sum() < 185


def test_grey_pictures_and_traced_numbers_pass(key):
  grey = IMAGES[..., :1]
  traced = jax.jit(lambda share, high: ueraser.plasma_brightness(share, intensity=(0.5, high))(key, grey, NONE)[0])
  plain = jax.jit(ueraser.plasma_brightness(1.0))(key, grey, NONE)[0]
  np.testing.assert_allclose(traced(jnp.float32(1), jnp.float32(1)), plain, atol=1e-6)
  np.testing.assert_array_equal(jax.jit(ueraser.channel_shuffle(1.0))(key, grey, NONE)[0], grey)


@pytest.mark.parametrize("share, last", [(0.4, 0.8), (0.8, 1.0)])
def test_the_last_operation_has_twice_the_share_and_at_most_all(monkeypatch, share, last):
  given = []
  monkeypatch.setattr(ueraser.trivial, "trivial", lambda share: given.append(float(share)))
  ueraser.ueraser(share)
  np.testing.assert_allclose(given, [last], rtol=1e-6)
