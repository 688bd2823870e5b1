import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import cnn


def test_equals_numpy(key):
  image = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3)).astype(np.uint8)
  net = cnn.model(classes=4, widths=(5,))
  params, _ = net.init(key, image)
  params = jax.tree.map(lambda p: p + 0.05, params)
  out = jax.jit(net.apply)(params, image)
  x = np.pad((image / 255 - 0.5) / 0.5, ((0, 0), (0, 1), (0, 1), (0, 0)))  # even sizes: one row below, one column right
  kernel, bias = np.asarray(params["block_0"]["kernel"]), np.asarray(params["block_0"]["bias"])
  h = np.zeros((2, 3, 3, 5))
  for i in range(3):
    for j in range(3):
      h[:, i, j] = np.tensordot(x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], kernel, 3) + bias
  features = np.maximum(h, 0).reshape(2, -1)
  np.testing.assert_allclose(out.features, features, rtol=1e-4, atol=1e-5)
  logits = features @ params["head"]["kernel"] + params["head"]["bias"]
  np.testing.assert_allclose(out.logits, logits, rtol=1e-4, atol=1e-5)


def test_the_flatten_head_sees_position_and_the_mean_head_does_not(key):
  here, there = np.zeros((2, 1, 32, 32, 1), np.uint8)
  here[0, 8:12, 8:12] = there[0, 16:20, 12:16] = 255
  for head, sees in [("flatten", True), ("mean", False)]:
    net = cnn.model(widths=(8, 8), head=head)
    params, _ = net.init(key, here)
    apply = jax.jit(net.apply)
    close = np.allclose(apply(params, here).logits, apply(params, there).logits, atol=1e-5)
    assert close != sees


def test_the_mean_head_fits_any_size(key):
  net = cnn.model(widths=(8,), head="mean")
  params, _ = net.init(key, np.zeros((1, 16, 16, 3), np.uint8))
  assert jax.jit(net.apply)(params, np.zeros((2, 23, 31, 3), np.uint8)).features.shape == (2, 8)


def test_may_stand_in_loops_on_cpus():
  assert not cnn.model().convolutional


@pytest.mark.parametrize("field, kwargs", [
  ("head", dict(head="max")), ("widths", dict(widths=(8, -1))), ("normalise", dict(normalise="x")),
])
def test_wrong_settings_are_named(field, kwargs):
  with pytest.raises(Invalid, match=f"model.{field}"):
    cnn.model(**kwargs)
