import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import vit

RNG = np.random.default_rng(0)
LABEL = np.arange(24, dtype=np.int32) % 2
IMAGE = RNG.integers(0, 150, (24, 8, 8, 1)).astype(np.uint8)
IMAGE[LABEL == 1, :4, :4] += 100
NET = vit.model(classes=2, width=8, depth=1, heads=2)


@functools.cache
def start():
  return NET.init(jax.random.key(0), IMAGE)


run = jax.jit(lambda params, image: NET.apply(params, image))


@pytest.mark.parametrize("kwargs, count", [
  (dict(width=768, depth=12, heads=12), 86_567_656), (dict(width=384, depth=12, heads=6), 22_050_664),
])
def test_parameter_counts_at_patch_16_are_the_known_ones(key, kwargs, count):
  net = vit.model(classes=1000, patch=16, **kwargs)
  params, state = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, 224, 224, 3), np.uint8))
  assert tree.size(params) == count
  assert state == {} and not net.convolutional


def test_patches_are_the_squares_of_the_picture_row_by_row():
  x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
  found = vit.patches(jnp.asarray(x), 2)
  wanted = [[x[b, i : i + 2, j : j + 2].ravel() for i in (0, 2) for j in (0, 2, 4)] for b in range(2)]
  np.testing.assert_array_equal(found, wanted)


def test_attention_is_the_mean_of_values_weighted_by_the_softmax_of_products():
  q, k, v = RNG.normal(size=(3, 2, 5, 2, 4)).astype(np.float32)
  wanted = np.empty_like(v)
  for b, h in np.ndindex(2, 2):
    weight = np.exp(q[b, :, h] @ k[b, :, h].T / 2)
    wanted[b, :, h] = weight / weight.sum(-1, keepdims=True) @ v[b, :, h]
  np.testing.assert_allclose(vit.attend(q, k, v), wanted, atol=1e-5)


def test_only_the_positions_tell_where_a_patch_is():
  params = dict(start()[0])
  swapped = np.concatenate([IMAGE[:, 4:], IMAGE[:, :4]], axis=1)
  assert not np.allclose(run(params, IMAGE).features, run(params, swapped).features, atol=1e-4)
  params["positions"] = jnp.zeros_like(params["positions"])
  np.testing.assert_allclose(run(params, IMAGE).features, run(params, swapped).features, atol=1e-5)


def test_training_learns_a_toy(descended):
  seen, _ = descended(NET, *start(), IMAGE, LABEL, 0.2, 60)
  assert seen[-1] < 0.2 * seen[0]


def test_pictures_that_are_no_whole_patches_are_refused():
  with pytest.raises(Invalid, match="model.patch"):
    NET.init(jax.random.key(0), IMAGE[:, :6])


@pytest.mark.parametrize("field, kwargs", [
  ("width", dict(width=10)), ("patch", dict(patch=0)), ("hidden", dict(hidden=0)), ("normalise", dict(normalise="x")),
])
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    vit.model(**kwargs)
