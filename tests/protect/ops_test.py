"""The one-pixel shortcut: the closed form against brute force, and one pixel a picture that names its class."""

import jax
import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import Data, check_data
from ue_jax.protect import ops


def pictures(n=60, shape=(6, 5, 3), classes=4):
  draw = np.random.default_rng(0)
  image = draw.integers(0, 256, (n, *shape)).astype(np.uint8)
  label, index = (np.arange(n) % classes).astype(np.int32), np.arange(n, dtype=np.int32) * 3
  train, test = np.split(draw.permutation(n).astype(np.int32), [2 * n // 3])
  names = {"labels": {"label": [str(c) for c in range(classes)]}}
  return Data({"image": image, "label": label, "index": index}, {"train": train, "test": test}, names)


def run(procedure, data, seed=0):
  return procedure.finish(procedure.init(jax.random.key(seed), data), data)


@pytest.mark.parametrize("channels", [1, 3])
def test_scores_equal_brute_force_over_fifty_pictures(channels):
  data = pictures(50, (4, 3, channels), 2)
  x, y = data.arrays["image"] / 255.0, data.arrays["label"]
  got = ops.scores(*ops.moments(data.arrays["image"], np.arange(50), y, 2))
  assert got.shape == (2, 4, 3, 2**channels)
  for c in range(2):
    for i in range(4):
      for j in range(3):
        for k in range(2**channels):
          v = [k >> b & 1 for b in range(channels)]
          away = np.abs(np.array(v) - x[y == c, i, j])
          np.testing.assert_allclose(got[c, i, j, k], away.mean() / away.std(), rtol=1e-9)


def test_the_best_place_and_colour_is_taken_and_none_twice():
  data = pictures(400, (6, 5, 3), 2)
  image, y = data.arrays["image"], data.arrays["label"]
  image[:, 2, 3] = np.random.default_rng(1).integers(0, 6, (400, 3))  # dark in both classes: white stands out
  places, colours = ops.choose(ops.scores(*ops.moments(image, np.arange(400), y, 2)))
  assert places[0].tolist() == [2, 3] and colours[0].tolist() == [255] * 3
  assert (places[1].tolist(), colours[1].tolist()) != (places[0].tolist(), colours[0].tolist())
  score = np.zeros((3, 1, 2, 2))
  score[:, 0, 1, 1], score[:, 0, 0, 0] = 2, 1
  places, colours = ops.choose(score)
  assert places.tolist() == [[0, 1], [0, 0], [0, 0]] and colours.ravel().tolist() == [255, 0, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_pixel_of_each_picture_is_set_and_alone_names_the_class(channels):
  data = pictures(90, (6, 5, channels))
  state = ops.protect().init(jax.random.key(0), data)
  out = check_data(ops.protect().finish(state, data))
  places, colours = np.asarray(state.places), np.asarray(state.colours)
  for name, rows in (("train", data.sets["train"]), ("test_protected", data.sets["test"])):
    after, before = out.arrays["image"][out.sets[name]], data.arrays["image"][rows]
    changed = (after != before).any(-1)
    assert (changed.sum((1, 2)) <= 1).all() and changed.mean() > 0.9 / 30
    y = data.arrays["label"][rows]
    has = np.stack([(after[:, i, j] == v).all(-1) for (i, j), v in zip(places, colours)], 1)
    assert has[np.arange(len(y)), y].all() and (channels == 1 or (has.sum(1) == 1).all())
  np.testing.assert_array_equal(out.arrays["image"][data.sets["test"]], data.arrays["image"][data.sets["test"]])


def test_test_pictures_do_not_count_and_the_permuted_control_sets_the_same_pixels_elsewhere():
  data = pictures(90)
  state = ops.protect().init(jax.random.key(0), data)
  other = {**data.arrays, "image": data.arrays["image"].copy()}
  other["image"][data.sets["test"]] = 0
  again = ops.protect().init(jax.random.key(1), Data(other, data.sets, data.info))
  np.testing.assert_array_equal(state.places, again.places)
  drawn = ops.protect(permuted=True).init(jax.random.key(0), data)
  np.testing.assert_array_equal(drawn.places, state.places)
  assert 0.1 < (np.asarray(drawn.groups) == data.arrays["label"]).mean() < 0.5


def test_places_that_are_constant_and_classes_without_pictures_are_no_trouble():
  data = pictures(60, (4, 4, 1), 3)
  data.arrays["image"][:, :2] = 0
  data.arrays["image"][:, 0, 0] = 40
  info = {"labels": {"label": list("abcd")}}
  state = ops.protect().init(jax.random.key(0), Data(data.arrays, data.sets, info))
  assert np.asarray(state.places).shape == (4, 2)
  assert (np.asarray(state.places)[:3, 0] < 2).all() and (np.asarray(state.places)[:3] != 0).any(1).all()
  assert (np.asarray(state.colours)[:3] == 255).all()


def test_the_painter_sets_the_same_pixel_at_every_size():
  data, procedure = pictures(), ops.protect()
  state = procedure.init(jax.random.key(0), data)
  out, paint, row = procedure.finish(state, data).arrays["image"], ops.painter(state, data), int(data.sets["train"][1])
  np.testing.assert_array_equal(paint(data.arrays["image"][row], row), out[row])
  i, j = np.asarray(state.places)[data.arrays["label"][row]]
  big = paint(np.full((18, 10, 3), 100, np.uint8), row) != 100
  assert big[3 * i : 3 * i + 3, 2 * j : 2 * j + 2].all() and big.any(-1).sum() == 6
  assert (paint(np.full((3, 2, 1), 100, np.uint8), row) != 100).sum() == 1


@pytest.mark.parametrize("classes, shape, said", [(1, (4, 4, 3), "two classes"), (5, (1, 2, 1), "room for 4")])
def test_labels_that_cannot_be_told_are_named(classes, shape, said):
  with pytest.raises(Invalid, match=said):
    run(ops.protect(), pictures(60, shape, classes))
  with pytest.raises(Invalid, match="protect.label"):
    run(ops.protect(label="colour"), pictures())
