import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.defend import sharpen

RNG = np.random.default_rng(0)
X = RNG.random((6, 9, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def kernels():
  """Five hundred draws."""
  draw = jax.jit(jax.vmap(lambda key: sharpen.kernel(key, 2.5, 0.25)))
  return np.asarray(draw(jax.random.split(jax.random.key(0), 500)))


def test_the_dct_is_orthogonal_and_that_of_scipy():
  for n in (1, 5, 8, 32):
    np.testing.assert_allclose(sharpen.dct(n) @ sharpen.dct(n).T, np.eye(n), atol=1e-6)
    np.testing.assert_allclose(sharpen.dct(n), scipy.fft.dct(np.eye(n), axis=0, norm="ortho"), atol=1e-6)


def test_all_coefficients_give_the_picture_and_one_its_mean():
  np.testing.assert_allclose(sharpen.low_pass(jnp.asarray(X), 1.0), X, atol=1e-6)
  flat = sharpen.low_pass(jnp.asarray(X), 1 / 54)
  np.testing.assert_allclose(flat, np.broadcast_to(X.mean((0, 1)), X.shape), atol=1e-6)


def test_the_lowest_coefficients_are_kept_and_no_other():
  found = sharpen.low_pass(jnp.asarray(X), 0.3)
  before, after = (scipy.fft.dctn(np.asarray(x), axes=(0, 1), norm="ortho") for x in (X, found))
  kept = sharpen.order(6, 9) < 0.3 * 54
  assert kept.sum() == 17  # ceil(16.2)
  np.testing.assert_allclose(after[kept], before[kept], atol=1e-5)
  np.testing.assert_allclose(after[~kept], 0, atol=1e-5)
  radius = np.hypot(np.arange(6)[:, None] / 6, np.arange(9) / 9)
  assert radius[kept].max() <= radius[~kept].min()


def test_kernels_sharpen_keep_brightness_and_differ(kernels):
  np.testing.assert_allclose(kernels.sum((1, 2)), 1, atol=1e-5)
  around = kernels.reshape(500, 9)[:, [0, 1, 2, 3, 5, 6, 7, 8]]
  assert around.max() <= 0 and around.std(0).min() > 0.05
  middles = kernels[:, 1, 1]
  assert 2 <= middles.min() < 2.3 < 2.7 < middles.max() <= 3
  assert abs(middles.mean() - 2.5) < 0.05


def test_sharpening_is_correlation_with_repeated_edges_cut_to_the_range(kernels):
  weights = kernels[0]
  found = sharpen.sharpen(jnp.asarray(X), jnp.asarray(weights))
  padded = np.pad(X, ((1, 1), (1, 1), (0, 0)), mode="edge")
  direct = np.array([[np.einsum("ij,ijc", weights, padded[i : i + 3, j : j + 3]) for j in range(9)] for i in range(6)])
  np.testing.assert_allclose(found, direct.clip(0, 1), atol=1e-5)
  assert (direct < 0).any() and (direct > 1).any()


def data(n=12):
  image = RNG.integers(60, 190, (n, 8, 8, 3)).astype(np.uint8)
  rows = np.arange(n, dtype=np.int32)
  return Data({"image": image, "index": rows}, {"train": rows[: n // 2], "test": rows[n // 2 :]})


def run(defence, given, seed=0):
  return defence.finish(defence.init(jax.random.key(seed), given), given).arrays["image"]


def test_without_sharpening_and_with_all_coefficients_the_bytes_stay():
  given = data()
  np.testing.assert_array_equal(run(sharpen.defend(centre=1, spread=0, keep=1.0), given), given.arrays["image"])


def test_train_is_changed_by_the_key_and_the_other_rows_stay():
  given = data()
  first, again, other = (run(sharpen.defend(), given, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  np.testing.assert_array_equal(first[6:], given.arrays["image"][6:])
  assert (first[:6] != given.arrays["image"][:6]).mean() > 0.5 and not np.array_equal(first, other)


def test_sharpening_brings_back_what_a_blur_took_from_low_frequencies():
  smooth = sharpen.low_pass(jnp.asarray(RNG.random((16, 16, 1)), jnp.float32), 0.3)
  blurred = sharpen.sharpen(smooth, jnp.full((3, 3), 1 / 9))
  weights = jnp.full((3, 3), -0.19).at[1, 1].set(2.52)
  sharpened = sharpen.low_pass(sharpen.sharpen(blurred, weights), 0.3)
  inner = lambda x: np.asarray(x)[3:-3, 3:-3]
  assert np.abs(inner(sharpened - smooth)).mean() < 0.6 * np.abs(inner(blurred - smooth)).mean()


@pytest.mark.parametrize("bad", [{"keep": 0.0}, {"keep": 1.5}, {"centre": 0.5}, {"spread": -1.0}])
def test_values_out_of_range_are_named(bad):
  with pytest.raises(Invalid, match=f"defend.{next(iter(bad))}"):
    sharpen.defend(**bad)
