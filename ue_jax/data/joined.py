"""Several picture sets as one: one to train on, and others to ask what the network is worth there.

The downstream tasks of Kim, Cha and Kim, "Are We Truly Forgetting? A Critical Re-examination of Machine Unlearning
Evaluation Protocols", 2025: a network learns and unlearns on one set, and its frozen features are read on another.

  data.parts = dict(main=dict(name="data.tfds", source="cifar100"), other=dict(name="data.tfds", source="cifar10"))

The sets and labellings of the part `main` keep their names, so that training, methods and audits find them. Those of
every other part are called by it: `other_train`, `other_test`, `other_label`. `audit.representation` then takes
`downstream=("other_test:other_label",)`, and `forget.similar` takes `downstream="other_test"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ue_jax.core.build import build
from ue_jax.core.errors import Invalid, require
from ue_jax.core.nouns import Data, check_data
from ue_jax.data import fitting

NONE = -1  # the label of pictures that a labelling says nothing of
PARTS = MappingProxyType({
  "main": {"name": "data.embedded", "source": "digits"}, "mnist": {"name": "data.embedded", "source": "mnist5k"},
})  # fmt: skip


def data(
  parts: Mapping[str, Mapping[str, Any]] = PARTS, main: str = "main", size: int = 0, channels: int = 0,
  keep: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> Data:  # fmt: skip
  """The pictures of all parts, those of `main` first, the others by name.

  Args:
    parts: name -> config of a picture set, `dict(name="data.tfds", ...)`.
    main: the part whose sets and labellings keep their names.
    size: side of the centre square to resize to, in pixels; 0 for that of `main`.
    channels: 1 (the luma of colours), 3 (grey repeated), or 0 for those of `main`.
    keep: part -> classes of its `label` that are kept, numbered anew in this order; the other rows are left out.

  Returns:
    Data with `image` uint8 `[n, h, w, channels]`; the labellings of `main`, and as `PART_LABELLING` those of the
    others, int32 `[n]`, -1 in rows of other parts; `part`, a labelling that says whose a row is; `index`: in `main` its
    own, in the others counted on. `info["parts"]` has the `info` of every part and the `first` index.

  Raises:
    Invalid: for fewer than two parts, a part that cannot be made (the field names it), that is no pictures or holds
      more than pictures and labellings, names that collide, or classes to keep that are not there.
  """
  several = isinstance(parts, Mapping) and len(parts) >= 2
  require(several, "data.parts", parts, "name at least two, as dict(main=dict(name=...), other=dict(name=...))")
  require(main in parts, "data.main", main, f"choose one of {sorted(parts)}")
  require(isinstance(size, int) and 0 <= size <= 4096, "data.size", size, "give a side in pixels up to 4096, 0 to keep")
  require(channels in (0, 1, 3), "data.channels", channels, "choose 1 or 3, or 0 for those of the main part")
  strange = sorted(set(keep) - set(parts))
  require(not strange, "data.keep", strange, f"choose from {sorted(parts)}")
  order = [main, *sorted(set(parts) - {main})]
  made = {name: _made(name, parts[name]) for name in order}
  made = {name: _kept(one, keep[name], f"data.keep.{name}") if name in keep else one for name, one in made.items()}
  return check_data(_joined(made, main, *_shape(made, main, size, channels)))


def _made(name: str, config: Mapping[str, Any]) -> Data:
  """One part, or Invalid with its name in the field."""
  field = f"data.parts.{name}"
  require(name.isidentifier(), "data.parts", name, "call a part by one word")
  stage = isinstance(config, Mapping) and isinstance(config.get("name"), str)
  require(stage, field, config, "give dict(name='data.embedded', ...)")
  try:
    one = check_data(build("data", config["name"], **{key: x for key, x in config.items() if key != "name"}))
  except Invalid as error:
    where = error.field.removeprefix("data.") if error.field.startswith("data.") else error.field
    raise Invalid(f"{field}.{where}", error.value, error.fix) from error
  require("image" in one.arrays, f"{field}.name", config["name"], "choose a set of pictures")
  more = sorted(set(one.arrays) - {"image", "index"} - set(one.info.get("labels", {})))
  require(not more, f"{field}.name", config["name"], f"join pictures and labellings only; it has {more}, too")
  return one


def _kept(one: Data, classes: Sequence[int], field: str) -> Data:
  """The rows of these classes of `label`, numbered anew."""
  names = one.info.get("labels", {}).get("label", [])
  whole = all(isinstance(c, (int, np.integer)) and 0 <= c < len(names) for c in classes)
  good = len(classes) > 0 and whole and len(set(classes)) == len(classes)
  require(good, field, classes, f"name classes of its 'label', each once, from 0 to {len(names) - 1}")
  new = np.full(len(names), NONE, np.int32)
  new[list(classes)] = np.arange(len(classes))
  label = np.where(one.arrays["label"] >= 0, new[one.arrays["label"]], NONE).astype(np.int32)
  stays = label != NONE
  place = np.cumsum(stays) - 1
  sets = {name: place[rows[stays[rows]]].astype(np.int32) for name, rows in one.sets.items()}
  arrays = {name: array[stays] for name, array in {**one.arrays, "label": label}.items()}
  labels = {**one.info["labels"], "label": [names[c] for c in classes]}
  info = {name: said for name, said in one.info.items() if name != "names"}  # of files, one a row: rows are gone
  return check_data(Data(arrays, sets, {**info, "labels": labels}), field)


def _shape(made: Mapping[str, Data], main: str, size: int, channels: int) -> tuple[int, int]:
  """Side and channels that all parts are brought to; side 0 if they have one size already and none is asked for."""
  shapes = {name: one.arrays["image"].shape[1:3] for name, one in made.items()}
  channels = channels or made[main].arrays["image"].shape[-1]
  if size or len(set(shapes.values())) == 1:
    return size, channels
  square = shapes[main][0] == shapes[main][1]
  require(square, "data.size", size, f"give a side in pixels: the pictures of '{main}' are {shapes[main]}, not square")
  return shapes[main][0], channels


def _joined(made: Mapping[str, Data], main: str, size: int, channels: int) -> Data:
  """All rows one after the other, with what the parts say under their names."""
  ends = np.cumsum([0, *(one.n for one in made.values())])
  arrays = {"image": [], "index": []}
  sets, names, about, first = {}, {"part": list(made)}, {}, 0
  labels = {"part": np.repeat(np.arange(len(made), dtype=np.int32), np.diff(ends))}
  for (name, one), start, end in zip(made.items(), ends, ends[1:]):
    call = (lambda word: word) if name == main else f"{name}_{{}}".format
    arrays["image"].append(fitting.fitted(one.arrays["image"], size, channels))
    arrays["index"].append(one.arrays["index"].astype(np.int64) + first)
    for word, rows in one.sets.items():
      _new(call(word), sets, name, "set")
      sets[call(word)] = (rows + start).astype(np.int32)
    for word, classes in one.info.get("labels", {}).items():
      _new(call(word), {**labels, "image": 0, "index": 0}, name, "labelling")
      names[call(word)] = list(classes)
      labels[call(word)] = np.full(ends[-1], NONE, np.int32)
      labels[call(word)][start:end] = one.arrays[word]
    about[name] = {**one.info, "first": first}
    first += int(one.arrays["index"].max()) + 1
  require(first < 2**31, "data.parts", list(made), f"{first} identities in all: too many for int32")
  whole = {"image": np.concatenate(arrays["image"]), **labels}
  whole["index"] = np.concatenate(arrays["index"]).astype(np.int32)
  source = "+".join(str(one.info.get("source", name)) for name, one in made.items())
  return Data(whole, sets, {"source": source, "labels": names, "parts": about, "main": main})


def _new(word: str, there: Mapping[str, Any], part: str, what: str) -> None:
  if word in there:
    raise Invalid("data.parts", part, f"there would be two of the {what} '{word}': call the part something else")
