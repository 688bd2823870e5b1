"""Sets prepared by TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data
from ue_jax.data import fitting, folder, noisy, splits, stream

ANIMALS = (2, 3, 4, 5, 6, 7)  # classes of CIFAR-10: bird, cat, deer, dog, frog, horse
_CHUNK = 512


def data(
  source: str = "cifar10", path: str = "", train: int = 0, test: int = 0, seed: int = 0, size: int = 0,
  channels: int = 0, forget_share: float = 0.0, forget_classes: Sequence[int] = (), forget_unseen: int = 0,
  known: int = 0, noise: float = 0.0, noise_classes: Sequence[int] = (),
) -> Data:  # fmt: skip
  """A prepared picture set, decoded once.

  Args:
    source: name of the set (`mnist`, `fashion_mnist`, `cifar10`, `cifar100`, `svhn_cropped`); it must have been
      prepared in a random-access format (`array_record`).
    path: its `data_dir`; "" for the usual place (~/tensorflow_datasets).
    train, test: how many pictures, chosen at random; 0 for all. `test` reads the split `validation`
      where there is no split `test`. Further splits (`extra` of `svhn_cropped`) are not read.
    seed: names the choice.
    size: side of the centre square to resize to, in pixels; 0 keeps the pictures, which must then be equal in size.
    channels: 1 (grey: the luma of colours), 3 (grey repeated), or 0 to keep those of the set.
    forget_share, forget_classes: what is to be forgotten: a random share of `train`, or whole classes of `label`, or
      with both that share of each of these classes. Adds the sets `forget` and `retain`, and for whole classes
      `forget_test` and `retain_test`.
    forget_unseen: instead: that many pictures of `test` are moved into `train`, and are what is to be forgotten. To
      weights that were trained on the split they are new.
    known: rows of a further set `known`, taken out of `train`: what somebody has of clean pictures.
    noise, noise_classes: share of `train` (of each of these classes) whose `label` is moved to another class; these
      rows are the set `noisy`, and `correct_label` is what it was.
  Returns:
    Data with `image` uint8 `[n, height, width, 1 or 3]`, one labelling for each class label of the set
    (the first by name also as `label`, unless there is one), for cifar10 also `animal`; `index` counts the
    rows of train, then test.
  Raises:
    Invalid: if tensorflow_datasets is not installed, the set is not prepared, or it has no pictures.
  """
  for name, value in (("train", train), ("test", test), ("size", size)):
    require(isinstance(value, int) and value >= 0, f"data.{name}", value, "give a whole number, 0 for the default")
  require(channels in (0, 1, 3), "data.channels", channels, "choose 1 or 3, or 0 to keep those of the set")
  builder = _builder(source, path)
  second = next((name for name in ("test", "validation") if name in builder.info.splits), None)
  require(len(builder.info.splits) > 0, "data.path", path, _prepare(source, path))
  both = "train" in builder.info.splits and second is not None
  require(both, "data.source", source, f"it needs splits train and test; it has {sorted(builder.info.splits)}")
  image, labels = _features(builder, source)
  parts, index = [], []
  for name, count, offset in (("train", train, 0), (second, test, builder.info.splits["train"].num_examples)):
    records = _source(builder, name, source, path)
    rows = _choose(len(records), count, seed, name)
    parts.append(_read(records, rows, [image, *labels], size, channels, source))
    index.append(rows + offset)
  ends = np.cumsum([0, *(len(rows) for rows in index)])
  arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  arrays = {"image": arrays.pop(image), **arrays, "index": np.concatenate(index).astype(np.int32)}
  sets = {name: np.arange(ends[i], ends[i + 1], dtype=np.int32) for i, name in enumerate(("train", "test"))}
  found = _named(Data(arrays, sets, {"source": f"tfds/{source}"}), builder, labels, source)
  found = noisy.labels(splits.known(found, known, seed), noise, seed, classes=noise_classes)
  return splits.forget(found, forget_share, forget_classes, seed, forget_unseen)


def _builder(source: str, path: str) -> Any:
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise Invalid("data.source", source, "install the reader: pip install 'ue-jax[tfds]'") from error
  try:
    return tfds.builder(source, data_dir=path or None)
  except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
    fix = f"no such set, neither known to tensorflow_datasets nor prepared in {path or '~/tensorflow_datasets'}"
    raise Invalid("data.source", source, fix) from error


def _prepare(source: str, path: str) -> str:
  command = f"tfds build {source} --file_format=array_record --data_dir={path or '~/tensorflow_datasets'}"
  return f"{source} is not prepared there in a random-access format; run, with tensorflow installed: {command}"


def _source(builder: Any, split: str, source: str, path: str) -> Any:
  try:
    return builder.as_data_source(split=split)
  except ImportError as error:
    raise Invalid("data.source", source, "install the reader: pip install 'ue-jax[tfds]'") from error
  except (AssertionError, NotImplementedError, OSError) as error:  # moved away, or a sequential format
    raise Invalid("data.path", path, _prepare(source, path)) from error


def _features(builder: Any, source: str) -> tuple[str, list[str]]:
  """The name of the picture feature, and those of the class labels."""
  import tensorflow_datasets as tfds

  features = dict(sorted((builder.info.features or {}).items()))  # read from disk, their order is not stable
  images = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
  require(bool(images), "data.source", source, f"choose a set with pictures; it has {sorted(features)}")
  image = "image" if "image" in images else images[0]
  return image, [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]


def _choose(n: int, count: int, seed: int, name: str) -> np.ndarray:
  require(count <= n, f"data.{name}", count, f"the split has {n} pictures")
  return np.sort(stream.permutation(seed, f"tfds/{name}", n)[:count]) if count else np.arange(n)


def _read(
  records: Any, rows: np.ndarray, names: list[str], size: int, channels: int, source: str
) -> dict[str, np.ndarray]:
  """The chosen records as arrays, decoded in chunks."""
  columns: dict[str, list] = {name: [] for name in names}
  for start in range(0, len(rows), _CHUNK):
    for record in records.__getitems__(rows[start : start + _CHUNK].tolist()):
      for name in names:
        columns[name].append(record[name])
  image, *labels = names
  keep = lambda one: 1 if one.shape[-1] == 1 else 3
  pictures = [folder.fit(one, size, keep(one)) for one in columns[image]] if size else columns[image]
  shapes = {one.shape for one in pictures}
  require(len(shapes) == 1, "data.size", size, f"{source} has pictures of several sizes; give a side in pixels")
  found = fitting.fitted(np.stack(pictures), channels=channels)
  return {image: found, **{name: np.asarray(columns[name], np.int32) for name in labels}}


def _named(data: Data, builder: Any, labels: list[str], source: str) -> Data:
  """Adds class names, `label` for the first labelling, and the labelling `animal` of CIFAR-10."""
  names = {name: list(builder.info.features[name].names) for name in labels}
  arrays = dict(data.arrays)
  if labels and "label" not in arrays:
    arrays["label"], names["label"] = arrays[labels[0]].copy(), names[labels[0]]
  if source == "cifar10":
    arrays["animal"] = np.isin(arrays["label"], ANIMALS).astype(np.int32)
    names["animal"] = ["vehicle", "animal"]
  return Data(arrays, data.sets, {**data.info, "labels": names})
