import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.nouns import Data
from ue_jax.defend import gray


def test_channels_are_the_luma_of_pillow():
  from PIL import Image

  image = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3)).astype(np.uint8)
  ours = np.asarray(gray.transform(jnp.asarray(image)))
  peer = np.stack([np.asarray(Image.fromarray(x).convert("L")) for x in image])
  assert np.abs(ours.astype(int) - peer[..., None]).max() <= 1
  assert (ours == ours[..., :1]).all()


def test_grey_pictures_and_repeated_use_change_nothing():
  image = jnp.asarray(np.random.default_rng(1).random((2, 5, 5, 1)), jnp.float32)
  np.testing.assert_array_equal(gray.transform(image), image)
  once = gray.transform(jnp.repeat(image, 3, -1))
  np.testing.assert_allclose(once, jnp.repeat(image, 3, -1), atol=1e-6)


def test_it_applies_at_test_time_by_default():
  image = np.random.default_rng(2).integers(0, 256, (4, 6, 6, 3)).astype(np.uint8)
  data = Data({"image": image, "index": np.arange(4, dtype=np.int32)}, {"train": np.arange(2), "test": np.arange(2, 4)})
  for test in (True, False):
    defence = gray.defend(test=test) if not test else gray.defend()
    out = defence.finish(defence.init(jax.random.key(0), data), data).arrays["image"]
    assert (out[:2] == out[:2, ..., :1]).all()
    assert (out[2:] == out[2:, ..., :1]).all() == test
