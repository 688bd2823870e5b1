import io
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.models import weights

RANDOM = np.random.default_rng(0)
ARRAYS = {
  "a.weight": RANDOM.normal(size=(3, 4)).astype(np.float32),
  "b": RANDOM.integers(-5, 5, (2, 1, 3)).astype(np.int64),
  "scalar": np.float32(2.5),
  "empty": np.zeros((0, 3), np.float16),
  "flags": np.array([True, False]),
}
endings = pytest.mark.parametrize("ending", [".npz", ".safetensors"])


def equal(a, b):
  assert list(a) == list(b)
  for name in a:
    assert a[name].dtype == np.asarray(b[name]).dtype and a[name].shape == np.shape(b[name])
    np.testing.assert_array_equal(a[name], b[name])


@endings
def test_what_is_written_is_read_and_no_other_file_is_left(tmp_path, ending):
  weights.write(tmp_path / f"w{ending}", ARRAYS)
  equal(weights.read(tmp_path / f"w{ending}"), ARRAYS)
  assert [p.name for p in tmp_path.iterdir()] == [f"w{ending}"]


def test_safetensors_agrees_with_the_reference_library(tmp_path):
  library = pytest.importorskip("safetensors.numpy")
  weights.write(tmp_path / "ours.safetensors", ARRAYS)
  theirs = library.load_file(tmp_path / "ours.safetensors")
  equal({name: theirs[name] for name in ARRAYS}, ARRAYS)
  some = {name: np.asarray(a) for name, a in ARRAYS.items() if name != "empty"}
  library.save_file(some, tmp_path / "theirs.safetensors", metadata={"format": "np"})
  read = weights.read(tmp_path / "theirs.safetensors")
  equal({name: read[name] for name in some}, some)


def test_bfloat16_and_strided_arrays_survive_in_safetensors(tmp_path):
  array = np.asarray(jnp.arange(6, dtype=jnp.bfloat16)).reshape(2, 3)
  weights.write(tmp_path / "w.safetensors", {"x": array, "t": ARRAYS["a.weight"].T})
  equal(weights.read(tmp_path / "w.safetensors"), {"x": array, "t": ARRAYS["a.weight"].T})
  with pytest.raises(Invalid, match="float32"):
    weights.write(tmp_path / "w.npz", {"x": array})


@endings
@pytest.mark.parametrize("cut", [0, 5, 40, -9])
def test_a_truncated_file_is_refused_by_name(tmp_path, ending, cut):
  path = tmp_path / f"w{ending}"
  weights.write(path, ARRAYS)
  path.write_bytes(path.read_bytes()[:cut])
  with pytest.raises(Invalid, match=rf"w\{ending}.*damaged"):
    weights.read(path)


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path):
  path = tmp_path / "w.npz"
  weights.write(path, {"x": np.zeros(1000, np.float32)})
  data = bytearray(path.read_bytes())
  data[2000] ^= 1
  path.write_bytes(data)
  with pytest.raises(Invalid, match="damaged"):
    weights.read(path)


@pytest.mark.parametrize("header", [
  {"x": dict(dtype="F32", shape=[2], data_offsets=[0, 4])},
  {"x": dict(dtype="F32", shape=[1], data_offsets=[4, 8])},
  {"x": dict(dtype="F32", shape=[-1], data_offsets=[4, 0])},
  {"x": dict(dtype="C64", shape=[1], data_offsets=[0, 4])},
  {"x": dict(shape=[1], data_offsets=[0, 4])},
  ["x"],
])
def test_a_safetensors_header_that_does_not_fit_its_bytes_is_refused(tmp_path, header):
  text = json.dumps(header).encode()
  (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
  with pytest.raises(Invalid, match="damaged"):
    weights.read(tmp_path / "w.safetensors")


def test_pickles_are_never_loaded(tmp_path):
  buffer = io.BytesIO()
  np.savez(buffer, x=np.array([{"a": 1}], object))
  (tmp_path / "w.npz").write_bytes(buffer.getvalue())
  with pytest.raises(Invalid, match="plain arrays"):
    weights.read(tmp_path / "w.npz")


def test_missing_files_and_other_endings_are_named(tmp_path):
  with pytest.raises(Invalid, match=r"none\.npz.*no such file"):
    weights.read(tmp_path / "none.npz")
  for action in (weights.read, lambda path: weights.write(path, ARRAYS)):
    with pytest.raises(Invalid, match=r"w\.pth.*safetensors"):
      action(tmp_path / "w.pth")


def test_a_failed_write_leaves_the_old_file(tmp_path):
  path = tmp_path / "w.npz"
  weights.write(path, {"x": np.ones(2)})
  with pytest.raises(Invalid):
    weights.write(path, {"x": np.array(["text"])})
  equal(weights.read(path), {"x": np.ones(2)})
  assert len(list(tmp_path.iterdir())) == 1


def test_convolution_layout_gives_the_same_numbers():
  x, w = RANDOM.normal(size=(1, 3, 5, 5)), RANDOM.normal(size=(2, 3, 3, 3))
  wanted = np.zeros((1, 2, 3, 3))  # channels first, cross-correlation
  for i in range(3):
    for j in range(3):
      wanted[:, :, i, j] = np.tensordot(x[:, :, i : i + 3, j : j + 3], w, ([1, 2, 3], [1, 2, 3]))
  out = jax.lax.conv_general_dilated(
    jnp.asarray(x.transpose(0, 2, 3, 1), jnp.float32), jnp.asarray(weights.conv(w), jnp.float32), (1, 1), "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(np.transpose(out, (0, 3, 1, 2)), wanted, rtol=1e-4, atol=1e-5)
  assert weights.linear(np.zeros((10, 64))).shape == (64, 10)


def test_check_names_the_first_leaf_that_differs():
  like = {"a": np.zeros((2, 3)), "b": np.zeros(1)}
  weights.check({"a": np.ones((2, 3)), "b": np.ones(1)}, like, "f")
  for tree, found in [({"a": np.ones((3, 2)), "b": np.ones(1)}, "a: "), ({"a": np.ones((2, 3))}, "b: missing"),
                      ({**like, "c": np.ones(1)}, "c: ")]:
    with pytest.raises(Invalid, match=f"f = .*{found}"):
      weights.check(tree, like, "f")
