"""Rotations: how their frequencies are stretched, and at which positions they stand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import rotary

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=256)  # fmt: skip


def llama3(frequency, factor=8.0, low=1.0, high=4.0, length=256):
  """One frequency, by cases, as in the release of Llama 3.1."""
  wave = 2 * math.pi / frequency
  if wave < length / high:
    return frequency
  if wave > length / low:
    return frequency / factor
  smooth = (length / wave - low) / (high - low)
  return (1 - smooth) * frequency / factor + smooth * frequency


def test_frequencies_equal_the_formulas_of_each_kind():
  plain = 5e5 ** (-np.arange(16) / 16)
  made = lambda settings: rotary.frequencies(16, 5e5, rotary.scaling(settings))
  np.testing.assert_allclose(made(None), plain, rtol=1e-5)
  np.testing.assert_allclose(made({"rope_type": "default"}), plain, rtol=1e-5)
  np.testing.assert_allclose(made({"type": "linear", "factor": 4}), plain / 4, rtol=1e-5)
  wanted = [llama3(f) for f in plain]
  np.testing.assert_allclose(made(LLAMA3), wanted, rtol=1e-5)
  ratio = plain / wanted
  assert ratio[0] == 1 and ratio[-1] == 8 and ((ratio > 1.01) & (ratio < 7.9)).any()  # all three cases occur


def test_positions_may_differ_by_row():
  x = jnp.ones((2, 5, 1, 8))
  both = rotary.rotate(x, rotary.turns(jnp.array([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]), 4, 100.0))
  plain = rotary.rotate(x, rotary.turns(5, 4, 100.0))
  np.testing.assert_allclose(both[0], plain[0], atol=1e-6)
  np.testing.assert_allclose(both[1, 2:], plain[1, :3], atol=1e-6)


def test_turns_of_counted_positions_are_no_work_of_the_compiled_program():
  x = jnp.ones((2, 5, 1, 8))
  program = lambda where, base: str(jax.make_jaxpr(lambda x: rotary.rotate(x, rotary.turns(where, 4, base)))(x))
  assert " cos " not in program(5, 100.0) and " sin " not in program(5, 100.0)
  traced = jax.make_jaxpr(lambda base: rotary.rotate(x, rotary.turns(5, 4, base)))(100.0)
  assert " cos " in str(traced)  # a base that is swept is still an input


@pytest.mark.parametrize("field, settings", [
  ("rope_type", dict(rope_type="yarn", factor=2.0)),
  ("low_freq_factor", dict(rope_type="llama3", factor=2.0)),
  ("factor", dict(rope_type="linear", factor=-1)),
  ("factor", dict(rope_type="linear", factor="two")),
  ("high_freq_factor", {**LLAMA3, "high_freq_factor": 0.5}),
])
def test_what_is_not_known_is_named(field, settings):
  with pytest.raises(Invalid, match=field):
    rotary.scaling(settings)
