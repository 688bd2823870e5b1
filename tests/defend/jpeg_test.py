import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.defend import jpeg


def smooth(h, w, seed=0, channels=3):
  """A random field with most of its power in low frequencies, as photographs have, over the whole range."""
  rng = np.random.default_rng(seed)
  fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None]
  power = 1 / np.maximum(np.hypot(fy, fx), 1 / max(h, w))
  shared = rng.normal(size=(h, w, 1))
  noise = np.fft.fft2(0.7 * shared + 0.5 * rng.normal(size=(h, w, channels)), axes=(0, 1))
  field = np.fft.ifft2(noise * power[..., None], axes=(0, 1)).real
  field = (field - field.min()) / (field.max() - field.min())
  return np.round(field * 255).astype(np.uint8)


def gradient(h, w):
  y, x = np.mgrid[:h, :w]
  return np.stack([x * 255 // w, y * 255 // h, 255 - x * 255 // w], -1).astype(np.uint8)


def pillow(picture, quality, subsample):
  from PIL import Image

  stream = io.BytesIO()
  Image.fromarray(picture if picture.shape[-1] == 3 else picture[..., 0]).save(
    stream, "JPEG", quality=quality, subsampling=2 if subsample else 0
  )
  return np.asarray(Image.open(stream)).reshape(picture.shape)


@pytest.mark.parametrize("subsample", [False, True])
@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize("picture", [smooth(64, 64), smooth(40, 56, 1), gradient(32, 48)], ids=["64", "40x56", "ramp"])
def test_pictures_come_out_as_from_pillow(picture, quality, subsample):
  ours = np.asarray(jpeg.transform(jnp.asarray(picture[None]), quality, subsample))[0]
  peer = pillow(picture, quality, subsample)
  assert ours.dtype == np.uint8 and ours.shape == picture.shape
  error, loss = np.abs(ours.astype(int) - peer).mean(), np.abs(picture.astype(int) - peer).mean()
  assert error <= 2 and error <= max(0.6, 0.25 * loss), (error, loss)  # what is left: ties of the fixed-point encoder


@pytest.mark.parametrize("shape", [(13, 21, 3), (8, 8, 1), (30, 17, 1), (5, 5, 3)])
def test_any_size_and_grey_pictures_work(shape):
  picture = smooth(*shape[:2], 2, shape[2])
  for quality in (30, 95):
    ours = np.asarray(jpeg.transform(jnp.asarray(picture[None]), quality, False))[0]
    assert np.abs(ours.astype(int) - pillow(picture, quality, False)).mean() <= 2


def test_tables_are_those_of_the_library():
  from PIL import Image

  for quality in (5, 10, 49, 50, 75, 100):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "JPEG", quality=quality)
    peer = Image.open(stream).quantization
    np.testing.assert_array_equal(sorted(np.asarray(jpeg.tables(quality, jpeg.LUMA)).ravel()), sorted(peer[0]))
    np.testing.assert_array_equal(sorted(np.asarray(jpeg.tables(quality, jpeg.CHROMA)).ravel()), sorted(peer[1]))


def test_the_transform_matrix_is_orthonormal():
  np.testing.assert_allclose(jpeg.dct_matrix() @ jpeg.dct_matrix().T, np.eye(8), atol=1e-6)


def test_quality_may_be_traced_and_swept():
  x = jnp.asarray(smooth(16, 16)[None] / np.float32(255))
  many = jax.vmap(lambda q: jpeg.transform(x, q))(jnp.array([10.0, 90.0]))
  for out, quality in zip(many, (10, 90)):
    np.testing.assert_allclose(out, jpeg.transform(x, quality), atol=1.01 / 255)
  error = jnp.abs(many - x).mean((1, 2, 3, 4))
  assert float(error[0]) > 2 * float(error[1])


def test_a_flat_picture_stays_flat():
  x = jnp.full((1, 20, 20, 3), 128, jnp.uint8)
  np.testing.assert_array_equal(jpeg.transform(x, 10), x)


def test_the_defence_compresses_train_only_unless_asked():
  image = np.stack([smooth(16, 16, s) for s in range(6)])
  data = Data({"image": image, "index": np.arange(6, dtype=np.int32)}, {"train": np.arange(4), "test": np.arange(4, 6)})
  for test in (False, True):
    out = jpeg.defend(quality=20, test=test)
    made = out.finish(out.init(jax.random.key(0), data), data).arrays["image"]
    direct = np.asarray(jpeg.transform(jnp.asarray(image), 20))
    assert np.abs(made[:4].astype(int) - direct[:4]).max() <= 1
    assert (made[4:] == image[4:]).all() != test


def test_a_quality_out_of_range_is_named():
  with pytest.raises(Invalid, match="defend.quality"):
    jpeg.defend(quality=0)
