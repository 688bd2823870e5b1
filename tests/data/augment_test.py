import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ue_jax.core.errors import Invalid
from ue_jax.data import augment

B, H, W, C, K = 6, 8, 10, 3, 4
IMAGES = jax.random.uniform(jax.random.key(1), (B, H, W, C), minval=0.1, maxval=0.9)
TARGETS = jax.nn.one_hot(jnp.arange(B) % K, K)
ALL = {"crop": augment.crop(2), "flip": augment.flip(), "mixup": augment.mixup(), "cutmix": augment.cutmix(),
       "cutout": augment.cutout(3), "build": augment.build(["crop:2", "flip", "mixup:0.4"]),
       "ueraser": augment.build(["ueraser"])}


@pytest.mark.parametrize("name", ALL)
def test_shapes_range_and_sums_of_targets_are_kept(name, key):
  images, targets = jax.jit(ALL[name])(key, IMAGES, TARGETS)
  assert images.shape == IMAGES.shape and images.dtype == jnp.float32
  assert targets.shape == TARGETS.shape and targets.dtype == jnp.float32
  assert float(images.min()) >= 0 and float(images.max()) <= 1
  np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_vmap_over_keys_is_the_loop(name):
  keys = jax.random.split(jax.random.key(3), 3)
  many = jax.jit(jax.vmap(ALL[name], (0, None, None)))(keys, IMAGES, TARGETS)
  each = [jax.jit(ALL[name])(k, IMAGES, TARGETS) for k in keys]
  np.testing.assert_allclose(many[0], np.stack([e[0] for e in each]), atol=1e-6)
  np.testing.assert_allclose(many[1], np.stack([e[1] for e in each]), atol=1e-6)
  assert not np.array_equal(each[0][0], each[1][0])


def test_crop_without_padding_is_the_identity(key):
  assert np.array_equal(jax.jit(augment.crop(0))(key, IMAGES, TARGETS)[0], IMAGES)


def test_each_crop_is_a_window_of_the_padded_picture(key):
  out = np.asarray(jax.jit(augment.crop(2))(key, IMAGES, TARGETS)[0])
  padded = np.pad(np.asarray(IMAGES), ((0, 0), (2, 2), (2, 2), (0, 0)))
  corners = []
  for i in range(B):
    found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[i, y : y + H, x : x + W], out[i])]
    assert len(found) == 1
    corners += found
  assert len(set(corners)) > 1


def test_flip_of_all_twice_is_the_identity_and_of_none_too(key):
  always = augment.flip(1.0)
  once = always(key, IMAGES, TARGETS)[0]
  assert np.array_equal(once, IMAGES[:, :, ::-1])
  assert np.array_equal(always(key, once, TARGETS)[0], IMAGES)
  assert np.array_equal(jax.jit(augment.flip(0.0))(key, IMAGES, TARGETS)[0], IMAGES)


def test_flip_mirrors_about_half_of_the_pictures(key):
  many = jnp.tile(IMAGES[:1], (1000, 1, 1, 1))
  flipped = (np.asarray(jax.jit(augment.flip())(key, many, jnp.zeros((1000, 1)))[0]) != np.asarray(many)).any((1, 2, 3))
  assert 420 < flipped.sum() < 580


def test_mixup_blends_pictures_and_targets_with_one_weight_and_partner(key):
  images = jnp.broadcast_to(TARGETS @ jnp.arange(1, K + 1.0)[:, None], (B, H * W)).reshape(B, H, W, 1) / K
  out, targets = jax.jit(augment.mixup(1.0))(key, images, TARGETS)
  np.testing.assert_allclose(out[:, 0, 0, 0], targets @ jnp.arange(1, K + 1.0) / K, atol=1e-6)
  assert not np.allclose(targets, TARGETS)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_mixup_weights_are_beta_distributed(alpha):
  weigh = lambda key: augment.mixup(alpha)(key, jnp.zeros((2, 1, 1, 1)), jnp.eye(2))[1][0, 0]
  weights = np.asarray(jax.jit(jax.vmap(weigh))(jax.random.split(jax.random.key(0), 4000)), np.float64)
  mixed = np.abs(weights - 0.5)[weights < 1]  # the partner of half of the keys is the picture itself
  law = scipy.stats.beta(alpha, alpha)
  for at in (0.1, 0.25, 0.4, 0.49):
    assert abs((mixed < at).mean() - (law.cdf(0.5 + at) - law.cdf(0.5 - at))) < 0.04


def test_cutmix_targets_are_the_share_of_pixels_that_were_kept():
  images = jnp.broadcast_to(jnp.arange(B, dtype=jnp.float32)[:, None, None, None] / B, (B, H, W, C))
  targets, changed = jnp.eye(B), 0
  step = jax.jit(augment.cutmix(1.0))
  for seed in range(8):
    out, mixed = step(jax.random.key(seed), images, targets)
    for i in range(B):
      shares = [(np.asarray(out[i, :, :, 0]) == np.float32(images[j, 0, 0, 0])).mean() for j in range(B)]
      np.testing.assert_allclose(mixed[i], shares, atol=1e-6)
    changed += not np.array_equal(mixed, targets)
  assert changed >= 4


def test_cutmix_pastes_a_rectangle(key):
  out, _ = jax.jit(augment.cutmix(1.0))(jax.random.key(2), IMAGES, TARGETS)
  differs = np.asarray((out != IMAGES).any(-1))
  inside = differs.any(0)
  rows, columns = inside.any(1), inside.any(0)
  assert inside.any() and np.array_equal(inside, rows[:, None] & columns[None])


def test_cutout_blackens_exactly_the_square_and_nothing_else():
  before = np.tile(np.asarray(IMAGES), (20, 1, 1, 1))
  out = np.asarray(jax.jit(augment.cutout(3))(jax.random.key(0), jnp.asarray(before), jnp.zeros((120, 1)))[0])
  black = (out == 0).all(-1)
  assert np.array_equal(out[~black], before[~black])
  areas = black.sum((1, 2))
  assert areas.max() == 9 and areas.min() >= 4
  for one in black:
    assert np.array_equal(one, one.any(1)[:, None] & one.any(0)[None])


def test_cutout_of_nothing_is_the_identity(key):
  assert np.array_equal(jax.jit(augment.cutout(0))(key, IMAGES, TARGETS)[0], IMAGES)


@pytest.mark.parametrize("factory", [augment.mixup, augment.cutmix, augment.flip])
def test_numbers_may_be_traced(factory, key):
  traced = jax.jit(lambda value: factory(value)(key, IMAGES, TARGETS))(jnp.float32(0.7))
  np.testing.assert_allclose(traced[0], factory(0.7)(key, IMAGES, TARGETS)[0], atol=1e-6)


def test_build_applies_in_order_and_nothing_for_an_empty_list(key):
  assert np.array_equal(augment.build([])(key, IMAGES, TARGETS)[0], IMAGES)
  both = augment.build([augment.flip(1.0), "crop:0"])(key, IMAGES, TARGETS)[0]
  assert np.array_equal(both, IMAGES[:, :, ::-1])


@pytest.mark.parametrize("name", ["ueraser", "plasma_brightness", "plasma_contrast", "channel_shuffle"])
def test_the_parts_of_ueraser_have_names_and_take_a_share(name, key):
  assert np.array_equal(jax.jit(augment.build([f"{name}:0"]))(key, IMAGES, TARGETS)[0], IMAGES)
  changed = jax.jit(augment.build([f"{name}:1"]))(key, IMAGES, TARGETS)[0]
  assert not np.array_equal(changed, IMAGES)


@pytest.mark.parametrize("make", [
  lambda: augment.build(["blur"]), lambda: augment.build(["crop:x"]), lambda: augment.crop(-1),
  lambda: augment.crop(1.5), lambda: augment.flip(1.5), lambda: augment.mixup(0.0), lambda: augment.cutmix(-1),
  lambda: augment.cutout(-1), lambda: augment.mixup(float("nan")), lambda: augment.build(["ueraser:1.5"]),
])
def test_wrong_arguments_are_refused(make):
  with pytest.raises(Invalid):
    make()
