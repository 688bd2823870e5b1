"""Linearly separable patches: their norm, their separability, and that only the labels make them a shortcut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data
from ue_jax.protect import lsp


def pictures(n=90, shape=(8, 8, 1), classes=10, low=100, high=156):
  draw = np.random.default_rng(0)
  image = draw.integers(low, high, (n, *shape)).astype(np.uint8)
  label, index = (np.arange(n) % classes).astype(np.int32), np.arange(n, dtype=np.int32) * 3
  arrays = {"image": image, "label": label, "index": index}
  train, test = np.split(draw.permutation(n).astype(np.int32), [2 * n // 3])
  return Data(arrays, {"train": train, "test": test}, {"labels": {"label": [str(c) for c in range(classes)]}})


def run(procedure, data, seed=0):
  return procedure.finish(procedure.init(jax.random.key(seed), data), data)


def noise(data, out, name):
  before = data.arrays["image"][data.sets["test" if name == "test_protected" else name]]
  return out.arrays["image"][out.sets[name]].astype(int) - before


def linear_softmax(x, y, classes=10, steps=300):
  """Weights `[d + 1, classes]` by full gradient descent."""
  x = jnp.asarray(np.c_[x / np.abs(x).max(), np.ones(len(x))], jnp.float32)
  target = jax.nn.one_hot(y, classes)
  down = lambda i, w: w - 0.5 * x.T @ (jax.nn.softmax(x @ w) - target) / len(x) * 10
  return jax.jit(lambda w: jax.lax.fori_loop(0, steps, down, w))(jnp.zeros((x.shape[1], classes), jnp.float32))


def accuracy(w, x, y, scale):
  return float((np.argmax(np.c_[x / scale, np.ones(len(x))] @ np.asarray(w), 1) == y).mean())


@pytest.mark.parametrize("shape, patch", [((8, 8, 1), 2), ((7, 9, 3), 3), ((32, 32, 3), 8)])
def test_every_noise_picture_has_the_same_norm_even_where_patches_are_cut(shape, patch, key):
  eps, d = 6 / 255, int(np.prod(lsp.layout(shape, patch)))
  some = lsp.clouds(key, 10, d)
  cells = lsp.points(key, jnp.arange(30), jnp.arange(30) % 10, some, jnp.float32(eps), shape, patch)
  delta = np.asarray(lsp.mosaic(cells, patch, *shape[:2]), np.float64)
  assert delta.shape == (30, *shape)
  np.testing.assert_allclose(np.sqrt((delta**2).sum((1, 2, 3))), eps * np.sqrt(np.prod(shape)), rtol=1e-5)
  assert (delta[:, :patch, :patch] == delta[:, :1, :1]).all()
  inf = lsp.points(key, jnp.arange(30), jnp.arange(30) % 10, some, jnp.float32(eps), shape, patch, "linf")
  np.testing.assert_allclose(np.abs(inf).max((1, 2, 3)), eps, rtol=1e-6)


def test_a_linear_softmax_on_the_noise_alone_reads_held_out_labels_and_nothing_from_permuted_ones():
  data = pictures(1500)
  y, found = data.arrays["label"], {}
  for permuted in (False, True):
    out = run(lsp.protect(eps=16 / 255, permuted=permuted), data)
    flat = {name: noise(data, out, name).reshape(len(out.sets[name]), -1) for name in ("train", "test_protected")}
    w = linear_softmax(flat["train"], y[data.sets["train"]])
    held = y[data.sets["test"]]
    found[permuted] = accuracy(w, flat["test_protected"], held, np.abs(flat["train"]).max())
  assert found[False] == 1.0
  assert found[True] < 0.16  # chance is 0.1 over 500 pictures


def test_vertices_are_distinct_signs_and_clouds_differ(key):
  for dimensions, classes in ((4, 16), (48, 100)):
    some = lsp.clouds(key, classes, dimensions)
    assert set(np.unique(some.vertices)) == {-10, 10}
    assert len(np.unique(some.vertices, axis=0)) == classes
    assert abs(float(some.vertices.mean())) < 1
  assert (some.mixes[0] != some.mixes[1]).any()


def test_no_value_moves_by_more_than_eps_under_linf():
  data = pictures(low=0, high=256)
  delta = noise(data, run(lsp.protect(eps=10.7 / 255, norm="linf"), data), "train")
  assert np.abs(delta).max() == 10


def test_equal_keys_give_equal_bytes_and_a_picture_keeps_its_noise_when_rows_are_selected_anew():
  data = pictures()
  one, again, other = (run(lsp.protect(), data, seed).arrays["image"] for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()
  rows = data.sets["train"][:9]
  part = Data({k: a[rows] for k, a in data.arrays.items()}, {"train": np.arange(9, dtype=np.int32)}, data.info)
  np.testing.assert_array_equal(run(lsp.protect(), part).arrays["image"], one[rows])


def test_a_budget_of_nothing_changes_nothing_and_one_of_everything_stays_in_range():
  data = pictures(shape=(5, 7, 3))
  nothing = run(lsp.protect(eps=0.0, patch=2), data)
  np.testing.assert_array_equal(nothing.arrays["image"][: data.n], data.arrays["image"])
  out = check_data(run(lsp.protect(eps=1.0, patch=2), data))
  assert out.arrays["image"].min() == 0 and out.arrays["image"].max() == 255
  np.testing.assert_array_equal(out.arrays["image"][data.sets["test"]], data.arrays["image"][data.sets["test"]])


def test_the_painter_stretches_the_same_patches():
  data = pictures(shape=(8, 8, 3))
  procedure = lsp.protect()
  state = procedure.init(jax.random.key(0), data)
  out, paint, row = procedure.finish(state, data), lsp.painter(state, data), int(data.sets["train"][2])
  np.testing.assert_array_equal(paint(data.arrays["image"][row], row), out.arrays["image"][row])
  pattern = out.arrays["image"][row].astype(int) - data.arrays["image"][row]
  big = paint(np.full((24, 40, 3), 128, np.uint8), row).astype(int) - 128
  np.testing.assert_array_equal(big, np.repeat(np.repeat(pattern, 3, 0), 5, 1))
  assert paint(np.full((9, 9, 1), 128, np.uint8), row).shape == (9, 9, 1)


@pytest.mark.parametrize(
  "bad", [{"eps": 1.5}, {"norm": "l1"}, {"patch": -1}, {"separation": 0.0}, {"quantise": "none"}, {"label": "colour"},
          {"patch": 8}],
)  # fmt: skip
def test_what_cannot_be_is_named(bad):
  with pytest.raises(Invalid, match=f"protect.{next(iter(bad))}"):
    run(lsp.protect(**bad), pictures())


def test_one_class_has_no_shortcut_and_pictures_without_labels_none_either():
  with pytest.raises(Invalid, match="two classes"):
    run(lsp.protect(), pictures(classes=1))
  data = pictures()
  bare = Data({k: a for k, a in data.arrays.items() if k != "label"}, data.sets, {})
  with pytest.raises(Invalid, match="protect.label"):
    run(lsp.protect(), bare)
