"""One tiny trained language model and one tiny classifier for the whole room."""

import functools

import numpy as np
import pytest

from ue_jax.core.nouns import Data, Request
from ue_jax.data import facts
from ue_jax.models import mlp, transformer
from ue_jax.train import language, loop, supervised


def few_facts() -> Data:
  """Two short relations of 14 persons (4 of them the set `forget`) and 4 persons never trained."""
  full = facts.data("kgtiny", alternatives=3)
  relation, person = full.arrays["relation"], full.arrays["person"]
  short = np.isin(relation, np.unique(relation[person >= 0])[:2])
  seen = {name: short & np.isin(np.arange(full.n), full.sets[name]) for name in ("forget", "retain", "holdout")}
  masks = {
    "forget": seen["forget"] & (person < 4),
    "retain": seen["retain"] & (person < 16),
    "holdout": seen["holdout"] & (person < 64),
  }
  sets = {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}
  sets["train"] = np.concatenate([sets["forget"], sets["retain"]])
  return Data(full.arrays, sets, full.info)


@pytest.fixture(scope="session")
def request_tokens():
  """A Request: a transformer trained on the sets `forget` and `retain`; its reference on `retain` only."""
  data = few_facts()
  model = transformer.model(len(data.info["vocabulary"]), width=32, depth=1, heads=2, hidden=64)
  train = language.train(model, steps=150, batch_size=40, rate=1e-2)
  full = loop.fit(train, data, mode="one", steps_per_call=50)
  less = Data(data.arrays, {**data.sets, "train": data.sets["retain"]}, data.info)
  return Request(full, data, reference=loop.fit(train, less, mode="one", steps_per_call=50))


@pytest.fixture(scope="session")
def request_pictures():
  """A Request: a classifier of noisy pictures 4x4 of three classes, under the labelling `shape`."""
  rng = np.random.default_rng(0)
  label = np.arange(120, dtype=np.int32) % 3
  image = rng.integers(0, 90, (120, 4, 4, 1))
  for c in range(3):
    image[label == c, (c // 2) * 2:(c // 2) * 2 + 2, (c % 2) * 2:(c % 2) * 2 + 2] += 150
  rows = np.arange(120, dtype=np.int32)
  arrays = {"image": image.astype(np.uint8), "shape": label, "index": rows}
  data = Data(arrays, {"train": rows[:90], "test": rows[90:]}, {"labels": {"shape": ["a", "b", "c"]}})
  model = mlp.model(3, widths=(16,))
  train = supervised.train(model, label="shape", steps=60, batch_size=30, rate=1e-2)
  return Request(loop.fit(train, data, mode="one", steps_per_call=20), data)


def next_token_model(table):
  """A Subject whose logits depend on the last token alone: `table` `[v, v]`."""
  import jax.numpy as jnp

  from ue_jax.core.nouns import Subject
  from ue_jax.models.model import Model, Out

  apply = lambda params, ids, *, state={}, **_: Out(params[ids], params[ids], state)
  return Subject(Model(lambda key, ids: (jnp.asarray(table, jnp.float32), {}), apply), jnp.asarray(table, jnp.float32))


@pytest.fixture
def bigram():
  """`bigram(table)`: a Subject whose logits depend on the last token alone."""
  return next_token_model


@pytest.fixture
def ragged():
  """Data of 6 ragged sequences over 7 tokens: `forget` is the first four, `holdout` the others."""
  rng = np.random.default_rng(3)
  ids, mask = rng.integers(2, 7, (6, 8)).astype(np.int32), np.zeros((6, 8), np.float32)
  for row, (start, end) in enumerate([(1, 8), (2, 4), (3, 8), (5, 7), (1, 4), (4, 8)]):
    mask[row, start:end] = 1
    ids[row, end - 1], ids[row, end:] = 1, 0
  rows = np.arange(6, dtype=np.int32)
  vocabulary = ["<pad>", "<eos>", "ab", "bc", "cd", "de", "ef"]
  return Data({"ids": ids, "mask": mask, "index": rows}, {"forget": rows[:4], "holdout": rows[4:]},
              {"vocabulary": vocabulary})


@pytest.fixture(scope="session")
def by_heart():
  """A procedure, and a Request after it, on labels without any pattern: to know one, a network must have seen it."""
  from ue_jax.forget import retrain

  fit = functools.partial(loop.fit, mode="one", steps_per_call=50)
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (160, 4, 4, 1), np.uint8)
  arrays = {"image": image, "label": rng.integers(0, 3, 160).astype(np.int32), "index": np.arange(160, dtype=np.int32)}
  rows = np.arange(160, dtype=np.int32)
  sets = {"train": rows[:80], "forget": rows[:30], "retain": rows[30:80], "test": rows[80:]}
  data = Data(arrays, sets, {"labels": {"label": list("abc")}})
  train = supervised.train(mlp.model(3, widths=(64,)), steps=150, batch_size=40, rate=1e-2)
  asked = Request(fit(train, data), data)
  return train, asked._replace(reference=fit(retrain.method(train), asked))
