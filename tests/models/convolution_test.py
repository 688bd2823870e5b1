"""Products of windows beside XLA's convolution."""

import jax
import numpy as np
import pytest

from ue_jax.models import convolution

NAMES = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("side, size, stride", [
  ((8, 8), 3, 2), ((7, 10), 3, 2), ((5, 6), 3, 1), ((9, 4), 5, 3), ((4, 4), 1, 1),
])  # fmt: skip
def test_values_and_gradients_are_those_of_a_convolution(side, size, stride):
  draw = np.random.default_rng(0)
  x, kernel = (draw.standard_normal(s).astype(np.float32) for s in ((2, *side, 3), (size, size, 3, 4)))
  theirs = lambda x, k: jax.lax.conv_general_dilated(x, k, (stride, stride), "SAME", dimension_numbers=NAMES)
  aim = draw.standard_normal(theirs(x, kernel).shape).astype(np.float32)
  both = [
    jax.jit(jax.value_and_grad(lambda x, k, f=f: (f(x, k) * aim).sum(), argnums=(0, 1)))(x, kernel)
    for f in (lambda x, k: convolution.convolve(x, k, stride), theirs)
  ]
  for a, b in zip(jax.tree.leaves(both[0]), jax.tree.leaves(both[1])):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators have fast convolutions")
def test_there_is_no_convolution_left_on_cpus_to_lose_its_threads_in_a_loop():
  x, kernel = np.zeros((1, 4, 4, 2), np.float32), np.zeros((3, 3, 2, 2), np.float32)
  text = jax.jit(jax.grad(lambda k: convolution.convolve(x, k, 2).sum())).lower(kernel).as_text()
  assert "convolution" not in text and "dot_general" in text
