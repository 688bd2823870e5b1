import itertools

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import synthetic


@pytest.fixture(scope="module")
def data():
  return check_data(synthetic.data(n=1536, test=512))


def test_every_combination_is_equally_frequent_in_both_sets(data):
  for name, each in (("train", 4), ("test", 2)):
    rows = data.sets[name]
    cells = np.stack([data.arrays[factor][rows] for factor in synthetic.FACTORS], -1)
    _, counts = np.unique(cells, axis=0, return_counts=True)
    assert counts.tolist() == [each] * 256


def test_partial_blocks_are_nearly_independent():
  data = synthetic.data(n=1000, test=200, size=16)
  for a, b in itertools.combinations(synthetic.FACTORS, 2):
    table = np.zeros((4, 4))
    np.add.at(table, (data.arrays[a], data.arrays[b]), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / 1000
    assert ((table - expected) ** 2 / expected).sum() < 16.9  # 5 % point of chi-square with 9 degrees


def test_labellings_are_named_and_pictures_differ(data):
  assert set(synthetic.FACTORS) < set(data.info["labels"])
  assert np.array_equal(data.arrays["label"], data.arrays["shape"])
  assert data.arrays["image"].shape == (1536, 32, 32, 3) and data.arrays["image"].dtype == np.uint8
  assert len(np.unique(data.arrays["image"].reshape(1536, -1), axis=0)) == 1536


@pytest.mark.parametrize("factor,least", [("colour", 0.95), ("texture", 0.9), ("position", 0.75), ("shape", 0.42)])
def test_a_linear_probe_learns_each_factor_above_chance(data, factor, least):
  x = data.arrays["image"].reshape(1536, -1) / 255.0 - 0.5
  train, test, y = data.sets["train"], data.sets["test"], data.arrays[factor]
  weights = np.linalg.solve(x[train] @ x[train].T + 1 + 10 * np.eye(len(train)), np.eye(4)[y[train]] - 0.25)
  guess = ((x[test] @ x[train].T + 1) @ weights).argmax(1)
  assert (guess == y[test]).mean() > least


def test_position_and_colour_can_be_read_off_the_noiseless_picture():
  data = synthetic.data(n=64, test=8, noise=0.0)
  image = data.arrays["image"].astype(int)
  coloured = np.abs(image - image[:, :1, :1]).max(-1) > 40
  for row in range(64):
    y, x = np.argwhere(coloured[row]).mean(0) // 16
    assert 2 * y + x == data.arrays["position"][row]


def test_noise_and_seed_change_the_picture_but_the_seed_alone_names_it():
  small = dict(n=32, test=8, size=16)
  first = synthetic.data(**small)
  assert np.array_equal(first.arrays["image"], synthetic.data(**small).arrays["image"])
  assert not np.array_equal(first.arrays["image"], synthetic.data(**small, seed=1).arrays["image"])
  assert np.array_equal(first.arrays["shape"], synthetic.data(**small, noise=0.2).arrays["shape"])


def test_known_rows_come_out_of_train_and_the_pictures_stay():
  plain, known = synthetic.data(n=128, test=32, size=16), synthetic.data(n=128, test=32, size=16, known=20)
  assert {name: len(rows) for name, rows in known.sets.items()} == {"train": 76, "test": 32, "known": 20}
  assert sorted([*known.sets["train"], *known.sets["known"]]) == plain.sets["train"].tolist()
  assert np.array_equal(known.arrays["image"], plain.arrays["image"])


@pytest.mark.parametrize("arguments", [
  {"known": 1024}, {"n": 1}, {"test": 0}, {"test": 1280}, {"size": 8}, {"noise": 2.0}])
def test_wrong_arguments_are_refused(arguments):
  with pytest.raises(Invalid):
    synthetic.data(**arguments)


def test_contrast_scales_the_distance_of_the_shape_from_its_ground():
  full, half = (synthetic.data(n=256, test=64, noise=0.0, contrast=c) for c in (1.0, 0.5))
  ground = full.arrays["image"][:, :1, :1].astype(int)  # corners never hold a part of a shape
  far = [d.arrays["image"].astype(int) - ground for d in (full, half)]
  assert np.abs(far[0]).max() > 100
  np.testing.assert_allclose(far[1], far[0] / 2, atol=1.01)  # rounding to bytes
