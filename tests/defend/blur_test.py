import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data
from ue_jax.defend import blur


def test_it_is_the_gaussian_average_of_the_neighbours():
  x = np.random.default_rng(0).random((1, 9, 8, 1)).astype(np.float32)
  g = np.exp(-0.5 * ((np.arange(5) - 2) / 1.3) ** 2)
  kernel = np.outer(g, g) / g.sum() ** 2
  padded = np.pad(x[0, :, :, 0].astype(np.float64), 2, mode="edge")
  direct = np.array([[(padded[i : i + 5, j : j + 5] * kernel).sum() for j in range(8)] for i in range(9)])
  np.testing.assert_allclose(blur.transform(jnp.asarray(x), 1.3)[0, :, :, 0], direct, atol=1e-6)


def test_a_flat_picture_stays_and_a_checkerboard_fades():
  flat = jnp.full((1, 8, 8, 3), 77, jnp.uint8)
  np.testing.assert_array_equal(blur.transform(flat), flat)
  board = (np.indices((12, 12)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None]
  assert np.asarray(blur.transform(jnp.asarray(board), 0.8))[0, 3:-3, 3:-3].std() < 20 < board.std()


def test_sigma_may_be_traced():
  x = jnp.asarray(np.random.default_rng(1).random((1, 6, 6, 1)), jnp.float32)
  many = jax.vmap(lambda s: blur.transform(x, s))(jnp.array([0.8, 2.0]))
  np.testing.assert_allclose(many[1], blur.transform(x, 2.0), atol=1e-6)


def test_the_defence_blurs_train_and_refuses_what_does_nothing():
  image = np.random.default_rng(2).integers(0, 256, (4, 9, 9, 3)).astype(np.uint8)
  data = Data({"image": image, "index": np.arange(4, dtype=np.int32)}, {"train": np.arange(2), "test": np.arange(2, 4)})
  defence = blur.defend()
  out = defence.finish(defence.init(jax.random.key(0), data), data).arrays["image"]
  assert out[:2].std() < 0.6 * image[:2].std()
  np.testing.assert_array_equal(out[2:], image[2:])
  for bad in ({"sigma": 0.1}, {"size": 4}):
    with pytest.raises(Invalid, match=f"defend.{next(iter(bad))}"):
      blur.defend(**bad)
