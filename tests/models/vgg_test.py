import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import vgg

RNG = np.random.default_rng(0)
LABEL = np.arange(24, dtype=np.int32) % 2
IMAGE = (RNG.integers(0, 200, (24, 8, 8, 1)) + 50 * LABEL[:, None, None, None]).astype(np.uint8)
NET = vgg.model(classes=2, width=2)


@functools.cache
def start():
  return NET.init(jax.random.key(0), IMAGE)


@pytest.mark.parametrize("kwargs, count", [
  (dict(), 9_228_362), (dict(depth=16), 14_724_042), (dict(depth=11, classes=100), 9_274_532),
])
def test_parameter_counts_are_the_known_ones(key, kwargs, count):
  net = vgg.model(**kwargs)
  params, state = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8))
  assert tree.size(params) == count
  assert set(state) <= set(params) and net.convolutional


def test_five_poolings_leave_one_position_of_32_pixels_and_round_odd_sides_up(key):
  for side, left in ((32, 1), (48, 2), (33, 2), (8, 1)):
    seen = []
    taps = {"block_4": lambda x, seen=seen: seen.append(x.shape) or x}
    images = jnp.zeros((2, side, side, 3))

    def call(taps=taps, images=images):
      params, state = NET.init(key, images)
      return NET.apply(params, images, state=state, taps=taps)

    assert jax.eval_shape(call).features.shape == (2, 16)
    assert seen == [(2, left, left, 16)]


def test_training_learns_a_toy_and_moves_the_running_statistics(descended):
  seen, state = descended(NET, *start(), IMAGE, LABEL, 0.1, 25)
  assert seen[-1] < 0.3 * seen[0]
  assert tree.fingerprint(state) != tree.fingerprint(start()[1])


@pytest.mark.parametrize("field, kwargs", [
  ("depth", dict(depth=12)), ("width", dict(width=0)), ("classes", dict(classes=1.5)),
  ("normalise", dict(normalise="x")),
])
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    vgg.model(**kwargs)
