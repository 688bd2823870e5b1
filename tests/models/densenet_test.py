import functools

import jax
import numpy as np
import pytest

from ue_jax.core import tree
from ue_jax.core.errors import Invalid
from ue_jax.models import densenet

RNG = np.random.default_rng(0)
LABEL = np.arange(24, dtype=np.int32) % 2
IMAGE = (RNG.integers(0, 200, (24, 8, 8, 1)) + 50 * LABEL[:, None, None, None]).astype(np.uint8)
NET = densenet.model(classes=2, stages=(1, 2), growth=4)


@functools.cache
def start():
  return NET.init(jax.random.key(0), IMAGE)


@pytest.mark.parametrize("kwargs, count", [
  (dict(classes=1000, stages=(6, 12, 24, 16), growth=32, stem="imagenet"), 7_978_856),
  (dict(stages=(16, 16, 16), growth=12), 769_162),
])
def test_parameter_counts_are_the_known_ones(key, kwargs, count):
  net = densenet.model(**kwargs)
  params, state = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8))
  assert tree.size(params) == count
  assert net.convolutional and state


def test_a_layer_keeps_its_input_and_appends_its_own(key):
  x = jax.random.normal(key, (2, 4, 4, 6))
  out, _ = jax.jit(lambda key, x: densenet.Layer(5).init_with_output(key, x, False))(key, x)
  assert out.shape == (2, 4, 4, 11)
  np.testing.assert_array_equal(out[..., :6], x)
  assert np.abs(out[..., 6:]).max() > 0


def test_halving_is_the_mean_of_squares_and_leaves_odd_edges_out():
  x = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)
  np.testing.assert_allclose(densenet.halved(x), x[:, :4].reshape(2, 2, 2, 2, 2, 3).mean((2, 4)), atol=1e-6)
  assert densenet.halved(x[:, :1]).shape == (2, 1, 2, 3)


def test_channels_and_sides_are_halved_between_stages():
  seen = {}
  taps = {f"block_{i}": lambda x, i=i: seen.update({i: x.shape}) or x for i in range(2)}
  jax.eval_shape(lambda params, state: NET.apply(params, IMAGE, state=state, taps=taps), *start())
  assert seen == {0: (24, 8, 8, 8 + 4), 1: (24, 4, 4, 6 + 2 * 4)}


def test_training_learns_a_toy_and_moves_the_running_statistics(descended):
  seen, state = descended(NET, *start(), IMAGE, LABEL, 0.2, 25)
  assert seen[-1] < 0.3 * seen[0]
  assert tree.fingerprint(state) != tree.fingerprint(start()[1])


@pytest.mark.parametrize("field, kwargs", [
  ("stages", dict(stages=(2, 0))), ("stages", dict(stages=())), ("growth", dict(growth=0)), ("stem", dict(stem="x")),
  ("normalise", dict(normalise="x")),
])
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    densenet.model(**kwargs)
