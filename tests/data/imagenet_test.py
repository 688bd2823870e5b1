"""Folders as Tiny-ImageNet's are, and as ImageNet's: every picture with the class that its file or folder says."""

import numpy as np
import pytest
from PIL import Image

from ue_jax.core.errors import Invalid
from ue_jax.core.nouns import check_data
from ue_jax.data import imagenet

CLASSES = ("n03", "n01", "n02")  # the order of a listing is not that of names
LINES = {"val_0": "n02", "val_1": "n01", "val_2": "n03", "val_3": "n02", "val_10": "n01"}


def grey(of):
  return 40 * (1 + CLASSES.index(of))


def put(path, level, mode="RGB"):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new(mode, (9, 8), (level,) * 3 if mode == "RGB" else level).save(path, quality=95)


@pytest.fixture
def tiny(tmp_path):
  """Three classes in the published layout, of flat pictures whose level says the class; some are grey files."""
  for of in CLASSES:
    for i in range(4):
      put(tmp_path / "train" / of / "images" / f"{of}_{i}.JPEG", grey(of), "L" if i == 2 else "RGB")
    (tmp_path / "train" / of / f"{of}_boxes.txt").write_text("n01_0.JPEG\t0\t0\t9\t9\n")
  for name, of in LINES.items():
    put(tmp_path / "val" / "images" / f"{name}.JPEG", grey(of))
  put(tmp_path / "test" / "images" / "test_0.JPEG", 5)  # without labels
  told = [f"{name}.JPEG\t{of}\t0\t32\t44\t62" for name, of in LINES.items()]
  (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(told) + "\n")
  (tmp_path / "words.txt").write_text("n01\tcrane, bird\nn02\tlorry\nn03\tcrane\nn99\tother\n")
  return tmp_path


def levels_say_the_labels(data):
  levels, called = data.arrays["image"].mean((1, 2, 3)), data.info["folders"]
  return np.array_equal(np.round(levels / 40) - 1, [CLASSES.index(called[c]) for c in data.arrays["label"]])


def test_labels_of_both_folders_are_read_and_called_by_their_words(tiny):
  data = check_data(imagenet.data(str(tiny), size=8))
  assert data.arrays["image"].shape == (17, 8, 8, 3) and levels_say_the_labels(data)
  assert data.info["folders"] == ["n01", "n02", "n03"]
  assert data.info["labels"]["label"] == ["crane (n01)", "lorry", "crane (n03)"]
  assert {name: len(rows) for name, rows in data.sets.items()} == {"train": 12, "test": 5}
  assert data.arrays["label"][data.sets["test"]].tolist() == [1, 0, 0, 2, 1]  # val_0, val_1, val_10, val_2, val_3
  assert data.arrays["index"].tolist() == list(range(17)) and data.info["unreadable"] == []


def test_only_a_line_feed_ends_a_line_of_the_words(tiny):
  (tiny / "words.txt").write_text("n01\tcrane\nn02\tlorry\u2028or van\nn03\tcat\n", encoding="utf-8")
  assert imagenet.data(str(tiny), size=8).info["labels"]["label"] == ["crane", "lorry\u2028or van", "cat"]


def test_a_part_is_balanced_and_keeps_its_identity(tiny):
  whole = imagenet.data(str(tiny), size=8)
  part = check_data(imagenet.data(str(tiny), size=8, train=4, test=2, classes=("n03", "n01"), seed=1))
  assert levels_say_the_labels(part) and part.info["labels"]["label"] == ["crane (n03)", "crane (n01)"]
  assert np.bincount(part.arrays["label"][part.sets["train"]]).tolist() == [2, 2]
  assert np.array_equal(whole.arrays["image"][part.arrays["index"]], part.arrays["image"])
  asked = imagenet.data(str(tiny), size=8, forget_classes=(1,), known=3)
  assert len(asked.sets["known"]) == 3 and set(asked.arrays["label"][asked.sets["forget_test"]]) == {1}


def test_validation_pictures_in_folders_of_classes_need_no_file(tiny):
  (tiny / "val" / "val_annotations.txt").unlink()
  with pytest.raises(Invalid, match="no such classes.*val_annotations.txt"):
    imagenet.data(str(tiny))
  for name, of in LINES.items():
    (tiny / "val" / of).mkdir(exist_ok=True)
    (tiny / "val" / "images" / f"{name}.JPEG").rename(tiny / "val" / of / f"{name}.JPEG")
  (tiny / "words.txt").unlink()
  data = imagenet.data(str(tiny), size=8)
  assert levels_say_the_labels(data) and data.info["labels"]["label"] == ["n01", "n02", "n03"]


def test_broken_pictures_are_listed_and_their_neighbours_keep_their_labels(tiny):
  (tiny / "train" / "n01" / "images" / "n01_1.JPEG").write_bytes(b"nothing")
  (tiny / "val" / "images" / "val_1.JPEG").write_bytes(b"")
  data = check_data(imagenet.data(str(tiny), size=8))
  assert [name for name, _ in data.info["unreadable"]] == ["train/n01/images/n01_1.JPEG", "val/images/val_1.JPEG"]
  assert levels_say_the_labels(data) and data.n == 15
  assert set(range(17)) - set(data.arrays["index"].tolist()) == {1, 13}


@pytest.mark.parametrize("line, said", [
  ("val_0.JPEG n02", "line 6.*a tab"), ("val_7.JPEG\tn02", "line 6.*no such picture"),
  ("val_0.JPEG\tn02", "line 6.*already"), ("val_11.JPEG\tn77", "line 6.*no such class"), ("", "val_11.*no line"),
])  # fmt: skip
def test_a_wrong_line_is_named(tiny, line, said):
  put(tiny / "val" / "images" / "val_11.JPEG", 40)
  with open(tiny / "val" / "val_annotations.txt", "a") as file:
    file.write(line + "\n")
  with pytest.raises(Invalid, match=said):
    imagenet.data(str(tiny), size=8)


@pytest.mark.parametrize("arguments, said", [
  ({"classes": ("n07",)}, "data.classes"), ({"classes": ("n01", "n01")}, "once"), ({"train": 13}, "12 pictures"),
  ({"test": -1}, "data.test"), ({"size": 0}, "data.size"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(tiny, arguments, said):
  with pytest.raises(Invalid, match=said):
    imagenet.data(str(tiny), **arguments)


def test_folders_that_are_not_there_are_named(tiny, tmp_path):
  with pytest.raises(Invalid, match="data.path.*existing folder"):
    imagenet.data(str(tmp_path / "nowhere"))
  put(tiny / "train" / "loose.png", 3)
  with pytest.raises(Invalid, match="loose.png.*no folder of a class"):
    imagenet.data(str(tiny))
