import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data
from ue_jax.models import convolution
from ue_jax.protect import cuda


def pictures(n=60, size=8, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 256, (n, size, size, channels)).astype(np.uint8)
  train, test = np.arange(n * 2 // 3, dtype=np.int32), np.arange(n * 2 // 3, n, dtype=np.int32)
  arrays = {"image": image, "label": (np.arange(n) % 3).astype(np.int32), "index": np.arange(n, dtype=np.int32) + 100}
  return Data(arrays, {"train": train, "test": test}, {"labels": {"label": ["a", "b", "c"]}})


def run(procedure, data, seed=0):
  return procedure.finish(procedure.init(jax.random.key(seed), data), data)


def correlate(x, w):
  """Zero-padded cross-correlation of one picture, the slow way."""
  p = w.shape[0] // 2
  padded = np.pad(x.astype(np.float64), ((p, p), (p, p), (0, 0)))
  out = np.zeros(x.shape)
  for i in range(x.shape[0]):
    for j in range(x.shape[1]):
      out[i, j] = (padded[i : i + w.shape[0], j : j + w.shape[0]] * w[:, :, None]).sum((0, 1))
  return out


@pytest.mark.parametrize("size", [3, 5, 9])
def test_the_operator_is_a_direct_correlation_over_its_maximum(size, key):
  x = np.random.default_rng(0).random((4, 11, 7, 3)).astype(np.float32)
  bank = np.asarray(cuda.filters(key, 4, size, 0.3))
  direct = np.stack([correlate(a, w) for a, w in zip(x, bank)])
  np.testing.assert_allclose(jax.jit(convolution.filtered)(x, bank), direct, atol=1e-5, rtol=1e-6)
  out = np.asarray(jax.jit(cuda.transform)(x, bank))
  np.testing.assert_allclose(out, direct / direct.max((1, 2, 3), keepdims=True), atol=1e-6)
  np.testing.assert_array_equal(out.max((1, 2, 3)), np.ones(4, np.float32))


def test_the_identity_filter_leaves_pictures_over_their_maximum():
  x = np.random.default_rng(1).random((3, 6, 6, 3)).astype(np.float32) * 0.7
  centre = np.zeros((3, 3, 3), np.float32)
  centre[:, 1, 1] = 1
  np.testing.assert_allclose(cuda.transform(jnp.asarray(x), centre), x / x.max((1, 2, 3), keepdims=True), rtol=3e-7)


def test_a_one_above_the_centre_moves_the_picture_down_by_one_pixel():
  x = np.random.default_rng(2).random((1, 5, 5, 1)).astype(np.float32)
  above = np.zeros((1, 3, 3), np.float32)
  above[0, 0, 1] = 1
  out = np.asarray(convolution.filtered(jnp.asarray(x), above))
  np.testing.assert_array_equal(out[:, 1:], x[:, :-1])
  np.testing.assert_array_equal(out[:, 0], 0)
  left = np.zeros((1, 3, 3), np.float32)
  left[0, 1, 0] = 1
  np.testing.assert_array_equal(np.asarray(convolution.filtered(jnp.asarray(x), left))[:, :, 1:], x[:, :, :-1])


def test_filters_have_one_one_and_the_rest_below_blur(key):
  bank = np.asarray(cuda.filters(key, 200, 3, 0.3)).reshape(200, 9)
  assert ((bank == 1).sum(1) == 1).all()
  rest = bank[bank < 1]
  assert 0 <= rest.min() and rest.max() <= 0.3 and abs(rest.mean() - 0.15) < 0.01
  places = np.bincount(bank.argmax(1), minlength=9)
  assert places.min() > 5  # the one is not always in the middle


def test_keys_and_blurs_are_vmapped(key):
  keys, blurs = jax.random.split(key, 3), jnp.array([0.1, 0.3, 0.6])
  many = jax.vmap(lambda k, b: cuda.filters(k, 4, 3, b))(keys, blurs)
  for i in range(3):
    np.testing.assert_allclose(many[i], cuda.filters(keys[i], 4, 3, blurs[i]), rtol=1e-6)


def test_equal_keys_give_equal_bytes_and_others_other_filters():
  data = pictures()
  one, again, other = (run(cuda.protect(), data, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(one.arrays["image"], again.arrays["image"])
  assert (one.arrays["image"] != other.arrays["image"]).any()


def test_sets_hold_own_and_next_filters_and_nothing_else_changes():
  data = pictures()
  procedure = cuda.protect()
  state = procedure.init(jax.random.key(3), data)
  out = check_data(procedure.finish(state, data))
  test = data.sets["test"]
  x, y, bank = data.arrays["image"] / np.float32(255), data.arrays["label"], np.asarray(state.filters)
  expect = lambda rows, shift: np.floor(
    np.asarray(jax.jit(cuda.transform)(x[rows], bank[(y[rows] + shift) % 3])) * np.float32(255)
  ).astype(int)
  close = lambda name, wanted: np.testing.assert_allclose(out.arrays["image"][out.sets[name]], wanted, atol=1)
  close("train", expect(data.sets["train"], 0))
  close("test_protected", expect(test, 0))
  close("test_permuted", expect(test, 1))
  np.testing.assert_array_equal(out.arrays["image"][test], data.arrays["image"][test])
  for name in ("test_protected", "test_permuted"):
    np.testing.assert_array_equal(out.arrays["index"][out.sets[name]], data.arrays["index"][test])
    np.testing.assert_array_equal(out.arrays["label"][out.sets[name]], y[test])
  assert out.n == data.n + 2 * len(test)


def test_bytes_are_truncated_by_default_and_rounded_on_request():
  data = pictures()
  floor, rounded = run(cuda.protect(), data).arrays["image"], run(cuda.protect(quantise="round"), data).arrays["image"]
  step = rounded[: data.n].astype(int) - floor[: data.n]
  assert set(np.unique(step)) == {0, 1} and 0.4 < step[data.sets["train"]].mean() < 0.6


def test_a_ratio_below_one_leaves_the_rest_untouched():
  data = pictures(300)
  out = run(cuda.protect(ratio=0.5), data)
  train = data.sets["train"]
  same = (out.arrays["image"][train] == data.arrays["image"][train]).all((1, 2, 3))
  assert 0.4 < same.mean() < 0.6
  test = out.arrays["image"][out.sets["test_protected"]]
  assert not (test == data.arrays["image"][data.sets["test"]]).all((1, 2, 3)).any()
  np.testing.assert_array_equal(run(cuda.protect(ratio=0.0), data).arrays["image"][train], data.arrays["image"][train])


def test_universal_uses_one_filter():
  data = pictures()
  state = cuda.protect(universal=True).init(jax.random.key(0), data)
  np.testing.assert_array_equal(state.filters, np.repeat(np.asarray(state.filters)[:1], 3, 0))


def test_a_black_picture_stays_black_and_grey_pictures_work():
  data = pictures(channels=1)
  data.arrays["image"][:2] = 0
  out = run(cuda.protect(), data)
  assert (out.arrays["image"][:2] == 0).all()
  assert out.arrays["image"].max() == 255


def test_the_legacy_stream_is_drawn_in_the_reference_order():
  bank, uniform = cuda.reference_stream(7, 2, 3, 0.3, 5)
  stream = np.random.RandomState(7)
  for c in range(2):
    block = stream.uniform(0, 0.3, 27).reshape(3, 3, 3)[0]
    block[stream.randint(3), stream.randint(3)] = 1
    np.testing.assert_allclose(bank[c], block, rtol=1e-6)
  np.testing.assert_allclose(uniform, stream.rand(5), rtol=1e-6)
  data = pictures()
  state = cuda.protect(compat="numpy", compat_seed=7, ratio=0.5).init(jax.random.key(0), data)
  full, drawn = cuda.reference_stream(7, 3, 3, 0.3, 40)
  np.testing.assert_array_equal(state.filters, full)
  np.testing.assert_array_equal(np.asarray(state.chosen)[:40], drawn < 0.5)


@pytest.mark.parametrize("quantise", ["floor", "round"])
def test_the_painter_filters_pictures_of_any_size_and_of_the_crafted_size_to_the_published_bytes(quantise):
  data = pictures()
  procedure = cuda.protect(ratio=0.5, quantise=quantise)
  state = procedure.init(jax.random.key(0), data)
  paint, published = cuda.painter(state, data), procedure.finish(state, data).arrays["image"]
  for row in data.sets["train"][:6]:
    np.testing.assert_array_equal(paint(data.arrays["image"][row], row), published[row])
  large = np.random.default_rng(3).integers(0, 256, (31, 40, 1)).astype(np.uint8)
  row = int(np.flatnonzero(np.asarray(state.chosen))[0])
  direct = correlate(large / 255, np.asarray(state.filters)[data.arrays["label"][row]])
  assert np.abs(paint(large, row) - np.floor(direct / direct.max() * 255)).max() <= 1
  with pytest.raises(Invalid, match="picture"):
    paint(large[..., 0], row)


@pytest.mark.parametrize("bad", [
  {"blur": 1.5}, {"size": 4}, {"ratio": -0.1}, {"compat": "torch"}, {"quantise": "none"},
])  # fmt: skip
def test_values_out_of_range_are_named(bad):
  with pytest.raises(Invalid, match=f"protect.{next(iter(bad))}"):
    cuda.protect(**bad)


def test_an_unknown_labelling_is_named():
  with pytest.raises(Invalid, match="protect.label"):
    run(cuda.protect(label="colour"), pictures())
