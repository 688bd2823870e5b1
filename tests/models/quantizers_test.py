"""Rounding of weights: known vectors, codebooks, numpy oracles, and what rounding must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtri

from ue_jax.core.errors import Invalid
from ue_jax.models import gguf_blocks, quantizers
from ue_jax.models.quantizers import quantize

WEIGHT = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
SETTINGS = [
  *((kind, *how) for kind in ("absmax", "saturating", "signed", "minmax") for how in ((4, "group"), (8, "channel"))),
  *((kind, 4, per) for kind in ("nf4", "fp4") for per in ("tensor", "group")),
]


def column(*values):
  return jnp.asarray(values, jnp.float32)[:, None]


@pytest.mark.parametrize("kind, codes, step", [
  ("absmax", [-7, -3, 1, 5], 1 / 7), ("saturating", [-8, -3, 1, 6], 1 / 8), ("minmax", [0, 5, 10, 15], 1.7 / 15),
  ("signed", [-8, -3, 1, 6], 1 / 8),
])
def test_a_known_vector(kind, codes, step):
  made = quantize(column(-1, -0.4, 0.1, 0.7), kind, 4)
  assert made.codes.ravel().tolist() == codes
  assert made.scale.item() == pytest.approx(step)
  expected = np.asarray(codes) * step + (-1 if kind == "minmax" else 0)
  np.testing.assert_allclose(made.values.ravel(), expected, atol=1e-6)


def test_halves_go_to_the_even_code_and_only_the_papers_step_cuts_the_largest_value():
  assert quantize(column(7, 0.5, 1.5, 2.5, -2.5), "absmax", 4).codes.ravel().tolist() == [7, 0, 2, 2, -2]
  top = lambda kind: quantize(column(8.0, 1.0), kind, 4).values[0].item()
  assert top("absmax") == 8 and top("saturating") == 7 and top("signed") == 8


def test_nf4_are_the_quantiles_of_a_normal_and_fp4_three_bits_of_a_float_and_a_sign():
  outside = 0.5 * (1 / 30 + 1 / 32)  # QLoRA, appendix E: both tails are cut there
  above, below = (ndtri(np.linspace(1 - outside, 0.5, n))[:-1] for n in (9, 8))
  levels = np.sort(np.concatenate([above, [0], -below]))
  np.testing.assert_allclose(quantizers.NF4, levels / levels.max(), atol=2e-6)
  magnitudes = [0, 0.0625, 2, 3, 4, 6, 8, 12]
  np.testing.assert_allclose(quantizers.FP4, np.unique([s * m / 12 for m in magnitudes for s in (-1, 1)]))


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_levels_are_kept_and_all_else_goes_to_the_nearest(kind):
  levels = np.asarray(quantizers.LEVELS[kind], np.float32)
  kept = quantize(3 * levels[:, None], kind)
  np.testing.assert_array_equal(kept.values, 3 * levels[:, None])
  assert kept.codes.ravel().tolist() == list(range(len(levels)))
  w = WEIGHT / np.abs(WEIGHT).max(0)
  nearest = levels[np.abs(w[:, :, None] - levels).argmin(-1)]
  np.testing.assert_allclose(quantize(jnp.asarray(w), kind).values, nearest, atol=1e-6)


@pytest.mark.parametrize("per", quantizers.PER)
def test_integers_against_numpy_with_a_scale_for_each_block(per):
  made, size = quantize(jnp.asarray(WEIGHT), "absmax", 4, per, 16), {"group": 16}.get(per, 50)
  expected = np.empty_like(WEIGHT)
  for first in range(0, 50, size):
    part = WEIGHT[first : first + size]
    step = np.abs(part).max(None if per == "tensor" else 0) / 7
    expected[first : first + size] = np.clip(np.round(part / step), -8, 7) * step
  np.testing.assert_allclose(made.values, expected, atol=1e-6)
  assert made.scale.size == {"tensor": 1, "channel": 6, "group": 24}[per]


def test_padding_of_a_last_group_changes_no_scale():
  w = jnp.asarray(WEIGHT[:20] + 9)  # far from the zeros that pad
  whole, alone = quantize(w, "minmax", 4, "group", 16), quantize(w[16:], "minmax", 4)
  np.testing.assert_array_equal(whole.values[16:], alone.values)
  assert (whole.codes[1, 4:] == 0).all()


@pytest.mark.parametrize("kind, bits, per", SETTINGS)
def test_rounding_is_idempotent_scales_with_its_input_and_is_off_by_half_a_step_at_most(kind, bits, per):
  w = jnp.asarray(WEIGHT)
  once = quantize(w, kind, bits, per, 16)
  if kind != "saturating":
    np.testing.assert_allclose(quantize(once.values, kind, bits, per, 16).values, once.values, atol=1e-6)
  np.testing.assert_allclose(quantize(5 * w, kind, bits, per, 16).values, 5 * once.values, rtol=1e-4, atol=1e-5)
  step = np.broadcast_to(np.abs(once.scale), once.codes.shape).reshape(-1, once.codes.shape[-1])[:50]
  gap = np.max(np.diff(quantizers.LEVELS[kind])) if kind in quantizers.LEVELS else 1
  cuts = kind in ("saturating", "signed")  # one end
  cut = np.ravel(once.codes)[: 300] == 2 ** (bits - 1) - 1 if cuts else np.zeros(300, bool)
  error = np.abs(once.values - w)
  assert (error <= gap * step / 2 + 1e-6)[~cut.reshape(50, 6)].all() and error.max() > 0
  assert (quantize(0 * w, kind, bits, per, 16).values == 0).all()


def test_8_bits_lose_under_a_hundredth_and_more_bits_or_smaller_blocks_lose_less():
  w = jnp.asarray(np.random.default_rng(1).normal(size=(256, 32)), jnp.float32)
  loss = lambda *how: float(jnp.linalg.norm(quantize(w, *how).values - w) / jnp.linalg.norm(w))
  assert loss("absmax", 8) < 0.01 < loss("absmax", 4)
  assert loss("absmax", 4, "group", 32) < loss("absmax", 4, "channel") < loss("absmax", 4, "tensor")
  assert loss("nf4", 4, "group", 64) < loss("fp4", 4, "group", 64) and loss("absmax", 4) < loss("absmax", 3)


FILES = {"Q4_1": ("minmax", 4), "Q4_0": ("signed", 4), "Q8_0": ("absmax", 8)}


def from_file(name, outputs=40, parts=3):
  """Weights `[in, out]` read from blocks of a GGUF file as its writers make them: the ends of the codes are used."""
  kind = next(kind for kind in gguf_blocks.KINDS.values() if kind.name == name)
  rng = np.random.default_rng(2)
  n = outputs * parts
  d = np.exp(rng.uniform(np.log(1e-6), np.log(0.1), (n, 1))).astype("<f2")  # the smallest are subnormal
  if name == "Q8_0":
    q = rng.integers(-127, 128, (n, 32)).astype(np.int8)
    q[:, 5] = 127
    raw = [d, q]
  else:
    q = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    q[:, 3] = 0xF0  # codes 0 and 15
    signs = rng.choice([-1, 1], (n, 1)).astype("<f2")
    raw = [d, (-9 * d * rng.random((n, 1))).astype("<f2"), q] if name == "Q4_1" else [d * signs, q]
  raw = np.concatenate([x.view(np.uint8).reshape(n, -1) for x in raw], axis=1)
  return jnp.asarray(gguf_blocks.numbers(raw, kind).reshape(outputs, 32 * parts).T)


@pytest.mark.parametrize("name", FILES)
def test_weights_of_a_gguf_file_come_back_as_they_are(name):
  (kind, bits), w = FILES[name], from_file(name)
  rounded = jax.jit(lambda w: quantize(w, kind, bits, "group", 32, half=True))
  made = rounded(w)
  np.testing.assert_array_equal(made.values, w)
  np.testing.assert_array_equal(made.scale, np.float16(made.scale))
  np.testing.assert_array_equal(made.zero, np.float16(made.zero))
  other = quantize(w, kind, bits, "group", 64, half=True).values  # another grid is another experiment
  assert np.abs(other - w).max() > 1e-3


def test_codes_are_chosen_before_the_scales_are_stored_as_float16():
  w = jnp.asarray(WEIGHT[:32] / 7)
  made = jax.jit(lambda w: quantize(w, "minmax", 4, "group", 32, half=True))(w)
  low, high = np.asarray(w).min(0), np.asarray(w).max(0)
  d = (high - low) / np.float32(15)
  q = np.clip(np.round((np.asarray(w) - low) / d), 0, 15)
  np.testing.assert_array_equal(made.codes[0], q)
  stored = [x.astype(np.float16).astype(np.float32) for x in (d, low)]
  np.testing.assert_array_equal(made.values, q.astype(np.float32) * stored[0] + stored[1])
  whole = quantize(w, "minmax", 4, "group", 32).values
  assert 0 < np.abs(made.values - whole).max() < 1e-3


def test_float16_is_that_of_numpy_down_to_what_is_lost_and_up_to_infinity():
  x = np.float32(np.random.default_rng(0).normal(size=4000) * np.exp(np.linspace(-20, 12, 4000)))
  with np.errstate(over="ignore"):
    want = x.astype(np.float16).astype(np.float32)
  np.testing.assert_array_equal(jax.jit(quantizers._float16)(x), want)
  assert np.isinf(want).any() and (want == 0).any() and (np.abs(want[want != 0]) < 6e-5).any()


def test_convolutions_count_windows_as_inputs_and_dtypes_stay():
  w = jnp.asarray(WEIGHT[:36].reshape(3, 3, 4, 6), jnp.bfloat16)
  made = quantize(w)
  assert made.values.shape == w.shape and made.values.dtype == jnp.bfloat16
  np.testing.assert_array_equal(made.values.reshape(36, 6), quantize(w.reshape(36, 6)).values)


def test_the_straight_through_gradient_is_that_of_the_identity():
  w, c = jnp.asarray(WEIGHT), jnp.asarray(WEIGHT[::-1].copy())
  value, slope = jax.jit(jax.value_and_grad(lambda w: jnp.sum(c * quantizers.straight_through(w))))(w)
  np.testing.assert_allclose(value, jnp.sum(c * quantize(w).values), rtol=1e-5)
  np.testing.assert_array_equal(slope, c)


@pytest.mark.parametrize("change, said", [
  ({"kind": "int4"}, "quantize.kind"), ({"per": "row"}, "quantize.per"), ({"bits": 1}, "quantize.bits"),
  ({"kind": "nf4", "bits": 8}, "quantize.bits = 8: give 4"), ({"group": 0}, "quantize.group"),
  ({"half": "float16"}, "quantize.half"),
])
def test_what_is_not_known_is_refused(change, said):
  with pytest.raises(Invalid, match=said):
    quantize(jnp.asarray(WEIGHT), **change)
