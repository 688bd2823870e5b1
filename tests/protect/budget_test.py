import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.protect import budget


def test_distances_equal_their_definitions():
  rng = np.random.default_rng(0)
  a = rng.integers(0, 256, (7, 12, 12, 3)).astype(np.uint8)
  b = np.clip(a.astype(int) + rng.integers(-9, 10, a.shape), 0, 255).astype(np.uint8)
  found = budget.audit(a, b, chunk=3)
  delta = (b.astype(float) - a) / 255
  np.testing.assert_allclose(found["linf"], np.abs(delta).max((1, 2, 3)), rtol=1e-5)
  np.testing.assert_allclose(found["l2"], np.sqrt((delta**2).sum((1, 2, 3))), rtol=1e-5)
  np.testing.assert_allclose(found["psnr"], -10 * np.log10((delta**2).mean((1, 2, 3))), rtol=1e-5)
  ends = ((b == 0) | (b == 255)) & (a != b)
  np.testing.assert_allclose(found["clipped"], ends.mean((1, 2, 3)), atol=1e-6)


def test_equal_pictures_are_perfect():
  a = np.random.default_rng(1).integers(0, 256, (2, 9, 9, 1)).astype(np.uint8)
  found = budget.audit(a, a)
  assert (found["linf"] == 0).all() and np.isinf(found["psnr"]).all() and found["distinct"] == 1
  np.testing.assert_allclose(found["ssim"], 1, atol=1e-6)


@pytest.mark.parametrize("size", [8, 11, 20])
def test_structural_similarity_equals_the_definition(size):
  rng = np.random.default_rng(2)
  a, b = rng.random((size, size)), rng.random((size, size))
  n = min(11, size - 1 + size % 2)
  g = np.exp(-((np.arange(n) - n // 2) ** 2) / 4.5)
  w = np.outer(g, g) / g.sum() ** 2
  values = []
  for i in range(size - n + 1):
    for j in range(size - n + 1):
      x, y = a[i : i + n, j : j + n], b[i : i + n, j : j + n]
      mx, my = (w * x).sum(), (w * y).sum()
      vx, vy, c = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
      values.append((2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
  ours = budget.ssim(jnp.asarray(a[None, :, :, None], jnp.float32), jnp.asarray(b[None, :, :, None], jnp.float32))
  np.testing.assert_allclose(ours, np.mean(values), atol=1e-4)


def test_patterns_are_counted_through_clipping():
  rng = np.random.default_rng(3)
  a = rng.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
  patterns = rng.choice([-30, 30], (4, 6, 6, 3))
  b = np.clip(a + patterns[np.arange(40) % 4], 0, 255).astype(np.uint8)
  assert budget.audit(a, b)["distinct"] == 4
  assert len(np.unique((b.astype(int) - a).reshape(40, -1), axis=0)) == 40


def test_shapes_that_differ_are_named():
  with pytest.raises(Invalid, match="equal shapes"):
    budget.audit(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 5, 4, 3), np.uint8))


@pytest.mark.parametrize("shape", [(40, 33, 3), (7, 9, 1), (16, 16, 3)])
def test_one_picture_in_strips_gets_what_the_audit_of_a_batch_says(shape):
  rng = np.random.default_rng(5)
  a = rng.integers(0, 256, shape).astype(np.uint8)
  b = np.clip(a.astype(int) + rng.integers(-9, 10, shape), 0, 255).astype(np.uint8)
  batch = budget.audit(a[None], b[None])
  for strip in (5, 16, 256):
    for name, value in budget.picture(a, b, strip).items():
      np.testing.assert_allclose(value, batch[name][0], rtol=1e-4, atol=1e-5)
  with pytest.raises(Invalid, match="equal shapes"):
    budget.picture(a, b[:-1])
