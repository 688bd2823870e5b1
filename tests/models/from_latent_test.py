import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import from_latent

Z = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
NET = from_latent.generator((6, 5, 1), 4)


@functools.cache
def params():
  return NET.init(jax.random.key(0), Z)[0]


def normed(x, p):
  x = x - x.mean((0, 1, 2))
  return x / np.sqrt((x**2).mean((0, 1, 2)) + 1e-5) * p["scale"] + p["bias"]


def convolved(x, p):
  """A 3x3 convolution with zeros around, in float64."""
  kernel, wide = np.float64(p["kernel"]), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  h, w = x.shape[1:3]
  return sum(wide[:, i:i + h, j:j + w] @ kernel[i, j] for i in range(3) for j in range(3)) + p["bias"]


def test_the_layers_are_those_of_the_release_cut_to_the_size():
  p = jax.tree.map(np.float64, params())
  x = (Z @ p["in"]["kernel"] + p["in"]["bias"]).reshape(3, 2, 2, 4)
  x = normed(x, p["in_norm"])
  for i in range(2):
    x = normed(convolved(x.repeat(2, axis=1).repeat(2, axis=2), p[f"block_{i}"]), p[f"block_{i}_norm"])
    x = np.where(x > 0, x, 0.2 * x)
  want = 1 / (1 + np.exp(-normed(convolved(x[:, :6, :5], p["out"]), p["out_norm"])))
  got = jax.jit(lambda p: NET.apply(p, Z).features)(params())
  assert got.shape == (3, 6, 5, 1)
  np.testing.assert_allclose(got, want, atol=2e-5)


def test_the_published_size_has_the_published_parameters(key):
  shapes, state = jax.eval_shape(from_latent.generator().init, key, jax.ShapeDtypeStruct((2, 128), np.float32))
  linear, norms = 129 * 128 * 64, 2 * (128 + 128 + 64 + 3)
  assert tree.size(shapes) == linear + 9 * (128 * 128 + 128 * 64 + 64 * 3) + 128 + 64 + 3 + norms and state == {}


def test_wrong_settings_are_named():
  for options in (dict(shape=(8, 8)), dict(shape=(0, 8, 1))):
    with pytest.raises(Invalid, match="model.shape"):
      from_latent.generator(**options)
  assert jnp.isfinite(NET.apply(params(), Z[:1]).features).all()  # of one picture
