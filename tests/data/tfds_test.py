import io
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data import prepared as standins
from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import folder
from ue_jax.data import tfds as tfds_source


def pixels(split, number):
  return np.random.default_rng(number + 100 * (split == "test")).integers(0, 256, (12, 10, 3), np.uint8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  """A small set of pictures that tfds prepared without TensorFlow."""
  tfds = pytest.importorskip("tensorflow_datasets")
  pytest.importorskip("array_record")
  from tensorflow_datasets.core import registered

  with registered.skip_registration():

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
      VERSION = tfds.core.Version("1.0.0")
      url_infos = {}  # nothing to download; looking for checksums would need another package

      def _info(self):
        picture = tfds.features.Image(shape=(None, None, 3))
        colour, side = tfds.features.ClassLabel(names=["red", "blue"]), tfds.features.ClassLabel(num_classes=3)
        features = tfds.features.FeaturesDict({"image": picture, "colour": colour, "side": side})
        return self.dataset_info_from_configs(features=features, description="Random pixels.")

      def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("train", 20), "test": self._generate_examples("test", 8)}

      def _generate_examples(self, split, n):
        for number in range(n):
          stored = io.BytesIO()
          Image.fromarray(pixels(split, number)).save(stored, "PNG")
          stored.seek(0)
          yield number, {"image": stored, "colour": number % 2, "side": number % 3}

  path = str(tmp_path_factory.mktemp("tfds"))
  TinyPictures(data_dir=path, file_format="array_record").download_and_prepare()
  return path


def test_all_pictures_come_back_exactly_without_tensorflow(prepared):
  data = check_data(tfds_source.data("tiny_pictures", prepared))
  assert data.arrays["image"].shape == (28, 12, 10, 3)
  assert {name: len(rows) for name, rows in data.sets.items()} == {"train": 20, "test": 8}
  for split in ("train", "test"):
    found = {data.arrays["image"][row].tobytes() for row in data.sets[split]}
    assert found == {pixels(split, number).tobytes() for number in range(len(data.sets[split]))}
  assert "tensorflow" not in sys.modules


def test_all_class_labels_become_labellings_and_the_first_is_label(prepared):
  data = tfds_source.data("tiny_pictures", prepared)
  assert data.info["labels"] == {"colour": ["red", "blue"], "side": ["0", "1", "2"], "label": ["red", "blue"]}
  known = {pixels(split, n).tobytes(): n for split, count in (("train", 20), ("test", 8)) for n in range(count)}
  for row in range(28):
    number = known[data.arrays["image"][row].tobytes()]
    assert data.arrays["colour"][row] == data.arrays["label"][row] == number % 2
    assert data.arrays["side"][row] == number % 3


def test_a_part_is_a_seeded_choice_with_the_index_of_the_whole(prepared):
  whole = tfds_source.data("tiny_pictures", prepared)
  assert whole.arrays["index"].tolist() == list(range(28))
  part, other = (tfds_source.data("tiny_pictures", prepared, train=5, test=2, seed=s) for s in (0, 1))
  assert len(part.sets["train"]) == 5 and part.n == 7
  assert np.array_equal(whole.arrays["image"][part.arrays["index"]], part.arrays["image"])
  assert (part.arrays["index"][5:] >= 20).all()
  assert not np.array_equal(part.arrays["index"], other.arrays["index"])


def test_known_rows_come_out_of_train(prepared):
  data = tfds_source.data("tiny_pictures", prepared, known=4)
  assert {name: len(rows) for name, rows in data.sets.items()} == {"train": 16, "test": 8, "known": 4}
  assert not set(data.sets["known"]) & (set(data.sets["train"]) | set(data.sets["test"]))


def test_wrong_labels_are_those_of_some_training_pictures_and_the_right_ones_stay_known(prepared):
  data = tfds_source.data("tiny_pictures", prepared, noise=0.4, noise_classes=(1,))
  plain, moved = tfds_source.data("tiny_pictures", prepared), data.sets["noisy"]
  assert set(moved) <= set(data.sets["train"]) and len(moved) == round(0.4 * 10)
  np.testing.assert_array_equal(data.arrays["correct_label"], plain.arrays["label"])
  np.testing.assert_array_equal(np.flatnonzero(data.arrays["label"] != data.arrays["correct_label"]), np.sort(moved))
  assert (data.arrays["correct_label"][moved] == 1).all()


def test_size_makes_squares(prepared):
  assert tfds_source.data("tiny_pictures", prepared, train=2, test=1, size=6).arrays["image"].shape == (3, 6, 6, 3)


@pytest.mark.parametrize("field,word,arguments", [
  ("data.path", "tfds build cifar10 --file_format=array_record", {"source": "cifar10"}),
  ("data.source", "no such set", {"source": "no_such_set"}),
  ("data.train", "20 pictures", {"source": "tiny_pictures", "train": 21}),
  ("data.test", "whole number", {"source": "tiny_pictures", "test": -1}),
  ("data.channels", "1 or 3", {"source": "tiny_pictures", "channels": 4}),
])
def test_what_is_missing_is_named(prepared, field, word, arguments):
  with pytest.raises(Invalid, match=word) as error:
    tfds_source.data(path=prepared, **arguments)
  assert error.value.field == field


@pytest.mark.parametrize("source, shape, classes, first", [
  ("mnist", (28, 28, 1), 10, "0"), ("fashion_mnist", (28, 28, 1), 10, "T-shirt/top"),
  ("cifar10", (32, 32, 3), 10, None), ("cifar100", (32, 32, 3), 100, None), ("svhn_cropped", (32, 32, 3), 10, "0"),
])  # fmt: skip
def test_published_sets_are_known_by_their_names(tmp_path, source, shape, classes, first):
  pytest.importorskip("array_record")
  standins.prepare(source, str(tmp_path), n=4)
  data = check_data(tfds_source.data(source, str(tmp_path)))
  assert data.arrays["image"].shape == (8, *shape)
  assert {name: len(rows) for name, rows in data.sets.items()} == {"train": 4, "test": 4}  # no `extra`
  for split in ("train", "test"):
    found = {data.arrays["image"][row].tobytes(): data.arrays["label"][row] for row in data.sets[split]}
    assert found == {standins.pixels(split, number, shape).tobytes(): number for number in range(4)}
  names = data.info["labels"]
  assert len(names["label"]) == classes and first in (None, names["label"][0])
  assert set(names) == {"label"} | {"cifar10": {"animal"}, "cifar100": {"coarse_label"}}.get(source, set())
  if source == "mnist":
    wide = tfds_source.data(source, str(tmp_path), size=32, channels=3).arrays["image"]
    grey = tfds_source.data(source, str(tmp_path), size=32).arrays["image"]
    assert grey.shape == (8, 32, 32, 1) and np.array_equal(wide, np.repeat(grey, 3, -1))
    assert np.array_equal(wide[0], folder.fit(data.arrays["image"][0], 32))
  assert "tensorflow" not in sys.modules


def test_without_the_package_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with pytest.raises(Invalid, match=r"ue-jax\[tfds\]"):
    tfds_source.data("cifar10")


def test_animals_of_cifar10_are_told_from_vehicles():
  names = "airplane automobile bird cat deer dog frog horse ship truck".split()
  assert [names[i] for i in tfds_source.ANIMALS] == ["bird", "cat", "deer", "dog", "frog", "horse"]
