"""The two conversions between bytes and floats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.pictures import to_bytes, to_float

BYTES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("quantise", ["round", "floor"])
def test_bytes_survive_the_way_to_floats_and_back(quantise):
  if quantise == "round":
    np.testing.assert_array_equal(to_bytes(to_float(BYTES), quantise), BYTES)
  again = np.asarray(to_bytes(to_float(BYTES), quantise)).astype(int)
  assert np.abs(again - BYTES).max() <= (0 if quantise == "round" else 1)


def test_floats_pass_unchanged():
  x = np.float32([0.1, 2.0, -1.0])
  assert to_float(x) is x


def test_values_are_x_over_255_in_float32():
  out = to_float(BYTES)
  assert out.dtype == np.float32 and out[0] == 0 and out[255] == 1
  np.testing.assert_allclose(out, BYTES / 255.0, rtol=1e-6)


def test_rounding_goes_to_the_nearest_and_floor_down():
  x = np.float32([0.4, 0.6, 254.6]) / np.float32(255)
  assert to_bytes(x).tolist() == [0, 1, 255]
  assert to_bytes(x, "floor").tolist() == [0, 0, 254]


def test_out_of_range_is_clipped_and_does_not_wrap():
  assert to_bytes(np.float32([-0.5, 1.5])).tolist() == [0, 255]


def test_jitted_equals_numpy():
  x = np.linspace(-0.1, 1.1, 1000, dtype=np.float32)
  np.testing.assert_array_equal(jax.jit(to_bytes)(x), to_bytes(x))
  out = jax.jit(to_float)(jnp.asarray(BYTES))
  np.testing.assert_allclose(out, to_float(BYTES), rtol=2e-7)
  assert out.dtype == jnp.float32
