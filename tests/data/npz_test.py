import pathlib

import numpy as np
import pytest

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import npz

IMAGE = (np.arange(10 * 4 * 4 * 3) % 256).astype(np.uint8).reshape(10, 4, 4, 3)
LABEL = np.arange(10) % 2


def save(tmp_path, **arrays):
  np.savez(tmp_path / "data.npz", **arrays)
  return str(tmp_path / "data.npz")


def test_pictures_labels_and_sets_come_back(tmp_path):
  path = save(tmp_path, image=IMAGE, label=LABEL, weight=np.ones(10), set_train=np.arange(8), set_test=np.array([8, 9]))
  data = check_data(npz.data(path))
  assert np.array_equal(data.arrays["image"], IMAGE) and data.arrays["label"].tolist() == LABEL.tolist()
  assert {k: v.dtype.name for k, v in data.arrays.items()} == {
    "image": "uint8", "label": "int32", "weight": "float32", "index": "int32"}
  assert data.sets["test"].tolist() == [8, 9] and data.sets["test"].dtype == np.int32
  assert data.info["labels"] == {"label": ["0", "1"]}


def test_a_file_without_sets_is_split_balanced(tmp_path):
  data = npz.data(save(tmp_path, image=IMAGE, label=LABEL), test=0.4)
  assert np.bincount(LABEL[data.sets["test"]]).tolist() == [2, 2]
  assert sorted([*data.sets["train"], *data.sets["test"]]) == list(range(10))


def test_float_pictures_are_rounded_and_grey_ones_get_a_channel(tmp_path):
  data = npz.data(save(tmp_path, image=IMAGE[..., 0] / 255.0))
  assert np.array_equal(data.arrays["image"], IMAGE[..., :1])


def test_tokens_and_vectors_are_read(tmp_path):
  tokens = npz.data(save(tmp_path, ids=np.ones((5, 3), np.int64), mask=np.ones((5, 3))))
  assert tokens.arrays["ids"].dtype == np.int32 and tokens.arrays["mask"].dtype == np.float32
  assert npz.data(save(tmp_path, x=np.zeros((5, 2)))).arrays["x"].dtype == np.float32


def bad(image, value):
  out = image.astype(np.float32) / 255
  out[0, 0, 0, 0] = value
  return out


@pytest.mark.parametrize("arrays,word", [
  ({"image": bad(IMAGE, np.nan)}, "NaN"),
  ({"image": bad(IMAGE, np.inf)}, "NaN or infinity"),
  ({"image": bad(IMAGE, 1.5)}, "scale"),
  ({"image": bad(IMAGE, -0.1)}, "scale"),
  ({"image": IMAGE.astype(np.int32)}, "uint8"),
  ({"image": IMAGE[..., :2]}, "1 or 3"),
  ({"image": IMAGE[0, 0]}, "height"),
  ({"image": IMAGE[:0]}, "at least one row"),
  ({"image": IMAGE[:1]}, "two rows"),
  ({"image": IMAGE, "label": LABEL[:9]}, "same number of rows"),
  ({"image": IMAGE, "label": LABEL + 0.5}, "integers"),
  ({"image": IMAGE, "label": np.array(list("abcdefghij"))}, "numbers"),
  ({"image": IMAGE, "label": LABEL + 2**40}, "2**31"),
  ({"image": IMAGE, "label": np.array([{}] * 10, object)}, "plain arrays"),
  ({"image": IMAGE, "weight": np.float32(1)}, "one row a sample"),
  ({"image": IMAGE, "set_train": np.array([10])}, "within 0..9"),
  ({"image": IMAGE, "set_train": np.zeros(0, int)}, "at least one row"),
  ({"image": IMAGE, "set_train": np.array([0.5])}, "integers"),
  ({"label": LABEL}, "'image'"),
  ({"ids": np.ones((5, 3), int)}, "mask"),
  ({"x": np.full((5, 2), np.nan)}, "NaN"),
])
def test_what_is_wrong_is_named(tmp_path, arrays, word):
  with pytest.raises(Invalid, match=word.replace("*", r"\*")):
    npz.data(save(tmp_path, **arrays))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_broken_files_are_named(tmp_path, content):
  path = tmp_path / "data.npz"
  path.write_bytes(content)
  with pytest.raises(Invalid, match="data.path"):
    npz.data(str(path))


def test_a_truncated_file_an_npy_file_and_a_missing_one_are_named(tmp_path):
  path = save(tmp_path, image=IMAGE)
  whole = pathlib.Path(path).read_bytes()
  pathlib.Path(path).write_bytes(whole[: len(whole) // 2])
  np.save(tmp_path / "plain.npy", IMAGE)
  for name in (path, str(tmp_path / "plain.npy"), str(tmp_path / "missing.npz"), str(tmp_path)):
    with pytest.raises(Invalid, match="data.path"):
      npz.data(name)
