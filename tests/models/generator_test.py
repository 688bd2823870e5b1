import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import generator

Z = np.random.default_rng(0).uniform(size=(1, 18, 13, 3)).astype(np.float32)
NET = generator.model(4, 1)


@functools.cache
def params():
  return NET.init(jax.random.key(0), Z)[0]


run = jax.jit(lambda p, z: NET.apply(p, z).features)


def test_the_output_has_the_size_of_the_latent_and_lies_between_minus_one_and_one():
  out = run(params(), Z)
  assert out.shape == Z.shape and (abs(out) < 1).all() and out.std() > 0.01
  assert jax.eval_shape(lambda: NET.apply(params(), Z)).logits.shape == (1, 0)


def test_the_paper_size_has_the_paper_parameters(key):
  net = generator.model()
  shapes, state = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
  convolutions = 2 * 49 * 3 * 64 + 2 * 9 * (64 * 128 + 128 * 256) + 6 * 2 * 9 * 256 * 256
  norms = 2 * (64 + 128 + 256 + 6 * 2 * 256 + 128 + 64)
  assert tree.size(shapes) == convolutions + norms + 3
  assert state == {}


def test_brightness_and_contrast_of_the_latent_do_not_matter():
  # the first convolution has no bias and is followed by normalisation over batch and space
  np.testing.assert_allclose(run(params(), 3 * Z + 2), run(params(), Z), atol=2e-3)


def test_a_batch_of_one_is_instance_normalised_and_training_changes_nothing():
  program = lambda train: str(jax.make_jaxpr(lambda p: NET.apply(p, Z, train=train).features)(params()))
  assert program(True) == program(False)
  two = run(params(), np.concatenate([Z, Z * np.linspace(0, 1, 13, dtype=np.float32)[:, None]]))
  assert not np.allclose(two[0], run(params(), Z)[0], atol=1e-3)  # the other picture shares the statistics


def test_normalisation_leaves_mean_zero_and_variance_one(key):
  x = 5 + 3 * jax.random.normal(key, (2, 6, 6, 4))
  norm = generator.BatchOnlyNorm()
  y = norm.apply({"params": {"scale": jnp.full(4, 2.0), "bias": jnp.full(4, 7.0)}}, x)
  np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 7, rtol=1e-4)
  np.testing.assert_allclose(np.std(y, (0, 1, 2)), 2, rtol=1e-4)


def test_grey_output(key):
  net = generator.model(4, 1, channels=1)
  shapes = jax.eval_shape(lambda: net.apply(net.init(key, Z)[0], Z))
  assert shapes.features.shape == (1, 18, 13, 1)


def test_wrong_settings_and_latents_are_named():
  with pytest.raises(Invalid, match="model.channels"):
    generator.model(channels=2)
  with pytest.raises(Invalid, match="model.blocks"):
    generator.model(blocks=0)
  with pytest.raises(Invalid, match="8 pixels"):
    NET.apply(params(), Z[:, :4])
